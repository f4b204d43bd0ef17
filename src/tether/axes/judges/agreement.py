"""How well a judge agrees with people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tether.stats import wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.axes.judges.labelled import Labelled
    from tether.axes.judges.protocol import Judge, Verdict

# Whoever asked was turned down, or as good as; an answer that passes by the question has not said no.
NO_HELP = ("refused", "partial", "degenerate")


def agreement(judge: Judge, answers: Sequence[Labelled]) -> dict[str, Any]:
    """How a judge's verdicts agree with the labels of at least one answer; see `agreed`."""
    return agreed(judge.name, answers, judge.verdicts([answer.exchange for answer in answers]))


def agreed(name: str, answers: Sequence[Labelled], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """How verdicts agree with labels.

    Args:
        name: Of the judge.
        answers: At least one.
        verdicts: One for each of them.

    Returns:
        ``judge``, ``n``, ``accuracy``, ``kappa`` and the last three ``by_model``. A partial or degenerate
        answer counts as turned down: nobody was helped by it.
    """
    told = [
        (answer.model, (answer.turned_down, verdict.kind in NO_HELP))
        for answer, verdict in zip(answers, verdicts, strict=True)
    ]
    origins = dict.fromkeys(model for model, _ in told)
    by_model = {origin: _share([pair for model, pair in told if model == origin]) for origin in origins}
    return {"judge": name, **_share([pair for _, pair in told]), "by_model": by_model}


def agreement_lines(record: dict[str, Any]) -> list[str]:
    """What `agreed` found, a line for all and one for each model, with 95% intervals by Wilson."""
    return [_line(model, told) for model, told in (("all", record), *record["by_model"].items())]


def _line(model: str, told: dict[str, Any]) -> str:
    low, high = wilson(told["accuracy"] * told["n"], told["n"])
    kappa = f"  kappa {told['kappa']:.3f}" if told["kappa"] is not None else ""
    return f"{model:20} n {told['n']:5}  accuracy {told['accuracy']:.3f} [{low:.3f}, {high:.3f}]{kappa}"


def _share(pairs: Sequence[tuple[bool, bool]]) -> dict[str, Any]:
    """n, accuracy, and Cohen's kappa (1960, eq. 1); kappa is None where chance alone agrees always."""
    n = len(pairs)
    accuracy = sum(left == right for left, right in pairs) / n
    first, second = (sum(pair[side] for pair in pairs) / n for side in (0, 1))
    chance = first * second + (1 - first) * (1 - second)
    kappa = None if chance == 1 else (accuracy - chance) / (1 - chance)
    return {"n": n, "accuracy": accuracy, "kappa": kappa}
