"""An adapter's archive: brought home in pieces, and opened as if an enemy had packed it."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from servers.standin import Fault, Refusal

from tether.errors import UserError
from tether.hosted import archive as room
from tether.hosted import download as line
from tether.hosted.archive import open_archive
from tether.hosted.client import CallError, connect
from tether.hosted.download import download
from tether.hosted.services import TOGETHER

from .conftest import packed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers.together import TogetherServer


@pytest.fixture
def files(adapter: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(adapter.iterdir())}


def opened(content: bytes, folder: Path) -> set[str]:
    """Names that an archive leaves in a folder."""
    path, out = folder / "x.archive", folder / "out"
    path.write_bytes(content)
    out.mkdir()
    open_archive(path, out)
    return {found.name for found in out.iterdir()}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_the_adapter_alone_is_taken_out(mode: str, files: dict[str, bytes], tmp_path: Path) -> None:
    more = {f"checkpoint/{name}": content for name, content in files.items()}
    more["checkpoint/run_me.py"] = b"print('no')"
    more["checkpoint/training_args.bin"] = b"\x80\x04"
    assert opened(packed(more, mode), tmp_path) == set(files)


def test_zstandard_is_read_too(files: dict[str, bytes], tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    assert opened(zstandard.ZstdCompressor().compress(packed(files, "w")), tmp_path) == set(files)


def test_and_where_it_is_broken_that_is_told(files: dict[str, bytes], tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    content = bytearray(zstandard.ZstdCompressor().compress(packed(files, "w")))
    content[40:60] = b"\xff" * 20
    with pytest.raises(UserError, match=r"x\.archive: .* was not opened: it cannot be read"):
        opened(bytes(content), tmp_path)


def test_or_its_lack_is_told(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    with pytest.raises(UserError, match="pip install zstandard"):
        opened(b"\x28\xb5\x2f\xfd" + b"0" * 100, tmp_path)


def with_member(files: dict[str, bytes], **fields: Any) -> bytes:
    """A good archive with one member more."""
    whole = io.BytesIO(packed(files, "w"))
    with tarfile.open(fileobj=whole, mode="a") as archive:
        member = tarfile.TarInfo(fields.pop("name", "extra"))
        content = fields.pop("content", b"")
        member.size = len(content)
        for name, value in fields.items():
            setattr(member, name, value)
        archive.addfile(member, io.BytesIO(content))
    return whole.getvalue()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "../adapter_config.json", "content": b"{}"}, "leads out of the folder"),
        ({"name": "a/../../b"}, "leads out of the folder"),
        ({"name": "/etc/passwd"}, "leads out of the folder"),
        ({"name": "..\\..\\b"}, "leads out of the folder"),
        ({"name": "c:/windows"}, "leads out of the folder"),
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "a link or a device"),
        ({"type": tarfile.LNKTYPE, "linkname": "adapter_config.json"}, "a link or a device"),
        ({"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, "a link or a device"),
        ({"type": tarfile.FIFOTYPE}, "a link or a device"),
        ({"name": "adapter_config.json", "content": b"{}"}, "holds adapter_config.json twice"),
    ],
    ids=lambda value: str(value.get("name", value.get("type"))) if isinstance(value, dict) else "",
)
def test_a_member_that_means_harm_spoils_the_whole(
    fields: dict[str, Any], message: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"was not opened: .*{message}"):
        opened(with_member(files, **fields), tmp_path)
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "b").exists()


def header_bomb(files: dict[str, bytes]) -> bytes:
    """A member whose long name alone would fill the memory."""
    member = tarfile.TarInfo("x" * (200 << 20))
    return member.tobuf(tarfile.GNU_FORMAT) + packed(files, "w")


def padding_bomb(files: dict[str, bytes]) -> bytes:
    """Much zero before what is wanted."""
    return packed({"zeros": bytes(200 << 20), **files}, "w")


@pytest.mark.parametrize("bomb", [header_bomb, padding_bomb])
def test_what_unpacks_to_far_more_than_it_weighs_is_dropped(
    bomb: Callable[[dict[str, bytes]], bytes], files: dict[str, bytes], tmp_path: Path
) -> None:
    packed_bomb = gzip.compress(bomb(files), compresslevel=9)
    assert len(packed_bomb) < 1 << 20
    with pytest.raises(UserError, match="unpacks to far more than it weighs"):
        opened(packed_bomb, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adapter_config.json": None}, "holds no adapter_config.json"),
        ({"adapter_model.safetensors": None}, "holds no adapter_model.safetensors"),
        ({"adapter_model.safetensors": b"\x80\x04K\x01."}, "no adapter's"),
        ({"adapter_config.json": b"["}, "no adapter's"),
        ({"adapter_config.json": b'{"peft_type": "PROMPT_TUNING"}'}, "holds no LoRA"),
        (
            {"adapter_config.json": b'{"peft_type": "LORA", "auto_mapping": {"parent_library": "os"}}'},
            "code of its own",
        ),
        ({"adapter_config.json": b" " * (2 << 20)}, "too large"),
    ],
)
def test_what_is_no_adapter_is_told(
    changes: dict[str, bytes | None], message: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    held = {name: content for name, content in {**files, **changes}.items() if content is not None}
    with pytest.raises(UserError, match=message):
        opened(packed(held), tmp_path)


def test_an_archive_that_is_none_is_told(files: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        opened(packed(files)[:-40], tmp_path)


def test_too_many_members(files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_MEMBERS", 3)
    with pytest.raises(UserError, match="too many files"):
        opened(packed({**{f"f{n}": b"" for n in range(4)}, **files}), tmp_path)


@pytest.fixture
def job(together_server: TogetherServer) -> str:
    from servers.together import Job

    together_server.jobs["ft-1"] = Job("ft-1", {}, end="completed")
    together_server.archive = bytes(range(256)) * 400
    return "ft-1"


def test_a_broken_line_is_gone_on_with_where_it_broke(
    together_server: TogetherServer, job: str, tmp_path: Path
) -> None:
    together_server.cuts = [1000, 0, 50_000]
    download(connect(TOGETHER), job, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == together_server.archive
    ranges = [request.headers.get("range") for request in together_server.asked("GET /v1/finetune/download")]
    assert ranges == [None, "bytes=1000-", "bytes=1000-", "bytes=51000-"]


def test_so_is_one_that_a_killed_process_left(
    together_server: TogetherServer, job: str, tmp_path: Path
) -> None:
    (tmp_path / "a.part").write_bytes(together_server.archive[:777])
    download(connect(TOGETHER), job, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == together_server.archive
    assert together_server.requests[-1].headers["range"] == "bytes=777-"


def test_a_remainder_of_something_else_is_begun_anew(
    together_server: TogetherServer, job: str, tmp_path: Path
) -> None:
    (tmp_path / "a.part").write_bytes(bytes(len(together_server.archive) + 5))
    download(connect(TOGETHER), job, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == together_server.archive


def test_a_line_that_never_holds_is_given_up(
    together_server: TogetherServer, job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "SHORTEST_PAUSE", 0.0)
    together_server.faults = [
        Fault("GET /v1/finetune/download", Refusal(503, "busy", retry_after_ms="0"), times=99)
    ]
    with pytest.raises(CallError, match="busy"):
        download(connect(TOGETHER), job, tmp_path / "a")
    assert len(together_server.requests) == line.TRIES
    together_server.faults = []
    monkeypatch.setattr(line, "LARGEST", 1000)
    with pytest.raises(UserError, match="not what was asked for"):
        download(connect(TOGETHER), job, tmp_path / "a")


def test_the_configuration_is_plain_json(adapter: Path) -> None:
    assert json.loads((adapter / "adapter_config.json").read_text())["peft_type"] == "LORA"
