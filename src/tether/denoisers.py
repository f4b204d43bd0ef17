"""tether beyond text: a denoiser of diffusers, held near the base it began as while its owner trains it.

diffusers has no trainer to stand before: who fine-tunes writes the loop. So the method is told of it at three
places: before the first step, when the base is measured and the optimizer's steps are given their shape; in
each step, whose loss gets the anchors' drift added; and after the last, when the update is rewound until it
fits the budget, and certified. Drift is the mean squared change of what the denoiser predicts on anchors
(anchors/trajectories.py). Everything else is what holds text under the trainers, but that the gradient of a
look is not cut: it comes with the domain's, of a loss whose backward pass is the owner's.
"""

from __future__ import annotations

import hashlib
import random
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save

from tether import bases
from tether.anchors.anchors import SPLITS
from tether.anchors.drift import GroupDrift, summarise
from tether.anchors.moments import gathering
from tether.anchors.trajectories import Trajectory, change, changes, predicted, remembered
from tether.errors import UserError
from tether.methods.holding import ANCHOR_EVERY, MULTIPLIER, PULL
from tether.training.budget import Budget, check_allowed
from tether.training.certificate import Certificate
from tether.training.filters import filters
from tether.training.measured import Measured
from tether.training.rewind import Rewind
from tether.training.shaping import Shaping
from tether.training.starts import lay, left_free
from tether.training.update import AdapterUpdate, check_plain_lora, input_weights, linear_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tether.anchors.moments import Moments
    from tether.training.rewind import Choice

    Inputs = Mapping[str, Any]

UNIT = "mean squared change"
ANCHOR_STEPS = 4  # of one trajectory a group, at each look


