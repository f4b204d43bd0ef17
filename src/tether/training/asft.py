"""ASFT (arXiv:2509.23753): each token as much as the model believes it, held near the base by a KL."""

from __future__ import annotations

from typing import Any

import torch

from tether.training.trainer import DomainTrainer, by_token, logits_at


class AsftTrainer(DomainTrainer):
    """Trains an adapter on p sg CE + kl KL(base || model), both on the learned tokens.

    Args:
        kl: Weight of the divergence.
        **kwargs: As `DomainTrainer`'s.
    """

    def __init__(self, *, kl: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._kl = kl

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """As `DomainTrainer`'s, of the other loss."""
        ids, labels = inputs["input_ids"], inputs["labels"]
        adapted: Any = self.accelerator.unwrap_model(model)
        with torch.no_grad(), adapted.disable_adapter():
            base = logits_at(model, ids, labels)[0].float().log_softmax(-1)
        logits, targets = logits_at(model, ids, labels)
        found = logits.float().log_softmax(-1)
        believed = found.gather(1, targets[:, None]).squeeze(1)
        losses = -believed.detach().exp() * believed + self._kl * (base.exp() * (base - found)).sum(-1)
        count = len(targets) if num_items_in_batch is None else num_items_in_batch
        return (losses * by_token(inputs["weights"], labels)).sum() / count
