"""The two services, and how a model that lives at one is named: ``openai:MODEL``, ``together:MODEL``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import urlsplit

from tether.bases import Base
from tether.errors import UserError


@dataclass(frozen=True)
class Service:
    """A company that fine-tunes and serves models.

    Attributes:
        name: Of the method, of the SDK's package, and before the colon of a model's name.
        title: What people call it.
        key: The variable that holds the key.
        address: The variable that names another server of the same shape.
        default: The server, where that variable is not set.
    """

    name: str
    title: str
    key: str
    address: str
    default: str

    @property
    def missing(self) -> str | None:
        """What is missing before it can be called, with the way out; None if nothing is."""
        if find_spec(self.name) is None:
            return f"its SDK is not installed: pip install {self.name}"
        if not os.environ.get(self.key, "").strip():
            return f"{self.key} is not set"
        return None

    @property
    def server(self) -> str:
        """Where calls go; a user and password in the address are left out."""
        url = urlsplit(os.environ.get(self.address) or self.default)
        return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}".rstrip("/")


OPENAI = Service("openai", "OpenAI", "OPENAI_API_KEY", "OPENAI_BASE_URL", "https://api.openai.com/v1")
TOGETHER = Service(
    "together", "Together AI", "TOGETHER_API_KEY", "TOGETHER_BASE_URL", "https://api.together.ai"
)
SERVICES = {service.name: service for service in (OPENAI, TOGETHER)}


@dataclass(frozen=True)
class HostedName:
    """A model at a service."""

    service: Service
    model: str

    def __str__(self) -> str:
        return f"{self.service.name}:{self.model}"

    def as_base(self) -> Base:
        """The model as the base of a fine-tuning; neither service tells of a revision."""
        return Base(str(self), str(self), f"not told by {self.service.title}")


def hosted_name(base: str) -> HostedName | None:
    """Read ``openai:MODEL`` or ``together:MODEL``; None for a base that is no hosted one.

    Raises:
        UserError: There is no model behind the colon.
    """
    prefix, colon, model = base.partition(":")
    if not colon or prefix not in SERVICES:
        return None
    if not model.strip():
        raise UserError(f"'{base}' names no model", fix=f"write for example {prefix}:MODEL")
    return HostedName(SERVICES[prefix], model.strip())


def named_at(service: Service, base: str) -> HostedName:
    """The base of a hosted method, with or without the service before it.

    Raises:
        UserError: It names a model of the other service, or none.
    """
    name = hosted_name(base) or HostedName(service, base)
    if name.service is not service:
        raise UserError(f"'{base}' is no model of {service.title}", fix="name one of its models as the base")
    return name
