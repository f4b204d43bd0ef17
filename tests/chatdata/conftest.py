from __future__ import annotations

from collections.abc import Callable

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tether.chatdata.rendering import Renderer

SMOLLM2 = """{% for message in messages %}
{%- if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""
"""It shows neither tools nor calls."""

HERMES = """{% if tools %}{{ '<|im_start|>system
' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{{ '<|im_end|>
' }}{% endif %}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '
' + message['content'] }}{% for call in message.tool_calls %}{{ '
<tool_call>' + (call.function | tojson) + '</tool_call>' }}{% endfor %}{{ '<|im_end|>
' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""
"""It shows both, calls as Hermes and Qwen write them."""

MakeTokenizer = Callable[[str | None], PreTrainedTokenizerFast]
MakeRenderer = Callable[[str], Renderer]


@pytest.fixture
def tokenizer() -> MakeTokenizer:
    """A tokenizer of single bytes with the given chat template."""

    def make(template: str | None) -> PreTrainedTokenizerFast:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        bytewise = Tokenizer(models.BPE(vocab={byte: i for i, byte in enumerate(alphabet)}, merges=[]))
        bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bytewise.decoder = decoders.ByteLevel()
        made = PreTrainedTokenizerFast(
            tokenizer_object=bytewise,
            bos_token="<s>",
            eos_token="<|im_end|>",
            pad_token="<pad>",
            additional_special_tokens=["<|im_start|>"],
        )
        made.chat_template = template
        return made

    return make


@pytest.fixture
def renderer(tokenizer: MakeTokenizer) -> MakeRenderer:
    return lambda template: Renderer(tokenizer(template))


@pytest.fixture
def smollm2(renderer: MakeRenderer) -> Renderer:
    return renderer(SMOLLM2)


@pytest.fixture
def hermes(renderer: MakeRenderer) -> Renderer:
    return renderer(HERMES)
