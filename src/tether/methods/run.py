"""What a method is given to work with."""

from __future__ import annotations

import copy
import shutil
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch
from peft import LoraConfig

from tether import bases
from tether.anchors.anchors import joined
from tether.anchors.domain_safety import FOLDER as DOMAIN_ANCHORS
from tether.anchors.domain_safety import domain_safety_anchors
from tether.anchors.learned import learned_anchors
from tether.anchors.reference import Reference
from tether.anchors.store import anchors_for, base_states
from tether.chatdata.preferences import only_preferences
from tether.chatdata.rendering import Renderer
from tether.environment import environment
from tether.errors import UserError
from tether.files import write_json
from tether.hosted.kept import Kept
from tether.inference import LocalModel
from tether.methods.place import ALONE, Place
from tether.methods.tuned import Tuned
from tether.names import DOMAIN_SAFETY
from tether.training.loop import fit
from tether.training.measured import measure
from tether.training.rewriting import rewritten
from tether.training.rows import chat_rows, pair_rows
from tether.training.stack import stack
from tether.training.update import lora_targets
from tether.training.weighting import kept_nats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from peft import PeftConfig
    from transformers import PreTrainedModel, TrainerCallback

    from tether.anchors.anchors import AnchorSet
    from tether.chatdata.chats import Chat
    from tether.config import Training
    from tether.training.anchored import Anchoring
    from tether.training.cost import Cost
    from tether.training.measured import Measured
    from tether.training.preference import Objective
    from tether.training.rewriting import Retold
    from tether.training.weighting import Weighting

# The pilot's, and of the order that papers use for models of billions. A small model takes more (of a LoRA on
# 135M parameters 2e-3 learned most, benchmarks/first-study), so a study that compares methods sweeps.
OWN_RATES = {"lora": 5e-4, "adapter": 5e-4, "full": 3e-5}


