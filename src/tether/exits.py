"""How a command ends: its exit code, and a sentence for whoever ran it."""

from __future__ import annotations

import errno
import sys
import traceback
from typing import TYPE_CHECKING

from tether.errors import RequirementNotMet, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What the disk can do to anybody, and what to tell them.
DISK_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
}
# What a place can be that somebody has named.
PLACE_ERRORS = {
    errno.EACCES: "permission is denied",
    errno.EISDIR: "it is a folder, where a file is wanted",
    errno.EEXIST: "it is a file, where a folder is wanted",
    errno.ENOTDIR: "it is a file, where a folder is wanted",
}
GO_ON = "What is done is kept: the same command goes on from there."


def run_to_exit(command: Callable[[], object]) -> None:
    """Run a command; the one place where exit codes are decided."""
    try:
        command()
    except UserError as error:
        _stop(str(error), 2)
    except RequirementNotMet as error:
        _stop(f"Requirement not met: {error}", 3)
    except Exception as error:
        excuse = _excuse(error)
        if excuse:
            _stop(excuse, 2)
        traceback.print_exc()
        _stop("This is a fault in tether: please report it with the lines above and `tether doctor`.", 1)


def _stop(text: str, code: int) -> None:
    print(text, file=sys.stderr)
    sys.exit(code)


def _excuse(error: BaseException) -> str | None:
    """A sentence for what the machine, not tether, got wrong; libraries wrap such errors in their own."""
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in DISK_ERRORS:
            place = f" at {cause.filename}" if cause.filename else ""
            return f"Nothing can be written{place}: {DISK_ERRORS[cause.errno]}. {GO_ON}"
        if isinstance(cause, OSError) and cause.errno in PLACE_ERRORS and cause.filename:
            return f"{cause.filename} will not do: {PLACE_ERRORS[cause.errno]}."
        if "No space left on device" in str(cause):
            return f"Nothing can be written: {DISK_ERRORS[errno.ENOSPC]}. {GO_ON}"
        if type(cause).__name__ == "OutOfMemoryError":
            return f"The accelerator's memory is used up. Make batch_tokens or max_length smaller. {GO_ON}"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
