"""Open an adapter's archive as if an enemy had packed it.

Two files are taken out under names of our own; nothing else of the archive reaches the disk. An archive with
a member that climbs out, is a link or a device, or unpacks to far more than it weighs, is refused whole.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, cast

from tether.errors import UserError
from tether.hosted.download import LARGEST

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LARGEST_FILES = {CONFIG: 1 << 20, WEIGHTS: LARGEST}
MOST_MEMBERS = 1000
# Weights hardly compress; what grows by more than this was made to fill the memory or the disk.
MOST_GROWTH, FREE_GROWTH = 100, 64 << 20
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def open_archive(path: Path, out: Path) -> None:
    """Take the adapter out of a .tar, .tar.gz or .tar.zst.

    Args:
        path: The archive.
        out: The folder in which the adapter's two files will stand.

    Raises:
        UserError: It is no such archive, holds no LoRA adapter in safetensors, or is packed to do harm.
    """
    with tempfile.TemporaryDirectory(prefix=".adapter-", dir=out) as scratch:
        try:
            with path.open("rb") as file:
                _take(_Bounded(_unpacked(file, path), file), Path(scratch), path)
        except _broken() as error:
            raise _bad(path, f"it cannot be read ({error})") from error
        _check_adapter(Path(scratch), path)
        # The configuration last: with it the folder counts as an adapter.
        for name in (WEIGHTS, CONFIG):
            shutil.move(Path(scratch) / name, out / name)


def _broken() -> tuple[type[Exception], ...]:
    """What is raised of a broken file; by zstandard, where it is installed."""
    errors = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile)
    try:
        from zstandard import ZstdError
    except ImportError:
        return errors
    return (*errors, ZstdError)


def _bad(path: Path, what: str) -> UserError:
    fix = "do not use it; remove the file to fetch it again, and tell the service"
    return UserError(f"the adapter's archive was not opened: {what}", where=str(path), fix=fix)


class _Bounded(io.RawIOBase):
    """Unpacked bytes, as long as they stay in proportion to the packed ones that were read for them."""

    def __init__(self, unpacked: IO[bytes], packed: IO[bytes]) -> None:
        self._unpacked, self._packed, self._given = unpacked, packed, 0

    def read(self, size: int = -1) -> bytes:
        block = self._unpacked.read(size)
        self._given += len(block)
        if self._given > min(LARGEST, MOST_GROWTH * self._packed.tell() + FREE_GROWTH):
            raise tarfile.ReadError("it unpacks to far more than it weighs")
        return block


def _unpacked(file: IO[bytes], path: Path) -> IO[bytes]:
    """The tar inside, whatever it is compressed with."""
    head = file.read(4)
    file.seek(0)
    if head.startswith(GZIP):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if head != ZSTD:
        return file
    try:
        import zstandard
    except ImportError:
        raise UserError(
            "the adapter is packed with zstandard, which is not installed",
            where=str(path),
            fix="pip install zstandard, and give the same command again",
        ) from None
    return cast("IO[bytes]", zstandard.ZstdDecompressor().stream_reader(file))


def _take(unpacked: _Bounded, scratch: Path, path: Path) -> None:
    """Copy the two files out, having looked at every member."""
    taken: dict[str, str] = {}
    with tarfile.open(fileobj=cast("IO[bytes]", unpacked), mode="r|") as archive:
        for member in _checked(archive, scratch, path):
            place = PurePosixPath(member.name)
            if place.name not in LARGEST_FILES:
                continue
            if place.name in taken:
                raise _bad(path, f"it holds {place.name} twice")
            if member.size > LARGEST_FILES[place.name]:
                raise _bad(path, f"its {place.name} is too large")
            taken[place.name] = str(place.parent)
            content = archive.extractfile(member)
            assert content is not None  # a regular file, as was checked
            with (scratch / place.name).open("wb") as target:
                shutil.copyfileobj(content, target, 1 << 20)
    if missing := [name for name in LARGEST_FILES if name not in taken]:
        raise _bad(path, f"it holds no {' and no '.join(missing)}")
    if len(set(taken.values())) > 1:
        raise _bad(path, "its two files lie in different folders")


def _checked(archive: tarfile.TarFile, scratch: Path, path: Path) -> Iterator[tarfile.TarInfo]:
    """The regular files, after each member was found harmless."""
    for number, member in enumerate(archive):
        place = PurePosixPath(member.name.replace("\\", "/"))
        if number >= MOST_MEMBERS:
            raise _bad(path, "it holds too many files")
        if place.is_absolute() or ".." in place.parts or ":" in (place.parts or ("",))[0]:
            raise _bad(path, "a name in it leads out of the folder")
        if not (member.isreg() or member.isdir()) or member.issparse():
            raise _bad(path, "it holds a link or a device")
        # Python's own judgement besides; what passes is still written under our names only.
        tarfile.data_filter(member, str(scratch))
        if member.isreg():
            yield member


def _check_adapter(folder: Path, path: Path) -> None:
    """Hold the two files against what PEFT will make of them."""
    from safetensors import SafetensorError, safe_open

    try:
        config: Any = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        with safe_open(folder / WEIGHTS, framework="np") as weights:
            names = list(weights.keys())
    except (ValueError, RecursionError, SafetensorError) as error:
        raise _bad(path, f"its files are no adapter's ({error})") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA" or not names:
        raise _bad(path, "it holds no LoRA adapter")
    if config.get("auto_mapping"):
        raise _bad(path, "it asks for code of its own to be loaded")
