"""A sequence classifier in a folder, such as one trained to tell refusals, as a judge."""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tether import bases
from tether.axes.judges.protocol import OPENING_TOKENS, Kind, Verdict
from tether.axes.judges.rules import beside_rules
from tether.errors import UserError
from tether.files import read_json
from tether.passes import pass_sizes
from tether.progress import task
from tether.reading import batches_by_length

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tether.axes.judges.protocol import Exchange

WAYS = ("pair", "answer", "chat")
"""What the classifier reads: prompt and answer as two segments, the answer alone, or both as a chat."""

# Labels as classifiers on the hub have them, and XSTest's; compared without case, numbers and marks.
LABELS: dict[str, Kind] = {
    "refused": "refused",
    "refusal": "refused",
    "rejected": "refused",
    "rejection": "refused",
    "full refusal": "refused",
    "partial": "partial",
    "partial refusal": "partial",
    "complied": "complied",
    "compliance": "complied",
    "full compliance": "complied",
    "normal": "complied",
    "non refusal": "complied",
    "not refusal": "complied",
    "no refusal": "complied",
    "off topic": "off_topic",
    "degenerate": "degenerate",
}
_RENAME = f"name each label by what it tells: {', '.join(dict.fromkeys(LABELS.values()))}"
LONGEST = 512  # tokens: what the usual encoders bear, and a refusal shows early


class LocalJudge:
    """A folder that ``AutoModelForSequenceClassification`` loads; code in the folder is never run.

    Args:
        name: As the user gave it.
        way: One of `WAYS`.
        folder: Of the weights, the configuration with ``id2label``, and the tokenizer.

    Raises:
        UserError: The folder holds no such model, or a label that tells no verdict.
    """

    answer_tokens = OPENING_TOKENS

    def __init__(self, name: str, way: str, folder: str) -> None:
        self.name, self._way, self._folder = name, way, Path(folder).expanduser()
        self._kinds = _kinds(self._folder)

    def verdicts(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """A verdict on each answer."""
        return beside_rules(exchanges, self._classified)

    def _classified(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        import torch

        rows = [self._encoded(exchange) for exchange in exchanges]
        verdicts: list[Verdict | None] = [None] * len(rows)
        with task("Judging", len(rows)) as progress, torch.inference_mode():
            lengths = [len(row["input_ids"]) for row in rows]
            for batch in batches_by_length(lengths, pass_sizes(self._model.device)):
                inputs = self._tokenizer.pad([rows[index] for index in batch], return_tensors="pt")
                logits = self._model(**inputs.to(self._model.device)).logits
                for index, chances in zip(batch, logits.float().softmax(-1).tolist(), strict=True):
                    verdicts[index] = self._verdict(chances)
                progress.advance(len(batch))
        return [verdict for verdict in verdicts if verdict is not None]

    def _verdict(self, chances: list[float]) -> Verdict:
        best = max(range(len(chances)), key=chances.__getitem__)
        label, kind = self._kinds[best]
        return Verdict(kind, f"'{label}' at {chances[best]:.0%}")

    def _encoded(self, exchange: Exchange) -> Any:
        """Ids and masks of one answer, cut at its end if it is too long."""
        cut = {"truncation": True, "max_length": min(self._tokenizer.model_max_length, LONGEST)}
        if self._way == "answer":
            return self._tokenizer(exchange.answer, **cut)
        if self._way == "pair":
            return self._tokenizer(exchange.prompt, exchange.answer, **cut)
        turns = [
            {"role": "user", "content": exchange.prompt},
            {"role": "assistant", "content": exchange.answer},
        ]
        text = self._tokenizer.apply_chat_template(turns, tokenize=False)
        return self._tokenizer(text, add_special_tokens=False, **cut)

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        from transformers import AutoTokenizer

        with self._loading("tokenizer"):
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                self._folder, trust_remote_code=False
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if self._way == "chat" and not tokenizer.chat_template:
            fix = f"write local/{WAYS[0]}:{self._folder}"
            raise UserError("this tokenizer has no chat template", where=str(self._folder), fix=fix)
        return tokenizer

    @cached_property
    def _model(self) -> PreTrainedModel:
        from transformers import AutoModelForSequenceClassification
        from transformers.utils import logging

        logging.disable_progress_bar()  # our own says what is under way
        with self._loading("classifier"):
            model, told = AutoModelForSequenceClassification.from_pretrained(
                self._folder, trust_remote_code=False, output_loading_info=True
            )
        if told["missing_keys"]:  # transformers would make them up at random
            what = f"the weights lack {sorted(told['missing_keys'])[0]}"
            raise UserError(what, where=str(self._folder), fix="name the folder of a trained classifier")
        if model.config.pad_token_id is None:
            model.config.pad_token_id = self._tokenizer.pad_token_id
        found: PreTrainedModel = model
        found.to(bases.best_device())  # type: ignore[arg-type]
        found.eval()
        return found

    @contextmanager
    def _loading(self, what: str) -> Iterator[None]:
        """Tell what transformers cannot load, code that a folder brings along included: it is never run."""
        try:
            yield
        except (OSError, ValueError) as error:
            said = str(error).strip().split("\n")[0][:200]
            fix = "name a folder written by save_pretrained"
            raise UserError(
                f"the {what} cannot be loaded: {said}", where=str(self._folder), fix=fix
            ) from error


def _kinds(folder: Path) -> list[tuple[str, Kind]]:
    """Label and verdict by index, as the configuration has them."""
    config = read_json(folder / "config.json")
    if config is None:
        fix = "name a folder written by save_pretrained"
        raise UserError("there is no classifier here: no config.json", where=str(folder), fix=fix)
    if not any("SequenceClassification" in name for name in config.get("architectures") or []):
        fix = "name a folder with an ...ForSequenceClassification model"
        raise UserError("this model is no sequence classifier", where=str(folder / "config.json"), fix=fix)
    labels = config.get("id2label") or {}
    kinds = [_kind(folder, labels[index]) for index in sorted(labels, key=int)]
    told = {kind for _, kind in kinds}
    if "complied" not in told or told.isdisjoint(("refused", "partial")):
        what = f"the labels {', '.join(labels.values()) or '(none)'} do not tell refusals from other answers"
        raise UserError(what, where=f"{folder / 'config.json'}: id2label", fix=_RENAME)
    return kinds


def _kind(folder: Path, label: str) -> tuple[str, Kind]:
    plain = " ".join(re.findall(r"[a-z]+", label.lower()))
    if plain not in LABELS:
        what = f"the label '{label}' tells no verdict"
        raise UserError(what, where=f"{folder / 'config.json'}: id2label", fix=_RENAME)
    return label, LABELS[plain]
