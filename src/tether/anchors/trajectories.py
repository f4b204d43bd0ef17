"""Anchors of a denoiser: what it said at every step from a noise to a video.

A trajectory takes an answer's place and a step a token's, so a group's drift is summed up as that of text is:
its interval resamples trajectories, whose steps are alike, and ``first5`` is that of the first five steps, in
which a picture's layout is settled. No video is needed: the base makes its trajectories itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PASS_STEPS = 8  # of a trajectory at once: as many videos as are in memory together


@dataclass(frozen=True)
class Trajectory:
    """One prompt's steps, and what the base said of each.

    Attributes:
        inputs: The denoiser's keyword arguments; a tensor's first dimension is the step, the noisiest first,
            and what is no tensor holds for every step.
        outputs: The base's (steps, ...), on the CPU.
    """

    inputs: Mapping[str, Any]
    outputs: torch.Tensor

    def __len__(self) -> int:
        return len(self.outputs)

    def at(self, steps: Sequence[int]) -> Trajectory:
        """Some of its steps."""
        return Trajectory(_at(self.inputs, steps), self.outputs[list(steps)])

    def parts(self) -> Iterator[Trajectory]:
        """Few steps at a time."""
        return (self.at(some) for some in _passes(len(self)))


def predicted(model: torch.nn.Module, inputs: Mapping[str, Any]) -> torch.Tensor:
    """What a denoiser predicts; called as all of diffusers' are, the inputs brought to its device."""
    device = next(model.parameters()).device
    placed = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in inputs.items()
    }
    output: torch.Tensor = model(**placed, return_dict=False)[0]
    return output


def change(model: torch.nn.Module, trajectory: Trajectory) -> torch.Tensor:
    """Mean squared change of the prediction at each step, (steps,) float32, differentiable in the weights."""
    now = predicted(model, trajectory.inputs).float()
    return (now - trajectory.outputs.to(now)).square().flatten(1).mean(1)


@torch.no_grad()
def remembered(model: torch.nn.Module, inputs: Mapping[str, Any]) -> Trajectory:
    """A trajectory's inputs with what the model, which still is the base, says of them."""
    steps = next(len(value) for value in inputs.values() if isinstance(value, torch.Tensor))
    parts = (predicted(model, _at(inputs, some)).cpu() for some in _passes(steps))
    return Trajectory(inputs, torch.cat(list(parts)))


@torch.no_grad()
def changes(model: torch.nn.Module, trajectories: Sequence[Trajectory]) -> list[torch.Tensor]:
    """As ``change``, of whole trajectories, on the CPU."""
    return [torch.cat([change(model, part).cpu() for part in one.parts()]) for one in trajectories]


@torch.no_grad()
def sample_trajectory(
    model: torch.nn.Module, scheduler: Any, noise: torch.Tensor, steps: int, **conditions: Any
) -> dict[str, Any]:
    """The inputs that a denoiser meets on its own way from a noise to a video.

    Args:
        model: A transformer of diffusers: it takes ``hidden_states`` and ``timestep``.
        scheduler: Of diffusers, one that hands latents on as they are, such as flow matching's.
        noise: (1, ...) latents to begin with.
        steps: How many it takes.
        **conditions: Its other arguments, tensors (1, ...): a prompt's ``encoder_hidden_states``.
    """
    scheduler.set_timesteps(steps)
    latents, met = noise, []
    for time in scheduler.timesteps:
        met.append(latents)
        step = {"hidden_states": latents, "timestep": time.expand(1), **conditions}
        moved = predicted(model, step).to(latents)
        latents = scheduler.step(moved, time, latents, return_dict=False)[0]
    kept = {
        name: value.expand(steps, *value.shape[1:]) if isinstance(value, torch.Tensor) else value
        for name, value in conditions.items()
    }
    return {"hidden_states": torch.cat(met), "timestep": scheduler.timesteps, **kept}


def _at(inputs: Mapping[str, Any], steps: Sequence[int]) -> dict[str, Any]:
    return {
        name: value[list(steps)] if isinstance(value, torch.Tensor) else value
        for name, value in inputs.items()
    }


def _passes(steps: int) -> Iterator[range]:
    return (range(first, min(first + PASS_STEPS, steps)) for first in range(0, steps, PASS_STEPS))
