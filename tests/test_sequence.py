"""Two domains one after the other on the tiny base: what each stage starts from, is held to, and leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from tether import bases, checking, sequence
from tether.anchors import learned
from tether.anchors.anchors import load_anchors
from tether.anchors.learned import Learned, learned_anchors
from tether.anchors.reference import Reference
from tether.config import Study
from tether.errors import UserError
from tether.methods.place import ALONE, Place
from tether.results import read_items
from tether.sources import load_dialogues

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base

pytestmark = pytest.mark.usefixtures("anchors", "few_turns")

DOMAINS = ["builtin:hotels", "builtin:restaurants"]
FIRST, SECOND = "stages/1-hotels", "stages/2-restaurants"


@pytest.fixture(scope="module")
def few_turns() -> Iterator[None]:
    """Anchors of a domain are few and short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned, "TURNS", {"train": 6, "select": 4, "certify": 5})
        patch.setattr(learned, "ANSWER_TOKENS", 8)
        yield


def asked(base: Base, **changes: Any) -> Study:
    """Three methods, two steps a domain, a few items of everything."""
    said: dict[str, Any] = {
        "base": base.name,
        "data": DOMAINS[0],
        "then": DOMAINS[1:],
        "methods": {
            "lora": {"learning_rate": [1e-2, 1e-3], "rank": 4},
            "everything": {"method": "full", "learning_rate": 1e-3},
            "tether": {"budget": {"general": 0.02, "safety": 0.01}, "rank": 4, "learning_rate": 1e-2},
        },
        "sweep_steps": 1,
        "training": {"max_steps": 2, "batch_tokens": 2048, "dialogues": 12},
        "limits": {**dict.fromkeys(DOMAINS, 1), "builtin:safety": 4, "builtin:knowledge": 4},
    }
    return Study.model_validate({**said, **changes})


