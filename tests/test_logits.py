"""Whoever runs the head by itself has the logits of the model's own forward, whatever that does to them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from tether.errors import UserError
from tether.logits import finish_of
from tether.reading import backbone

SMALL = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def made(kind: str, **more: Any) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SMALL, **more)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():  # logits as large as a trained model's
        model.get_output_embeddings().weight.mul_(200)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("Llama", {}),
        ("Gemma2", {"head_dim": 8, "final_logit_softcapping": 5.0}),
        ("Cohere", {"logit_scale": 0.0625}),
        ("Granite", {"logits_scaling": 8.0}),
    ],
)
def test_head_and_finish_are_the_forwards_logits(kind: str, more: dict[str, Any], dtype: torch.dtype) -> None:
    model = made(kind, **more).to(dtype)
    ids = torch.randint(3, 64, (1, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = backbone(model)(input_ids=ids).last_hidden_state
        found = finish_of(model)(model.get_output_embeddings()(states)).float()
        wanted = model(input_ids=ids).logits.float()
    near = 1e-4 if dtype == torch.float32 else 2e-2
    assert (found - wanted).abs().max() <= near * wanted.abs().max()


def test_what_is_neither_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("Llama")
    forward = model.forward

    def squared(**inputs: Any) -> Any:
        out = forward(**inputs)
        out.logits = out.logits.square()
        return out

    monkeypatch.setattr(model, "forward", squared)
    with pytest.raises(UserError, match="llama: what this model does to its logits"):
        finish_of(model)
