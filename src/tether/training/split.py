"""A LoRA that begins as a part of each weight: W = (W - s B0 A0) + s B0 A0, of which the second is trained.

What leaves is a plain LoRA of W itself, s B A - s B0 A0 = s [B, -B0] [A; A0], whose rank is twice as high.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import TrainerCallback

from tether.anchors.sketch import opened
from tether.training.update import PEFT_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transformers import PreTrainedModel

    from tether.anchors.layered import Layers

    Factors = tuple[torch.Tensor, torch.Tensor]
    Part = Callable[[torch.Tensor, torch.Tensor | None], Factors]

ADAPTER = "default"
RIDGE = 1e-3  # of the inputs' mean energy: the moment is inverted


class Split(TrainerCallback):
    """Takes a part out of each weight and gives it to the LoRA to begin with.

    Args:
        part: Of a weight (out, in) and its inputs' second moment as kept, both float32, factors B0 (out,
            rank) and A0 (rank, in).
        moments: Measures these moments of the model before it is trained; None where they are not needed.
    """

    def __init__(self, part: Part, moments: Callable[[PreTrainedModel], Layers] | None = None) -> None:
        self._part, self._moments = part, moments
        self._taken: dict[str, Factors] = {}

    @torch.no_grad()
    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Split every weight; a run that goes on has its LoRA from the checkpoint."""
        model = kwargs["model"]
        with model.disable_adapter():
            moments = self._moments(model) if self._moments else {}
        for name, layer in _layers(model):
            weight = layer.base_layer.weight
            second, first = self._part(weight.float(), moments.get(name))
            root = layer.scaling[ADAPTER] ** -0.5
            self._taken[name] = (root * second, root * first)
            weight.sub_((second @ first).to(weight.dtype))
            if state.global_step == 0:
                layer.lora_B[ADAPTER].weight.copy_(root * second)
                layer.lora_A[ADAPTER].weight.copy_(root * first)

    @torch.no_grad()
    def rejoined(self, model: Any, base: PreTrainedModel) -> PreTrainedModel:
        """The trained model as a plain LoRA of ``base``, of which nothing was taken."""
        config = model.peft_config[ADAPTER]
        twice = LoraConfig(
            r=2 * config.r,
            lora_alpha=2 * config.lora_alpha,
            target_modules=config.target_modules,
            task_type=config.task_type,
        )
        whole: Any = get_peft_model(base, twice)
        trained = dict(_layers(model))
        for name, layer in _layers(whole):
            second, first = self._taken[name]
            mine = trained[name]
            layer.lora_B[ADAPTER].weight.copy_(torch.cat([mine.lora_B[ADAPTER].weight, -second], dim=1))
            layer.lora_A[ADAPTER].weight.copy_(torch.cat([mine.lora_A[ADAPTER].weight, first]))
        return whole.eval()  # type: ignore[no-any-return]


def least_of_weight(weight: torch.Tensor, moment: torch.Tensor | None, rank: int) -> Factors:
    """W's least singular triples (MiLoRA, arXiv:2406.09044)."""
    left, sizes, right = torch.linalg.svd(weight, full_matrices=False)
    root = sizes[-rank:].sqrt()
    return left[:, -rank:] * root, root[:, None] * right[-rank:]


def least_of_inputs(weight: torch.Tensor, moment: torch.Tensor | None, rank: int) -> Factors:
    """The least singular triples of W C, taken back by the inverse of C (CorDA, arXiv:2406.05223)."""
    assert moment is not None
    seen = opened(moment)
    whole = seen.lifted(RIDGE * float(seen.diagonal.mean())).dense()
    left, sizes, right = torch.linalg.svd(weight.double() @ whole, full_matrices=False)
    root = sizes[-rank:].sqrt()
    first = torch.linalg.solve(whole, right[-rank:].T).T  # C is symmetric
    return (left[:, -rank:] * root).float(), (root[:, None] * first).float()


def _layers(model: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            yield name.removeprefix(PEFT_PREFIX), layer