@pytest.fixture(scope="module")
def run(base: Base, anchors: AnchorSet, few_turns: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sequence") / "run"
    sequence.compare(asked(base), out)
    return out


@pytest.fixture(scope="module")
def results(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return found


def test_rates_are_swept_on_the_first_domain_for_all_of_them(results: dict[str, Any], run: Path) -> None:
    (chosen,) = (point["learning_rate"] for point in results["sweeps"]["lora"] if point["chosen"])
    for stage in (FIRST, SECOND):
        tuned = json.loads((run / stage / "lora" / "seed-0" / "tuned.json").read_text(encoding="utf-8"))
        assert tuned["learning_rate"] == chosen


def test_the_matrix_has_every_domain_and_axis_after_every_stage(results: dict[str, Any], run: Path) -> None:
    assert [stage["domain"] for stage in results["stages"]] == DOMAINS
    for stage, folder in zip(results["stages"], (FIRST, SECOND), strict=True):
        assert list(stage["methods"]) == ["lora", "everything", "tether"]
        for method, row in stage["methods"].items():
            assert row.keys() >= {*DOMAINS, "safety", "knowledge", "drift"}
            after = read_items(run / folder / method / "seed-0" / "items" / "proficiency.jsonl")
            before = read_items(run / "base" / "items" / "proficiency.jsonl")
            for domain in DOMAINS:
                for items, side in ((before, "before"), (after, "after")):
                    mean = fmean(item.score for item in items if item.source == domain)
                    assert row[domain][side] == pytest.approx(mean)


def test_the_rest_of_the_results_is_the_last_stages(results: dict[str, Any]) -> None:
    assert results["schema"] == 1
    cell = results["methods"]["lora"]["seeds"]["0"]["axes"]["safety"]
    assert cell["after"]["items"] == f"{SECOND}/lora/seed-0/items/safety.jsonl"
    assert (
        results["methods"]["lora"]["summary"]["safety"] == results["stages"][1]["methods"]["lora"]["safety"]
    )
    assert results["study"]["then"] == DOMAINS[1:]
    assert results["provenance"]["data"].keys() == set(DOMAINS)


def test_a_lora_goes_on_upon_the_one_before(run: Path) -> None:
    first, second = (
        load_file(run / stage / "lora" / "seed-0" / "adapter_model.safetensors") for stage in (FIRST, SECOND)
    )
    for name, weight in first.items():
        if ".lora_A." in name:
            assert second[name].shape[0] == 2 * weight.shape[0] == 8
            assert torch.equal(second[name][:4], weight)
        else:
            assert torch.equal(second[name][:, :4], 32 / 4 * weight), "with its alpha / rank in it"
            assert second[name][:, 4:].any()


def test_all_weights_go_on_from_where_they_were(run: Path, base: Base) -> None:
    (first, second), start = (
        [load_file(run / stage / "everything" / "seed-0" / "model.safetensors") for stage in (FIRST, SECOND)],
        dict(bases.load_model(base).named_parameters()),
    )
    name = "model.layers.0.mlp.up_proj.weight"
    steps = [(first[name] - start[name].detach()).norm(), (second[name] - first[name]).norm()]
    assert all(step > 0 for step in steps)
    assert (second[name] - start[name].detach()).norm() > max(steps), "the second step is upon the first"


def test_tether_is_held_to_each_domain_learned_and_to_its_share_of_the_budget(run: Path) -> None:
    first, second = (
        json.loads((run / stage / "tether" / "seed-0" / "drift.json").read_text())
        for stage in (FIRST, SECOND)
    )
    assert first["budget"] == {"general": 0.01, "safety": 0.005, "text": 0.025}
    assert second["budget"] == {"general": 0.02, "safety": 0.01, "text": 0.05, "hotels": 0.05}
    assert second["groups"]["hotels"]["prompts"] == 5
    held = load_anchors(run / FIRST / "tether" / "seed-0" / "anchors")
    assert held.groups == ["hotels"]
    assert not (run / FIRST / "lora" / "seed-0" / "anchors").exists(), "it looks back on nothing"
    record = json.loads((run / SECOND / "tether" / "seed-0" / "tuned.json").read_text())
    assert record["learned"] == ["hotels"]
    assert record["multipliers"].keys() == {"general", "safety", "text", "hotels"}


def test_the_anchors_of_a_domain_are_its_own_models_answers(
    run: Path, base: Base, anchors: AnchorSet
) -> None:
    folder = run / FIRST / "lora" / "seed-0"
    chats = load_dialogues(DOMAINS[0], split="train", limit=40)
    found = learned_anchors(Learned("hotels", folder, chats), base)
    try:
        assert {anchor.group for anchor in found.anchors} == {"hotels"}
        assert found.nats.keys() == {"hotels"}, "a trainer of one's own knows the model again by it"
        model = bases.load_tuned(base, folder)
        reference = Reference(found).ask(model)
        likeliest = torch.cat([reference.logits(i).argmax(-1) for i in range(len(found.anchors))])
        answers = torch.tensor([token for anchor in found.anchors for token in anchor.answer_ids])
        agree = (likeliest == answers).float().mean()
        assert agree > 0.9, "greedy, and by who answered; bfloat16 turns a near tie now and then"
        splits = [len(found.indices("hotels", split)) for split in ("train", "select", "certify")]
        assert splits == [6, 4, 5]
    finally:
        shutil.rmtree(folder / "anchors")


def made(run: Path) -> dict[Path, int]:
    kept = ("tuned.json", "drift.json", "*.jsonl", "*.safetensors")
    return {path: path.stat().st_mtime_ns for name in kept for path in run.rglob(name)}


def test_a_sequence_that_was_stopped_goes_on_to_the_same_end(
    run: Path, base: Base, results: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stopped = tmp_path / "run"
    shutil.copytree(run, stopped)
    shutil.rmtree(stopped / SECOND / "tether")
    before = made(stopped)
    again = sequence.compare(asked(base), stopped)
    changed = {path for path, when in made(stopped).items() if before.get(path) != when}
    assert {path.relative_to(stopped).parts[:3] for path in changed} == {
        ("stages", "2-restaurants", "tether")
    }
    assert json.loads(again.model_dump_json(by_alias=True))["stages"] == results["stages"]

    monkeypatch.delattr(sequence.study, "measure")
    sequence.compare(asked(base), stopped)


def test_the_report_shows_the_matrix(run: Path) -> None:
    for name in ("report.html", "report.md"):
        text = (run / name).read_text(encoding="utf-8")
        assert "Domain after domain" in text and "Forgotten" in text
    assert (run / "figures" / "sequence.png").is_file()


def test_a_dry_run_tells_of_every_domain(base: Base) -> None:
    lines = "\n".join(checking.check(asked(base)))
    for domain in DOMAINS:
        assert f"data {domain}: 11 dialogues to train on, 1 kept aside" in lines
        assert f"proficiency: {domain}, 1 items" in lines
    assert "one after the other: builtin:hotels, builtin:restaurants" in lines


THREE = ["hotels", "restaurants", "flights"]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (ALONE, {"general": 0.06}),
        (Place((), THREE), {"general": 0.02}),
        (Place([Learned("hotels", Path("tuned"), ())], THREE), {"general": 0.04, "hotels": 0.03}),
    ],
    ids=["alone", "first of three", "second of three"],
)
def test_a_budget_is_shared_by_the_domains_that_it_lives_through(
    place: Place, expected: dict[str, float]
) -> None:
    assert place.shares({"general": 0.06, "hotels": 0.06} if place.learned else {"general": 0.06}) == (
        pytest.approx(expected)
    )


def test_what_cannot_follow_is_refused(base: Base, tmp_path: Path) -> None:
    hosted = asked(base, methods={"openai": {"base": "gpt-4o-mini-2024-07-18"}})
    with pytest.raises(UserError, match=r"OpenAI tunes a model once.*leave it out"):
        sequence.compare(hosted, tmp_path / "run")
    pairs = asked(base, data="builtin:hotels-preferences", methods={"dpo": {}})
    with pytest.raises(UserError, match=r"preferences have none.*without `then`"):
        sequence.compare(pairs, tmp_path / "run")
    with pytest.raises(ValueError, match="'hotels' is two things here"):
        asked(base, then=["builtin:hotels"], limits={})