class Run:
    """One fine-tuning: base, dialogues, folder, settings.

    Args:
        base: The base model.
        train: Dialogues to learn from.
        select: Dialogues kept aside from training, to choose by.
        out: Where the tuned model goes.
        settings: Steps, batch size, schedule.
        seed: Of everything random.
        anchors_folder: The user's own anchors; None is the base's own, made or shipped.
        yes: Whether the user has agreed to what a service will charge.
        place: In a sequence of domains.
        data: Where the dialogues come from, for the record.
        reference: What the base thinks of its anchors, where that is known already.
    """

    def __init__(
        self,
        base: bases.Base,
        train: Sequence[Chat],
        select: Sequence[Chat],
        out: Path,
        settings: Training,
        seed: int = 0,
        anchors_folder: Path | None = None,
        yes: bool = False,
        place: Place = ALONE,
        data: str | None = None,
        reference: Callable[[], Reference] | None = None,
    ) -> None:
        self.base, self.train, self.select, self.out, self.yes = base, train, select, out, yes
        self.settings, self.seed, self._anchors_folder, self.place = settings, seed, anchors_folder, place
        self._retold: Retold | None = None
        self._domain_safety = False
        self._data, self._asked = data, reference or (lambda: Reference(self._base_anchors))

    def retold(self) -> Run:
        """The same with targets in the words of the model that will be trained."""
        live = self.live(bases.load_tuned(self.base, self.place.start))
        kept = Kept(self.out / "checkpoints" / "rewritten.jsonl")
        told = copy.copy(self)
        told.train, told._retold = rewritten(live, self.train, kept)
        return told

    def with_domain_safety(self) -> Run:
        """The same with safety under the dialogues' own system turns among the anchors."""
        safer = copy.copy(self)
        safer._domain_safety = True
        return safer

    @property
    def seen(self) -> dict[str, Any]:
        """What the model is shown, as its record tells it: later measurements must be of something else."""
        data = {
            "source": self._data,
            "dialogues": self.settings.dialogues,
            "poison_ratio": self.settings.poison_ratio,
        }
        return {
            "data": data if self._data else None,
            "retold": asdict(self._retold) if self._retold else None,
            "anchors": str(self._anchors_folder) if self._anchors_folder else None,
        }

    @cached_property
    def tokenizer(self) -> Any:
        """The base's tokenizer."""
        return bases.load_tokenizer(self.base)

    @cached_property
    def renderer(self) -> Renderer:
        """The base's chat template."""
        return Renderer(self.tokenizer)

    @cached_property
    def _base_anchors(self) -> AnchorSet:
        return anchors_for(self.base, self._anchors_folder)

    @cached_property
    def anchors(self) -> AnchorSet:
        """What must not change: the base's answers, and those of the models that learned domains before."""
        found = [self._base_anchors]
        if self._domain_safety:
            folder = self.out / DOMAIN_ANCHORS
            found.append(domain_safety_anchors(self.base, self._base_anchors, self.train, folder))
        return joined([*found, *(learned_anchors(one, self.base) for one in self.place.learned)])

    def reference(self, *splits: str) -> Reference:
        """What whoever answered the anchors thinks of these splits, as models are given out."""
        own = self._asked()
        if unknown := [split for split in splits if not own.knows(split)]:
            kept = base_states(self.base, self._base_anchors)
            own.ask(bases.load_model(self.base), unknown, folder=kept)
        whole = own.over(self.anchors)
        if self._domain_safety:
            whole.ask(bases.load_model(self.base), splits, [DOMAIN_SAFETY])
        for one in self.place.learned:
            whole.ask(bases.load_tuned(self.base, one.folder), splits, [one.group])
        return whole

    def parametrisation(self, own: str) -> str:
        """What is trained: as the settings say, else the method's ``own``."""
        return self.settings.parametrisation or own

    def load(self, parametrisation: str) -> PreTrainedModel:
        """Where training starts, the base or what it became, in the parametrisation's precision."""
        dtype = torch.float32 if parametrisation == "full" else None
        return bases.load_tuned(self.base, self.place.start, dtype)

    def tune(
        self, own: str, learning_rate: float | None, told: dict[str, Any] | None = None, **how: Any
    ) -> Tuned:
        """Fine-tune from the start to the record, where a method does nothing in between.

        Args:
            own: The method's own parametrisation.
            learning_rate: The peak rate; None is the parametrisation's own.
            told: What the record says beside.
            **how: As ``fit``.
        """
        parametrisation = self.parametrisation(own)
        model, cost, rate = self.fit(self.load(parametrisation), parametrisation, learning_rate, **how)
        return self.finish(model, parametrisation, rate, cost, **(told or {}))

    def fit(
        self,
        model: PreTrainedModel,
        parametrisation: str,
        learning_rate: float | None,
        *,
        rank: int = 16,
        alpha: int = 32,
        adapter: PeftConfig | None = None,
        anchoring: Anchoring | None = None,
        callbacks: Sequence[TrainerCallback] = (),
        preferring: Objective | None = None,
        weighting: Weighting | None = None,
        trainer: Callable[..., Any] | None = None,
        beside: Sequence[Chat] = (),
    ) -> tuple[PreTrainedModel, Cost, float]:
        """Train; returns the model, what it cost and the rate it was trained at.

        With an objective, from preferences; with a ``weighting``, by what the base thinks of rows; with an
        ``adapter``, that one instead of a LoRA of all linear layers; with a ``trainer``, by that one; with
        chats ``beside`` the domain's, from these too.
        """
        rate = learning_rate or OWN_RATES[parametrisation]
        lora = LoraConfig(r=rank, lora_alpha=alpha, target_modules=lora_targets(model), task_type="CAUSAL_LM")
        tuned, cost = fit(
            model,
            self.tokenizer,
            self._learned(model, beside, weighting) if preferring is None else self._pairs(),
            out=self.out,
            settings=self.settings,
            learning_rate=rate,
            seed=self.seed,
            label=f"Training {self.out.parent.name if self.out.name.startswith('seed-') else self.out.name}",
            adapter=None if parametrisation == "full" else adapter or lora,
            anchoring=anchoring,
            callbacks=callbacks,
            preferring=preferring,
            trainer=trainer,
        )
        return tuned, cost, rate

    def measured(self, model: PreTrainedModel, anchors: AnchorSet, beginnings: float) -> Measured:
        """What ``model``, before training, reads of the domain and of these anchors.

        It lies with the checkpoints, so that a run that goes on need not measure again.
        """
        return measure(model, self.texts(), anchors, self.out / "checkpoints" / "measured", beginnings)

    def texts(self) -> list[list[int]]:
        """Token ids of every training dialogue, as far as it is trained on."""
        return [self.renderer.encode(chat).input_ids[: self.settings.max_length] for chat in self.train]

    def rows(self, chats: Sequence[Chat]) -> list[dict[str, list[int]]]:
        """Dialogues as training rows, as ``chat_rows``."""
        return chat_rows(self.renderer, chats, self.settings.max_length)

    def _learned(
        self, base: PreTrainedModel, beside: Sequence[Chat], weighting: Weighting | None
    ) -> list[dict[str, Any]]:
        """The rows to train on; what the base thinks of them, where wanted, lies with the checkpoints."""
        rows = self.rows([*self.train, *beside])
        if weighting is None or not weighting.wanted:
            return rows
        file = self.out / "checkpoints" / "base-nats.safetensors"
        nats = kept_nats(file, base, rows, int(self.tokenizer.pad_token_id))
        weighted = weighting(rows, nats)
        if not weighted:
            raise UserError(
                f"no token has a perplexity of {weighting.stm:g} or less under the base",
                where="stm",
                fix="raise the threshold",
            )
        return weighted

    def _pairs(self) -> list[dict[str, list[int]]]:
        return pair_rows(self.renderer, only_preferences(self.train), self.settings.max_length)

    def live(self, model: PreTrainedModel) -> LocalModel:
        """The model with the base's tokenizer, to be asked."""
        return LocalModel(model, self.tokenizer, self.base.name)

    def finish(
        self, model: PreTrainedModel, parametrisation: str, rate: float, cost: Cost, **extra: Any
    ) -> Tuned:
        """Write the tuned model and its record, and only then let the checkpoints go."""
        # Only plain LoRAs can be told apart from the start and stacked upon it.
        merged = parametrisation == "adapter" and bool(self.place.start)
        if merged:
            model = cast("Any", model).merge_and_unload()
        if merged or parametrisation == "full":
            bases.to_bfloat16(model)  # as the base had it, whatever it was trained in
            self.tokenizer.save_pretrained(self.out)
        model.save_pretrained(self.out)
        if parametrisation == "lora" and self.place.start:
            stack(self.place.start, self.out)
        record = self.record(parametrisation, rate, self.settings.model_dump(), cost.record())
        record |= {"learned": [one.group for one in self.place.learned], **extra}
        write_json(self.out / bases.RECORD_FILE, record)
        shutil.rmtree(self.out / "checkpoints", ignore_errors=True)
        return Tuned(self.out, parametrisation, rate, cost, extra)

    def record(
        self, parametrisation: str, rate: float | None, training: dict[str, Any], cost: dict[str, Any]
    ) -> dict[str, Any]:
        """What every record of a fine-tuning says."""
        return {
            "base": self.base.name,
            "revision": self.base.revision,
            "parametrisation": parametrisation,
            "learning_rate": rate,
            "seed": self.seed,
            **self.seen,
            "training": training,
            "cost": cost,
            "environment": environment(),
        }
