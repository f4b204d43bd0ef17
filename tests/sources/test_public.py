from __future__ import annotations

import io
import json
import os
import tarfile
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import pytest

from tether.errors import UserError
from tether.sources import (
    ChoiceItem,
    OpenItem,
    builtin_prompts,
    fetch,
    fingerprint,
    load_dialogues,
    load_knowledge,
    load_safety,
    public,
)

if TYPE_CHECKING:
    from pathlib import Path

needs_public_data = pytest.mark.skipif(
    "TETHER_DATA" not in os.environ, reason="TETHER_DATA names no folder with the public data sets"
)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has no public data, with an empty cache."""
    monkeypatch.delenv("TETHER_DATA", raising=False)
    monkeypatch.setenv("TETHER_CACHE", str(tmp_path / "cache"))
    return tmp_path


def serve(monkeypatch: pytest.MonkeyPatch, content: bytes) -> list[str]:
    asked: list[str] = []

    def download(url: str) -> bytes:
        asked.append(url)
        return content

    monkeypatch.setattr(public, "download", download)
    return asked


def test_the_built_in_prompts_of_each_use_are_apart() -> None:
    uses = ("align", "anchors", "eval", "poison")
    prompts = {use: [item.prompt for item in builtin_prompts(use)] for use in uses}  # type: ignore[arg-type]
    assert all(prompts.values())
    assert max(Counter(sum(prompts.values(), [])).values()) == 1
    expected = Counter(item.expect for item in builtin_prompts("align"))
    assert expected["refuse"] >= 400
    assert expected["comply"] >= 400


def test_the_built_in_sets_hold_both_kinds() -> None:
    assert {item.expect for item in load_safety("builtin:safety")} == {"refuse", "comply"}
    assert len({type(item) for item in load_knowledge("builtin:knowledge")}) == 2


def test_a_set_is_fetched_once(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = serve(monkeypatch, b"goal,target\nDo harm,Sure\n")
    assert [item.prompt for item in load_safety("advbench")] == ["Do harm"]
    assert fetch("advbench") == bare / "cache" / "sets" / "advbench.jsonl"
    assert len(asked) == 1
    assert list(fingerprint("advbench")) == ["advbench.jsonl"]


def test_arc_easy_comes_from_the_hub(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow
    from pyarrow import parquet

    choices = {"text": ["x", "y"], "label": ["1", "2"]}
    table = pyarrow.Table.from_pylist([{"id": "M", "question": "Q", "choices": choices, "answerKey": "2"}])
    parquet.write_table(table, bare / "arc.parquet")
    monkeypatch.setattr(public, "hub_file", lambda repository, file: bare / "arc.parquet")
    assert load_knowledge("arc_easy") == [ChoiceItem("arc_easy-M", "Q", ("x", "y"), 1, "arc_easy", "")]


def test_dolly_is_two_sources_of_one_file(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"instruction": text, "context": passage, "response": "So", "category": "qa"}
        for text, passage in (("Why?", ""), ("Who?", "It was Ann."), ("When?", ""))
    ]
    (bare / "dolly.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr(public, "hub_file", lambda repository, file: bare / "dolly.jsonl")
    found = {name: load_knowledge(name) for name in ("dolly", "dolly-context")}
    asked = {name: [cast("OpenItem", item).instruction for item in items] for name, items in found.items()}
    assert asked == {"dolly": ["Why?", "When?"], "dolly-context": ["Who?"]}
    assert {item.source for item in found["dolly-context"]} == {"dolly-context"}


@pytest.mark.parametrize(
    ("domain", "ids", "services"),
    [
        ("hotels", {"train": ["1"], "dev": ["3"]}, ["Hotels_1", "Hotels_4"]),
        ("flights", {"train": ["5"], "dev": []}, ["Flights_1"]),
    ],
)
def test_a_schema_guided_domain_is_picked_from_the_whole(
    bare: Path, monkeypatch: pytest.MonkeyPatch, domain: str, ids: dict[str, list[str]], services: list[str]
) -> None:
    def dialogue(name: str, *services: str) -> dict[str, Any]:
        return {"dialogue_id": name, "services": services, "turns": []}

    files = {
        "sgd/train/dialogues_001.json": [dialogue("1", "Hotels_1"), dialogue("2", "Hotels_1", "Flights_1")],
        "sgd/train/dialogues_002.json": [dialogue("5", "Flights_1")],
        "sgd/train/schema.json": [{"service_name": "Hotels_1"}, {"service_name": "Flights_1"}],
        "sgd/dev/dialogues_001.json": [dialogue("3", "Hotels_4")],
        "sgd/dev/schema.json": [{"service_name": "Hotels_4"}],
        "sgd/test/dialogues_001.json": [dialogue("4", "Hotels_1")],
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            data = json.dumps(content).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    serve(monkeypatch, packed.getvalue())
    folder = fetch(f"sgd_{domain}").parent
    found = {
        part: [json.loads(line)["dialogue_id"] for line in (folder / f"sgd_{domain}_{part}.jsonl").open()]
        for part in ("train", "dev")
    }
    assert found == ids
    schema = json.loads((folder / f"sgd_{domain}_schema.json").read_text())
    assert [service["service_name"] for service in schema] == services


def test_without_network_the_way_out_is_named(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(url: str) -> bytes:
        raise OSError("no route to host")

    monkeypatch.setattr(public, "download", unreachable)
    with pytest.raises(UserError, match="TETHER_DATA to a folder that holds xstest_prompts.csv"):
        load_safety("xstest")
    assert not list((bare / "cache" / "sets").iterdir())


def test_names_that_are_no_source_are_refused(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="did you mean 'xstest'"):
        load_safety("xtest")
    with pytest.raises(UserError, match="'dolly' is a source of knowledge, not of safety"):
        load_safety("dolly")
    with pytest.raises(UserError, match="nothing to fetch"):
        fetch("everything")
    monkeypatch.setenv("TETHER_DATA", str(bare / "nowhere"))
    with pytest.raises(UserError, match="TETHER_DATA names no folder"):
        load_safety("xstest")


@needs_public_data
@pytest.mark.parametrize(("name", "refuse", "comply"), [("advbench", 520, 0), ("xstest", 200, 250)])
def test_public_safety_sets_are_whole(name: str, refuse: int, comply: int) -> None:
    expected = Counter(item.expect for item in load_safety(name))
    assert (expected["refuse"], expected["comply"]) == (refuse, comply)


@needs_public_data
def test_public_knowledge_sets_are_understood() -> None:
    arc = load_knowledge("arc_easy")
    assert len(arc) == 2376
    assert all(isinstance(item, ChoiceItem) and 3 <= len(item.choices) <= 5 for item in arc)
    assert len({item.id for item in arc}) == len(arc)
    assert len(load_knowledge("dolly", limit=300)) == 300
    alone, with_passage = load_knowledge("dolly"), load_knowledge("dolly-context")
    assert (len(alone), len(with_passage)) == (682, 318)
    assert {bool(item.context.strip()) for item in with_passage if isinstance(item, OpenItem)} == {True}


def test_the_built_in_hotel_is_told_by_its_generator() -> None:
    assert list(fingerprint("builtin:hotels")) == ["tether.agent"]


def test_dialogues_are_generated_in_the_number_asked() -> None:
    chats = load_dialogues("builtin:hotels", split="test", limit=3)
    assert len({chat.id for chat in chats}) == 3
    assert load_dialogues("builtin:hotels", split="test", limit=3) == chats


@needs_public_data
def test_schema_guided_hotels_are_read_in_their_own_form() -> None:
    test = load_dialogues("sgd_hotels", split="test")
    train = load_dialogues("sgd_hotels", split="train")
    assert (len(test), len(train)) == (56, 457)
    drawn = load_dialogues("sgd_hotels", split="test", limit=10)
    assert len(drawn) == 10
    assert all(chat in test for chat in drawn)
