"""Fit the small classifier, and tell how it does on models and prompts that it was not fitted on."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from tether.axes.judges.agreement import agreed
from tether.axes.judges.classifier import fit
from tether.errors import UserError, did_you_mean
from tether.progress import track

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tether.axes.judges.labelled import Labelled
    from tether.axes.judges.protocol import Verdict

FOLDS = 5  # of the prompts


def train(out: Path, answers: Sequence[Labelled], fit_on: Sequence[str] = ()) -> dict[str, Any]:
    """Fit a classifier, write it to ``out``, and hold it against the labels that it has not seen.

    Every verdict that is counted comes from a fit without the answer's model and without its prompt: the same
    prompts are put to every model, and a classifier that knows what is refused need not see how.

    Args:
        out: Folder of the classifier.
        answers: Labelled answers of two models or more.
        fit_on: Models to fit on; the others are judged. Empty: every model is judged by a fit on all the
            others, and the classifier in ``out`` is fitted on all.

    Returns:
        As `agreement.agreed` has it, with ``fitted``: n and models of the classifier in ``out``.

    Raises:
        UserError: A model is unknown, none is left to judge, only one label is there to learn from, or
            ``out`` is taken.
    """
    if out.is_dir() and any(out.iterdir()):
        raise UserError("the folder is not empty", where=str(out), fix="name another folder")
    origins = list(dict.fromkeys(answer.model for answer in answers))
    _check(origins, fit_on)
    splits = [(list(fit_on), [origin for origin in origins if origin not in fit_on])]
    if not fit_on:
        splits = [([other for other in origins if other != origin], [origin]) for origin in origins]
    verdicts = _unseen(answers, splits)
    chosen = [answer for answer in answers if not fit_on or answer.model in fit_on]
    name = f"classifier:{out}"
    fitted = {"n": len(chosen), "models": list(fit_on) or origins}
    fit(name, _learnable(chosen)).save(out, {"fitted": fitted})
    judged = [index for index in range(len(answers)) if index in verdicts]
    told = agreed(name, [answers[index] for index in judged], [verdicts[index] for index in judged])
    return {**told, "fitted": fitted}


def _unseen(answers: Sequence[Labelled], splits: Sequence[tuple[list[str], list[str]]]) -> dict[int, Verdict]:
    """Verdicts by the answer's index, for all models to be judged of (fitted, judged) models."""
    verdicts: dict[int, Verdict] = {}
    folds = [_fold(answer) for answer in answers]
    parts = [(seen, judged, fold) for seen, judged in splits for fold in sorted(set(folds))]
    for seen, judged, fold in track(parts, "Fitting"):
        known = [a for a, other in zip(answers, folds, strict=True) if a.model in seen and other != fold]
        unknown = [i for i, a in enumerate(answers) if a.model in judged and folds[i] == fold]
        if unknown:
            classifier = fit("", _learnable(known))
            told = classifier.verdicts([answers[index].exchange for index in unknown])
            verdicts.update(zip(unknown, told, strict=True))
    return verdicts


def _fold(answer: Labelled) -> int:
    """The same for all answers to a prompt; an answer without a prompt stands for itself."""
    return zlib.crc32((answer.prompt.strip() or answer.answer).encode()) % FOLDS


def _check(origins: Sequence[str], fit_on: Sequence[str]) -> None:
    for name in fit_on:
        if name not in origins:
            fix = did_you_mean(name, origins)
            raise UserError(f"no answer is labelled as of the model '{name}'", where="--fit-on", fix=fix)
    if len(origins) < 2 or set(origins) <= set(fit_on):
        raise UserError(
            "no model is left to hold the classifier against",
            where="--fit-on" if fit_on else "--train",
            fix="label answers of two models or more, named in 'model', and fit on fewer than all",
        )


def _learnable(answers: Sequence[Labelled]) -> Sequence[Labelled]:
    if len({answer.turned_down for answer in answers}) < 2:
        fix = "label some answers that comply and some that refuse, of every model to fit on"
        raise UserError("there is only one label to learn from", where="--train", fix=fix)
    return answers
