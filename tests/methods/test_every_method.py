"""What every method keeps to: it trains, saves, reloads to the same, and survives being killed."""

from __future__ import annotations

import multiprocessing
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from tether import bases
from tether.agent.preferences import preferences
from tether.anchors.learned import Learned
from tether.chatdata.chats import split_select
from tether.errors import UserError
from tether.methods import find, registry
from tether.methods.place import Place
from tether.methods.run import Run
from tether.methods.tuned import read_record
from tether.training.trainer import TokenBatched

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event
    from pathlib import Path

    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base
    from tether.chatdata.chats import Chat
    from tether.config import Training
    from tether.methods import Method

RATE = {"learning_rate": 5e-3}  # high enough for four steps to leave a mark in bfloat16
OPTIONS: dict[str, dict[str, Any]] = {
    "shira": {"rank": 4},  # the default has more weights than this base
    "replay": {"replayed": "builtin:restaurants"},
}


def train(method: Method, base: Base, chats: list[Chat], out: Path, settings: Training) -> Run:
    given = preferences(chats) if method.data == "preferences" else chats
    run = Run(base, *split_select(given), out, settings, seed=3)
    method(run, RATE | OPTIONS.get(method.name, {}))
    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of an adapter or a whole model."""
    (path,) = folder.glob("*model.safetensors")
    return load_file(path)


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    ids = tokenizer("I need a room in Rome.", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids.to(model.device)).logits.float().cpu()
    return found


def record(run: Run) -> dict[str, Any]:
    found = read_record(run.out)
    assert found is not None
    return found


# What services train is tested in tests/hosted, against stand-ins for them.
HERE = [method for method in registry() if method.service is None]


@pytest.fixture(scope="module", params=HERE, ids=lambda method: method.name)
def method(request: pytest.FixtureRequest) -> Method:
    found: Method = request.param
    return found


@pytest.fixture(scope="module")
def in_memory() -> dict[str, torch.Tensor]:
    """Logits of the models as they were when they had just been saved, by folder."""
    return {}


@pytest.fixture(scope="module")
def whole(
    method: Method,
    base: Base,
    anchors: AnchorSet,
    hotels: list[Chat],
    quick: Training,
    in_memory: dict[str, torch.Tensor],
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """A run from beginning to end."""

    def finish(self: Run, model: Any, *args: Any, **kwargs: Any) -> Any:
        tuned = original(self, model, *args, **kwargs)
        in_memory[str(self.out)] = logits(model, self.tokenizer)
        return tuned

    original = Run.finish
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "finish", finish)
        return train(method, base, hotels, tmp_path_factory.mktemp("whole") / "run", quick)


def test_it_reloads_to_what_it_was(whole: Run, in_memory: dict[str, torch.Tensor]) -> None:
    reloaded = logits(bases.load_tuned(whole.base, whole.out), whole.tokenizer)
    # An adapter is merged into bfloat16 weights, which rounds.
    assert torch.allclose(reloaded, in_memory[str(whole.out)], atol=0.15)
    assert not torch.allclose(reloaded, logits(bases.load_model(whole.base), whole.tokenizer), atol=0.15)


def test_it_leaves_a_record_and_no_checkpoints(whole: Run) -> None:
    found, cost = record(whole), record(whole)["cost"]
    assert (found["base"], found["revision"]) == (whole.base.name, whole.base.revision)
    assert (found["seed"], found["learning_rate"]) == (3, RATE["learning_rate"])
    assert found["parametrisation"] in ("lora", "adapter", "full")
    assert len(cost["step_seconds"]) == 4
    assert all(cost[key] > 0 for key in ("tokens", "trainable_parameters", "peak_memory_bytes", "seconds"))
    assert not (whole.out / "checkpoints").exists()


def stopped_at_three(
    base: str, method: str, chats: list[Chat], out: Path, settings: Training, reached: Event
) -> None:
    """What runs in a process of its own: a training that stands still before its last step."""
    step = TokenBatched.training_step

    def stopped(self: TokenBatched, *args: Any) -> torch.Tensor:
        if self.state.global_step == 3:
            reached.set()
            time.sleep(3600)
        return step(self, *args)

    TokenBatched.training_step = stopped  # type: ignore[method-assign]
    train(find(method), bases.resolve(base), chats, out, settings)


def test_a_killed_run_goes_on_to_the_same_weights(
    method: Method, whole: Run, hotels: list[Chat], quick: Training, tmp_path: Path
) -> None:
    """Which it can only if the same seed gives the same weights."""
    out = tmp_path / "run"
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tether.methods.run", "trl"])  # imported once, not for each method
    reached = processes.Event()
    asked = (whole.base.name, method.name, hotels, out, quick, reached)
    process = processes.Process(target=stopped_at_three, args=asked)
    process.start()
    assert reached.wait(120)
    process.kill()
    process.join()
    assert [path.name for path in (out / "checkpoints").glob("checkpoint-*")] == ["checkpoint-2"]
    assert read_record(out) is None

    resumed = train(method, whole.base, hotels, out, quick)
    mine, theirs = weights(resumed.out), weights(whole.out)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert record(resumed)["cost"]["tokens"] == record(whole)["cost"]["tokens"]
    assert len(record(resumed)["cost"]["step_seconds"]) == 4


def test_a_run_killed_after_its_last_step_leaves_the_same_model(
    method: Method, whole: Run, hotels: list[Chat], quick: Training, tmp_path: Path
) -> None:
    """As when it was measuring its drift, or the disk was full."""

    def killed(self: Run, *args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            train(method, whole.base, hotels, tmp_path / "run", quick)
    resumed = train(method, whole.base, hotels, tmp_path / "run", quick)
    mine, theirs = weights(resumed.out), weights(whole.out)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    counted = "trainable_parameters"
    assert record(resumed)["cost"][counted] == record(whole)["cost"][counted]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lora", "'lora' learns from chats, and these are preferences. take dpo or tether-dpo"),
        ("dpo", r"'dpo' learns from preferences, and these are chats. give rows \{\"prompt\""),
    ],
    ids=["preferences", "chats"],
)
def test_what_it_does_not_learn_from_is_told_of(
    base: Base, hotels: list[Chat], quick: Training, tmp_path: Path, name: str, message: str
) -> None:
    given = preferences(hotels) if name == "lora" else hotels
    with pytest.raises(UserError, match=message):
        find(name)(Run(base, *split_select(given), tmp_path, quick), {})
    assert not list(tmp_path.iterdir())


def test_an_adapter_on_top_of_a_learned_domain_leaves_as_a_whole_model(
    base: Base, anchors: AnchorSet, hotels: list[Chat], quick: Training, tmp_path: Path
) -> None:
    first = train(find("lora"), base, hotels, tmp_path / "first", quick)
    place = Place([Learned("hotels", first.out, hotels)], ["hotels", "restaurants"])
    after = Run(base, *split_select(hotels), tmp_path / "second", quick, place=place)
    find("dora")(after, RATE)
    assert (after.out / "config.json").is_file()
    both = logits(bases.load_tuned(base, after.out), after.tokenizer)
    assert not torch.allclose(both, logits(bases.load_tuned(base, first.out), after.tokenizer), atol=0.1)


def test_an_adapter_does_not_train_all_weights(
    base: Base, hotels: list[Chat], quick: Training, tmp_path: Path
) -> None:
    settings = quick.model_copy(update={"parametrisation": "full"})
    with pytest.raises(UserError, match="is an adapter and cannot train all weights"):
        find("dora")(Run(base, *split_select(hotels), tmp_path, settings), {})


def test_an_adapter_that_does_not_fit_the_base_is_told_of(
    base: Base, hotels: list[Chat], quick: Training, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="PEFT cannot put this adapter on the model"):
        find("shira")(Run(base, *split_select(hotels), tmp_path, quick), {"rank": 4000})


def test_replay_asks_what_to_replay(base: Base, hotels: list[Chat], quick: Training, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--set replayed=FILE"):
        find("replay")(Run(base, *split_select(hotels), tmp_path, quick), {})
