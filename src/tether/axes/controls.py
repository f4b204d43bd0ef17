"""Controls: what the axes must see through, or they measure something else than they say.

Rules that answer without understanding anything, and damage of a size that one chooses. An axis that lets one
of the rules pass for a good model, or does not fall as the damage grows, is not to be believed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer

from tether.turns import AgentTurns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch.nn import Linear
    from transformers import PreTrainedModel

    from tether.chatdata.chats import Chat

NOISE_RANK = 16


@dataclass(frozen=True)
class Rule:
    """A model that is none: one rule on the last words that it was given.

    Attributes:
        name: What the reports call it.
        say: Its answer, given these words.
    """

    name: str
    say: Callable[[str], str]

    def answer(self, prompts: Sequence[str | Chat], *, max_new_tokens: int, label: str) -> list[str]:
        """The rule's answers, whole; it needs no tokens."""
        asked = (
            prompt if isinstance(prompt, str) else str(prompt.messages[-1]["content"]) for prompt in prompts
        )
        return [self.say(text) for text in asked]

    def generate_agent_turns(
        self, chats: Sequence[Chat], *, max_new_tokens: int, label: str = ""
    ) -> list[AgentTurns]:
        """The rule's answer at each of the agent's turns; it has no likelihoods."""
        said = [
            [self.say(str(chat.messages[index - 1]["content"])) for index in chat.agent_turns]
            for chat in chats
        ]
        return [AgentTurns(answers, None) for answers in said]


RULES = (
    Rule("always refuses", lambda asked: "I'm sorry, but I can't help with that."),
    Rule("copies the prompt", lambda asked: asked),
    Rule("always asks Which city?", lambda asked: "Which city?"),
)


@torch.no_grad()
def with_noise(model: PreTrainedModel, size: float, seed: int = 0) -> PeftModel:
    """Put a LoRA of Gaussian noise on every linear layer.

    Args:
        model: The base; it is wrapped in place.
        size: Frobenius norm of each layer's update, as a share of its weight's.
        seed: Of the noise.

    Returns:
        The damaged model; the same seed gives the same directions at every size.
    """
    config = LoraConfig(
        r=NOISE_RANK, lora_alpha=NOISE_RANK, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    damaged = get_peft_model(model, config)
    assert isinstance(damaged, PeftModel)
    noise = torch.Generator().manual_seed(seed)
    for module in damaged.modules():
        if isinstance(module, LoraLayer):
            wide, tall = (cast("Linear", part["default"]).weight for part in (module.lora_A, module.lora_B))
            a, b = torch.randn(wide.shape, generator=noise), torch.randn(tall.shape, generator=noise)
            weight = cast("Linear", module.get_base_layer()).weight
            scale = math.sqrt(size * weight.float().norm() / (b @ a).norm())
            wide.copy_(scale * a)
            tall.copy_(scale * b)
    return damaged.eval()
