"""Attention of few new tokens over many cached ones, on processors, without copies of grouped keys.

Torch's fused attention for processors is made for long sequences. On a decoding step in bfloat16 it does some
10 GFLOP/s, and where a mask meets grouped-query attention, transformers copies the keys for each group. Two
batched matrix products over the keys as they lie are several times faster; their scores are softmaxed in
float32, as in transformers' own "eager" attention.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transformers import PreTrainedModel

P = ParamSpec("P")
T = TypeVar("T")
GROUPED = "tether_grouped"
SCORES = 1 << 23  # scores of one layer, float32; with more of them the fused kernel wins
EXTRAS = ("softcap", "position_bias", "s_aux")  # what some architectures add to attention


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers asks for it.

    Args:
        module: The attention layer.
        query: (rows, heads, new tokens, head size).
        key: (rows, key heads, positions, head size).
        value: As ``key``.
        attention_mask: (rows, 1, new tokens, positions) booleans, or None for plainly causal.
        scaling: Of the scores.
        **kwargs: Further settings; those that change scores are left to the fused attention.

    Returns:
        (rows, new tokens, heads, head size).
    """
    rows, heads, new, size = query.shape
    key_heads, positions = key.shape[1:3]
    fused = attention_mask is None or rows * heads * new * positions > SCORES
    if fused or any(kwargs.get(name) is not None for name in EXTRAS):
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    assert attention_mask is not None
    packed = query.reshape(rows, key_heads, -1, size)
    scores = (
        torch.matmul(packed, key.transpose(2, 3)).float().mul_(size**-0.5 if scaling is None else scaling)
    )
    # Not minus infinity: padding sees nothing at all, and must not become no number.
    lowest = torch.finfo(torch.float32).min
    scores.view(rows, key_heads, -1, new, positions).masked_fill_(~attention_mask[:, :, None], lowest)
    read = torch.matmul(scores.softmax(-1).to(value.dtype), value)
    return read.view(rows, heads, new, -1).transpose(1, 2).contiguous(), None


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, sdpa_mask)


def reads(run: Callable[P, T]) -> Callable[P, T]:
    """Let a function of a live model read without gradients, and with grouped attention where that pays."""

    @functools.wraps(run)
    def reading(*args: P.args, **kwargs: P.kwargs) -> T:
        live: Any = args[0]
        with torch.inference_mode(), grouped(live.model):
            return run(*args, **kwargs)

    return reading


@contextmanager
def grouped(model: PreTrainedModel) -> Iterator[None]:
    """Grouped attention where that pays: in a model of transformers' fused attention, on a processor."""
    inner = unwrapped(model)
    fused = inner.device.type == "cpu" and inner.config._attn_implementation == "sdpa"
    if not (fused and inner._can_set_attn_implementation()):
        yield
        return
    inner.set_attn_implementation(GROUPED)
    try:
        yield
    finally:
        inner.set_attn_implementation("sdpa")


def unwrapped(model: PreTrainedModel) -> PreTrainedModel:
    """The model itself, adapters included, where PEFT has wrapped it."""
    from peft import PeftModel

    return model.get_base_model() if isinstance(model, PeftModel) else model
