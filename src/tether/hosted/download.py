"""An adapter's archive, brought home in as many pieces as the line breaks into."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from tether.errors import UserError
from tether.hosted.client import CallError
from tether.progress import task

if TYPE_CHECKING:
    from pathlib import Path

    from tether.hosted.client import Client

TRIES = 8  # in a row that bring nothing new
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
LARGEST = 8 << 30  # bytes of an adapter, packed or unpacked
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


def download(client: Client, job: str, path: Path) -> None:
    """Bring a job's adapter to ``path``; what an earlier call brought is kept and gone on with.

    Raises:
        CallError: The service does not give it.
        UserError: It is larger than any adapter should be.
    """
    part, failures = path.with_name(f"{path.name}.part"), 0
    while failures < TRIES:
        had = part.stat().st_size if part.is_file() else 0
        fault = CallError(None, "", "the line broke")
        try:
            if _piece(client, job, part, had):
                part.replace(path)
                return
        except CallError as error:
            if error.status == 416:  # more is here than there: it is not the same archive any more
                part.unlink(missing_ok=True)
            elif not error.temporary:
                raise
            fault = error
        failures = 0 if part.is_file() and part.stat().st_size > had else failures + 1
        wait = fault.pause if fault.pause is not None else SHORTEST_PAUSE * 2**failures
        time.sleep(min(LONGEST_PAUSE, wait if failures else 0))
    raise fault


def _piece(client: Client, job: str, part: Path, had: int) -> bool:
    """Append what is missing; whether the archive is whole then."""
    import httpx

    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={had}-"} if had else {})}
    content = client.api.with_options(max_retries=0).fine_tuning.with_streaming_response.content
    with client.calls(), content(ft_id=job, checkpoint="adapter", extra_headers=headers) as response:
        start, total = _extent(response)
        if start not in (0, had) or total > LARGEST:
            raise UserError(
                f"the adapter's archive is not what was asked for (from {start} of {total} bytes)"
            )
        with task("Adapter", total) as progress, part.open("ab" if start else "wb") as file:
            progress.go_on(start)
            try:
                for (
                    block
                ) in response.iter_bytes():  # in blocks of a size, what came before a break would be lost
                    file.write(block)
                    progress.advance(len(block))
                    if file.tell() > total:
                        raise UserError("more of the adapter's archive came than was announced")
            except httpx.HTTPError:
                return False
            return file.tell() == total


def _extent(response: Any) -> tuple[int, int]:
    """Where a piece begins, and how large the whole is.

    Raises:
        CallError: The service does not say.
    """
    whole, asked = (
        response.headers.get("content-length"),
        RANGE.match(response.headers.get("content-range", "")),
    )
    if response.status_code == 206 and asked:
        return int(asked[1]), int(asked[2])
    if response.status_code == 200 and whole:
        return 0, int(whole)
    raise CallError(400, "", "the answer does not say how large the archive is")
