"""What a model's own forward does to the logits that its head gives.

Some models scale them (Cohere, Granite), some cap them (Gemma 2). Whoever runs the head by itself, at few of
many positions, must do the same, or it is another distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tether.errors import Diverged, UserError
from tether.reading import backbone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel

SEEN_ON = 8  # tokens


@dataclass(frozen=True)
class Finish:
    """A scale or a cap.

    Attributes:
        scale: What the logits are multiplied by.
        cap: What bounds them, as ``cap * tanh(logits / cap)``.
    """

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits as the model's forward gives them, of what its head gives."""
        if self.cap is not None:
            return self.cap * torch.tanh(logits / self.cap)
        return logits if self.scale == 1 else logits * self.scale


@torch.no_grad()
def finish_of(model: PreTrainedModel) -> Finish:
    """What the model does, seen on a few tokens.

    Raises:
        UserError: It is neither a scale nor the cap that its configuration names, or there are no logits.
    """
    head, seen = model.get_output_embeddings(), []
    ids = torch.arange(SEEN_ON, device=model.device)[None]
    # In one pass, for training may have left the model's forward, not its backbone's, under autocast.
    handle = backbone(model).register_forward_hook(lambda *call: seen.append(call[-1].last_hidden_state))
    with handle:
        wanted = model(input_ids=ids, use_cache=False).logits
    plain = head(seen[0].to(head.weight.dtype))
    if not wanted.isfinite().all():
        raise Diverged("the model's logits are no numbers", fix="train it at a lower learning rate")
    near = max(1e-3, 2 * torch.finfo(plain.dtype).eps) * float(wanted.abs().max())
    for finish in _candidates(model, plain.float(), wanted.float()):
        if float((finish(plain.float()) - wanted.float()).abs().max()) <= near:
            return finish
    raise UserError(
        "what this model does to its logits is neither a scale nor a cap, and tether knows no other",
        where=str(model.config.model_type),
    )


def _candidates(model: PreTrainedModel, plain: torch.Tensor, wanted: torch.Tensor) -> Iterator[Finish]:
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    if cap:  # first, for small logits are hardly changed by it
        yield Finish(cap=float(cap))
    yield Finish()
    yield Finish(scale=float((plain * wanted).sum() / plain.square().sum()))
