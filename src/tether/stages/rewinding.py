"""Hold a LoRA that anything trained under a drift budget, without training."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tether import bases
from tether.config import Budget, Training
from tether.errors import UserError
from tether.files import read_json, write_json
from tether.methods.holding import budgets
from tether.methods.run import Run
from tether.methods.tether import hold
from tether.requirements import Requirement, check_askable, check_requirements
from tether.sources import load_training
from tether.stages.outcome import Outcome, drift_lines, drifts
from tether.training.certificate import CERTIFICATE_FILE
from tether.training.measured import measure
from tether.training.rewind import DialogueLoss, Rewind
from tether.training.update import AdapterUpdate

if TYPE_CHECKING:
    from collections.abc import Sequence


def rewind(
    base: str,
    adapter: Path,
    data: str,
    out: Path,
    budget: Budget | None = None,
    anchors: Path | None = None,
    requirements: Sequence[Requirement] = (),
) -> Outcome:
    """Rewind a LoRA until it fits the budget, and certify it.

    Args:
        base: What the adapter was trained on.
        adapter: The LoRA's folder.
        data: What it was trained on; a tenth of it is kept aside, to judge by.
        out: Where the rewound adapter goes.
        budget: Drift allowed in nats per token, for all anchor groups or by group.
        anchors: The user's own anchors.
        requirements: Of the certified drift.

    Raises:
        UserError: The adapter is no LoRA or does not fit the base, or ``out`` is taken.
        RequirementNotMet: The certified drift misses a requirement.
    """
    check_askable(requirements, ["drift"], ["rewind"])
    if out.is_dir() and any(out.iterdir()):
        raise UserError("the folder is not empty", where=str(out), fix="name another folder")
    train, select = load_training(data, Training())
    run = Run(bases.resolve(base), train, select, out, Training(), anchors_folder=anchors, data=data)
    held = _rewound(run, adapter, budgets(budget, run.anchors.groups))
    record = {
        "base": run.base.name,
        "revision": run.base.revision,
        "adapter": str(adapter),
        **run.seen,
        **held,
    }
    write_json(out / bases.RECORD_FILE, record)
    certificate = read_json(out / CERTIFICATE_FILE)
    check_requirements(requirements, {"rewind": {"drift": drifts(certificate)}})
    kept = f"{out}: {held['rewind']['alpha']:.0%} of the update, at a pull of {held['rewind']['pull']:.3g}"
    text = "\n".join([kept, *drift_lines(certificate)])
    return Outcome({"out": str(out), **record, "drift": certificate}, text)


def _rewound(run: Run, adapter: Path, epsilons: dict[str, float]) -> dict[str, dict[str, Any]]:
    """Write the rewound adapter and its certificate; returns what the record says of both."""
    model = run.load("lora")
    reference = run.reference("select", "certify")
    with TemporaryDirectory() as folder:
        measured = measure(model, run.texts(), run.anchors, Path(folder))
        tuned = bases.put_lora(model, adapter)
        bases.to_bfloat16(tuned, held=bases.precision())  # as models are given out
        domain_loss = partial(DialogueLoss(run.renderer, run.select), run.live(tuned))
        drift = partial(reference.drift, tuned, split="select")
        search = Rewind(AdapterUpdate(tuned), domain_loss, drift, epsilons, measured)
        held = hold(run, search, reference, epsilons, tuned)
    tuned.save_pretrained(run.out)
    return held