class HeldDenoiser:
    """A denoiser under a drift budget, in a training loop of its owner's.

    Args:
        model: The denoiser: it takes keyword arguments and gives a tuple with ``return_dict=False``, as all
            of diffusers' do. It carries a plain LoRA that nothing has trained.
        optimizer: Of the LoRA's weights (accelerate's wrapper comes after).
        domain: The denoiser's inputs in some batches of the training to come.
        anchors: By group, the inputs of each trajectory that must not change, as ``sample_trajectory`` gives
            them. Of three neighbours one is for training, one for the rewind, one for the certificate.
        budget: The mean squared change that is allowed, for all groups or by group.
        name: What `drift.json` calls the base.
        pull: How strongly the geometry shapes each step; 0 leaves the steps alone.
        seed: Of the anchors' order.

    Attributes:
        certificate: How far the denoiser has moved; None until it is rewound.
        choice: What the rewind kept; None until then.

    Raises:
        UserError: The adapter is no plain LoRA, a group has fewer than three trajectories, or no budget.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        domain: Iterable[Inputs],
        anchors: Mapping[str, Sequence[Inputs]],
        budget: float | Mapping[str, float],
        name: str = "",
        pull: float = PULL,
        seed: int = 0,
    ) -> None:
        check_plain_lora(model, where="model")
        self.model, self.name = model, name
        self.epsilons = _epsilons(budget, anchors)
        self.multipliers = Budget(self.epsilons, **MULTIPLIER)
        self.certificate: Certificate | None = None
        self.choice: Choice | None = None
        self._step = 0
        self._folder = TemporaryDirectory(prefix="tether-")  # as large as the model, several times
        with _quiet(model):
            self._anchors = {
                group: [remembered(model, inputs) for inputs in given] for group, given in anchors.items()
            }
            self._measured = self._measure(domain)
        self._drawn = {
            group: _drawn(self._split(group, "train"), f"{seed} {group} train") for group in anchors
        }
        if pull:
            geometry = self._measured.geometry()
            lay(model, partial(left_free, geometry, pull))
            shaping = Shaping(filters(geometry, pull))
            shaping.begin(model)
            optimizer.register_step_pre_hook(lambda *_: shaping.before_step())
            optimizer.register_step_post_hook(lambda *_: shaping.after_step())

    def penalty(self) -> torch.Tensor:
        """What to add to a step's loss: where it is due, each group's drift by its multiplier; a scalar."""
        step, self._step = self._step, self._step + 1
        if step % ANCHOR_EVERY:
            return torch.zeros(())
        drifts = {group: self._look(group) for group in self.epsilons}
        self.multipliers.observe(step, {group: float(drift.detach()) for group, drift in drifts.items()})
        held = [weight * drifts[group] for group, weight in self.multipliers.weights().items()]
        return ANCHOR_EVERY * torch.stack(held).sum()

    def rewind(self, domain_loss: Callable[[], float]) -> Certificate:
        """Rewind the update until it fits the budget, and certify what is kept.

        Args:
            domain_loss: Measures the denoiser as it stands on examples kept aside from training.

        Raises:
            UserError: It has been rewound before.
        """
        if self.certificate:
            raise UserError("this denoiser has been rewound", fix="hold it anew to train it more")
        with _quiet(self.model), torch.no_grad():
            rewind = Rewind(
                AdapterUpdate(self.model),
                domain_loss,
                lambda group: self._drift(group, "select"),
                self.epsilons,
                self._measured,
            )
            self.choice = rewind()
            drift = {group: self._drift(group, "certify") for group in self._anchors}
        self._folder.cleanup()
        alpha, pull = self.choice.alpha, self.choice.pull
        self.certificate = Certificate(alpha, pull, drift, self.epsilons, self._sha256(), UNIT)
        return self.certificate

    def save(self, folder: Path | str) -> None:
        """Write `drift.json`; the LoRA beside it is saved as diffusers or peft save it.

        Raises:
            UserError: Nothing has been certified.
        """
        if self.certificate is None:
            raise UserError("the denoiser is not certified yet", fix="call rewind after the last step")
        # What tells one base from another is in the anchors' checksum: its own outputs.
        self.certificate.write(Path(folder), bases.Base(self.name, self.name, "unknown"))

    def _split(self, group: str, split: str) -> list[Trajectory]:
        return self._anchors[group][SPLITS.index(split) :: len(SPLITS)]

    def _look(self, group: str) -> torch.Tensor:
        return change(self.model, next(self._drawn[group])).mean()

    def _drift(self, group: str, split: str) -> GroupDrift:
        return summarise(changes(self.model, self._split(group, split)))

    def _measure(self, domain: Iterable[Inputs]) -> Measured:
        groups = {group: partial(self._moments, self._train_inputs(group)) for group in self._anchors}
        device = next(self.model.parameters()).device
        return Measured.of(Path(self._folder.name), partial(self._moments, domain), groups, device)

    def _train_inputs(self, group: str) -> Iterator[Inputs]:
        return (part.inputs for trajectory in self._split(group, "train") for part in trajectory.parts())

    @torch.no_grad()
    def _moments(self, given: Iterable[Inputs]) -> Moments:
        adapted = input_weights(self.model)
        layers = {name: layer for name, layer in linear_layers(self.model).items() if name in adapted}
        with gathering(layers) as gatherer:
            for inputs in given:
                predicted(self.model, inputs)
        return gatherer.moments()

    def _sha256(self) -> str:
        digest = hashlib.sha256()
        for group, trajectories in self._anchors.items():
            digest.update(group.encode())
            for one in trajectories:
                tensors = {key: value for key, value in one.inputs.items() if isinstance(value, torch.Tensor)}
                told = {**tensors, "outputs of the base": one.outputs}
                digest.update(save({key: value.cpu().contiguous() for key, value in told.items()}))
        return digest.hexdigest()


def _epsilons(
    budget: float | Mapping[str, float], anchors: Mapping[str, Sequence[Inputs]]
) -> dict[str, float]:
    epsilons = dict.fromkeys(anchors, float(budget)) if isinstance(budget, float | int) else dict(budget)
    check_allowed(epsilons)
    if epsilons.keys() != anchors.keys():
        raise UserError(
            f"budgets are of {', '.join(epsilons)}, anchors of {', '.join(anchors)}",
            where="budget",
            fix="give every group of anchors its budget, or one number for all",
        )
    for group, trajectories in anchors.items():
        if len(trajectories) < len(SPLITS):
            raise UserError(
                f"the group '{group}' has {len(trajectories)} trajectories, and every split needs one",
                where="anchors",
                fix="give it more; an interval means something from some dozens on",
            )
    return epsilons


def _drawn(trajectories: Sequence[Trajectory], seed: str) -> Iterator[Trajectory]:
    """A few steps of each trajectory in turn, reshuffled, without end."""
    shuffler = random.Random(seed)
    while True:
        for trajectory in shuffler.sample(trajectories, len(trajectories)):
            steps = shuffler.sample(range(len(trajectory)), min(ANCHOR_STEPS, len(trajectory)))
            yield trajectory.at(steps)


@contextmanager
def _quiet(model: torch.nn.Module) -> Iterator[None]:
    """The model without dropout."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
