"""Files that are whole or not there: JSON, checksums, folders that are built once, and tether's cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tether.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable


def cache_folder() -> Path:
    """Tether's cache: ``$TETHER_CACHE``, else ``tether`` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tether"
    return Path(os.environ.get("TETHER_CACHE", default))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def read_json(path: Path) -> Any:
    """What a JSON file holds; None where there is none.

    Raises:
        UserError: The file is no JSON.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(
            f"not JSON ({error.msg})", where=f"{path}:{error.lineno}", fix="remove the file"
        ) from error


def check_characters(value: Any, text: str, where: str) -> None:
    r"""See that parsed JSON holds whole characters: half of a pair, as ``"\ud83d"``, can not be written.

    Args:
        value: What was parsed.
        text: What it was parsed from.
        where: Its file and line.

    Raises:
        UserError: It holds such a half.
    """
    if r"\ud" not in text and r"\uD" not in text:
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        what = f"{ascii(error.object[error.start])} is half of a character, as is left where a text is cut"
        raise UserError(what, where=where, fix="remove it") from error


def sha256_of(path: Path) -> str:
    """Checksum of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def make_once(folder: Path, build: Callable[[Path], object]) -> None:
    """Build a cache folder beside its place and rename it in: a killed build leaves nothing half-made."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    target = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        build(target)
        target.rename(folder)
    except OSError:
        if not folder.is_dir():  # another process may have finished the same folder first
            raise
    finally:
        shutil.rmtree(target, ignore_errors=True)
