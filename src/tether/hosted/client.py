"""The SDKs' clients: opened with a key from the environment alone, and with errors that never carry it."""

from __future__ import annotations

import email.utils
import os
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tether.errors import UserError
from tether.hosted.services import OPENAI

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tether.hosted.services import Service

SDK_CLIENTS = {"openai": "OpenAI", "together": "Together"}
RETRIES = 3  # of calls that may be made twice; the SDK obeys the server's own retry headers
LONGEST_MESSAGE = 400
SPENT = ("insufficient_quota", "billing_hard_limit_reached", "insufficient_funds")

# As OpenAI's deprecation notes of 2026 have it: https://platform.openai.com/docs/deprecations
OPENAI_CLOSES = (
    "OpenAI is closing self-serve fine-tuning: on 2026-05-07 to those who never fine-tuned, on 2026-07-02 to "
    "those without fine-tuned inference in 60 days, on 2027-01-06 to everybody"
)


class CallError(Exception):
    """A call to a service failed.

    Attributes:
        status: The answer's HTTP status; None where no whole answer came.
        code: The service's own code, empty if it gave none.
        message: What it said, without the key.
        pause: Seconds that it asked to wait.
    """

    def __init__(self, status: int | None, code: str, message: str, pause: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.pause = status, code, message, pause

    @property
    def spent(self) -> bool:
        """Whether there is no money left for the call."""
        return self.code in SPENT or self.status == 402

    @property
    def temporary(self) -> bool:
        """Whether the same call may succeed later."""
        return not self.spent and (self.status in (None, 408, 409, 429) or (self.status or 0) >= 500)

    @property
    def uncertain(self) -> bool:
        """Whether the service may have done what was asked, although it did not say so."""
        return self.temporary and self.status != 429


@dataclass(frozen=True)
class Client:
    """An SDK's client.

    Attributes:
        service: Whose.
        api: The SDK's client.
        sdk: The SDK's package.
    """

    service: Service
    api: Any
    sdk: Any
    _key: str

    @contextmanager
    def calls(self) -> Iterator[None]:
        """Turn what the SDK raises into `CallError`.

        Raises:
            CallError: A call failed.
        """
        try:
            yield
        except self.sdk.APIStatusError as error:
            code, message = _said(error)
            pause = _pause(error.response.headers)
            raise CallError(error.status_code, code, self.clean(message), pause) from None
        except self.sdk.APIConnectionError as error:
            message = f"{error} {error.__cause__ or ''}"
            raise CallError(None, "", self.clean(message)) from None
        except self.sdk.APIError as error:  # an answer that is no JSON, or not of the promised form
            raise CallError(None, "", self.clean(str(error))) from None

    def clean(self, text: str) -> str:
        """Text of a service on one line, short and without the key."""
        return " ".join(text.replace(self._key, "[key]").split())[:LONGEST_MESSAGE].rstrip(". ")


def connect(service: Service) -> Client:
    """Open the SDK's client.

    Raises:
        UserError: The SDK or the key is missing, or the key or address cannot be right.
    """
    if service.missing:
        raise UserError(
            f"{service.title} cannot be called: {service.missing}", fix="put it right, go on then"
        )
    key = os.environ[service.key].strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError("the key holds characters that no key has", where=service.key, fix="copy it again")
    if service is not OPENAI and service.server.endswith("/v1"):
        fix = "leave /v1 out: the SDK adds it"
        raise UserError("the address ends in /v1", where=service.address, fix=fix)
    sdk = import_module(service.name)
    api = getattr(sdk, SDK_CLIENTS[service.name])(api_key=key, max_retries=RETRIES)
    return Client(service, api, sdk, key)


def explained(error: CallError, service: Service, doing: str) -> UserError:
    """A failed call as something the user can put right.

    Args:
        error: What failed.
        service: Whose call it was.
        doing: What was being done, such as "upload the data".
    """
    what = f"{service.title} did not {doing}: {error.message or 'no reason given'}"
    told = f" ({error.status})" if error.status else ""
    return UserError(what + told, where=service.server, fix=_way_out(error, service))


def _way_out(error: CallError, service: Service) -> str:
    go_on = "then give the same command again, which goes on from here"
    if error.spent:
        return f"Top the account up or raise its limit, {go_on}"
    if error.status == 401:
        credit = "" if service is OPENAI else " of an account with credit"
        return f"Put a valid key{credit} into {service.key}, {go_on}"
    if error.status in (403, 404):
        return f"Check that the account may use the model and that its name is right, {go_on}"
    if error.temporary:
        return f"Wait a while, {go_on}"
    return f"Change what it objects to, {go_on}"


def _said(error: Any) -> tuple[str, str]:
    """Code and message of an SDK's error; the services nest them differently."""
    body = error.body
    while isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    if not isinstance(body, dict):
        return "", str(body or error)
    message = body.get("message") or body.get("error") or error
    return str(body.get("code") or body.get("type") or ""), str(message)


def _pause(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as a retry header says; a date counts from the server's clock, not from ours."""
    if milliseconds := headers.get("retry-after-ms"):
        return _number(milliseconds, 1 / 1000)
    after = headers.get("retry-after", "")
    if (seconds := _number(after)) is not None or not after:
        return seconds
    try:
        until = email.utils.parsedate_to_datetime(after)
        return max(0.0, (until - email.utils.parsedate_to_datetime(headers["date"])).total_seconds())
    except (ValueError, KeyError, TypeError):
        return None


def _number(text: str, scale: float = 1.0) -> float | None:
    try:
        return max(0.0, float(text) * scale)
    except ValueError:
        return None
