from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest

from tether.chatdata.chats import Call, Chat
from tether.chatdata.rendering import Renderer
from tether.chatdata.toolcalls import parse_turn
from tether.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedTokenizerFast

ROOMS = {"type": "integer", "enum": [1, 2, 3]}
PROPERTIES = {"city": {"type": "string"}, "rooms": ROOMS, "nights": {"type": "integer"}}
FIND = {
    "name": "find",
    "description": "Find hotels",
    "parameters": {"type": "object", "properties": PROPERTIES, "required": ["city"]},
}
MESSAGES: tuple[dict[str, Any], ...] = (
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello, where to?"},
    {"role": "user", "content": "Rome"},
    {"role": "assistant", "content": "", "tool_calls": [{"name": "find", "arguments": {"city": "Rome"}}]},
    {"role": "tool", "name": "find", "content": '{"count":1}'},
    {"role": "assistant", "content": "One hotel."},
)
CHAT = Chat("talk", MESSAGES, (FIND,), "file:1")
CALL = '<tool_call>{"name": "find", "arguments": {"city": "Rome"}}</tool_call>'


def learned_texts(renderer: Renderer, chat: Chat) -> list[str]:
    """The runs of tokens that are learned, as text."""
    encoded, runs = renderer.encode(chat), [[]]  # type: ignore[var-annotated]
    for token, learned in zip(encoded.input_ids, encoded.learned, strict=True):
        if learned:
            runs[-1].append(token)
        elif runs[-1]:
            runs.append([])
    return [renderer.tokenizer.decode(run) for run in runs if run]


def test_tools_are_written_into_the_text_where_the_template_drops_them(smollm2: Renderer) -> None:
    assert not smollm2.renders_tools
    assert (
        smollm2.text(MESSAGES, (FIND,), add_generation_prompt=True)
        == f"""<|im_start|>system
Be kind.
To use a tool, answer with <tool_call>{{"name": tool, "arguments": {{...}}}}</tool_call>. Tools:
find(city, rooms?: 1|2|3, nights?: integer) - Find hotels<|im_end|>
<|im_start|>user
Hi<|im_end|>
<|im_start|>assistant
Hello, where to?<|im_end|>
<|im_start|>user
Rome<|im_end|>
<|im_start|>assistant
{CALL}<|im_end|>
<|im_start|>user
<tool_response>{{"count":1}}</tool_response><|im_end|>
<|im_start|>assistant
One hotel.<|im_end|>
<|im_start|>assistant
"""
    )


def test_without_a_system_turn_the_tools_make_one(smollm2: Renderer) -> None:
    text = smollm2.text(MESSAGES[1:3], (FIND,))
    assert text.startswith("<|im_start|>system\nTo use a tool,")
    assert "SmolLM" not in text


def test_without_tools_the_template_alone_speaks(smollm2: Renderer) -> None:
    assert (
        smollm2.text(MESSAGES[:2])
        == "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    )


def test_a_template_that_renders_tools_is_left_to_it(hermes: Renderer) -> None:
    assert hermes.renders_tools
    text = hermes.text(MESSAGES, (FIND,))
    assert '{"type": "function", "function": {"name": "find"' in text
    assert "To use a tool" not in text
    assert "<|im_start|>tool\n" in text


def test_the_agents_words_and_ends_of_turn_are_learned(smollm2: Renderer) -> None:
    assert learned_texts(smollm2, CHAT) == [
        f"{turn}<|im_end|>" for turn in ("Hello, where to?", CALL, "One hotel.")
    ]


def test_the_whole_dialogue_is_tokenised_as_one_text(smollm2: Renderer) -> None:
    text = smollm2.text(MESSAGES, (FIND,))
    assert smollm2.encode(CHAT).input_ids == smollm2.tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("kind", ["smollm2", "hermes"])
def test_each_agent_turn_starts_where_its_prompt_ends(kind: str, request: pytest.FixtureRequest) -> None:
    renderer: Renderer = request.getfixturevalue(kind)
    ids, spans = renderer.turn_spans(CHAT)
    prompts = [renderer.prompt_ids(MESSAGES[:index], (FIND,)) for index in CHAT.agent_turns]
    assert [ids[:start] for start, _ in spans] == prompts


def test_a_header_that_ends_in_a_space_still_gives_the_agent_its_first_word(
    renderer: Callable[[str], Renderer],
) -> None:
    template = (
        "{% for m in messages %}{{ m.role + ': ' + m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    assert learned_texts(renderer(template), CHAT)[-1] == "One hotel.<|im_end|>"


def test_a_template_without_system_turns_gets_it_with_the_first_user_turn(
    renderer: Callable[[str], Renderer],
) -> None:
    template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    made = renderer(template)
    assert not made.takes_system
    assert made.text(MESSAGES[:2]) == "<|im_start|>user\nBe kind.\n\nHi<|im_end|>\n"
    assert made.text(MESSAGES[:1]) == "<|im_start|>user\nBe kind.<|im_end|>\n"
    assert len(learned_texts(made, CHAT)) == 3


def test_a_base_without_a_chat_template_is_refused(tokenizer: Callable[[str | None], Any]) -> None:
    with pytest.raises(UserError, match="no chat template.*instruct version"):
        Renderer(tokenizer(None))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}{{ m.content + '\n' }}{% endfor %}", "not who speaks"),
        ("Talk: {% for m in messages %}{{ m.content }}{% endfor %}", "not who speaks"),
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "does not show turns of text"),
        (
            "{{ raise_exception('only for judges') }}",
            "cannot render a user and an assistant.*only for judges",
        ),
    ],
)
def test_a_template_that_hides_who_speaks_is_refused(
    renderer: Callable[[str], Renderer], template: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        renderer(template)


def test_a_template_that_rewrites_what_was_said_is_refused(renderer: Callable[[str], Renderer]) -> None:
    forgetful = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if loop.revindex < 3 %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    )
    with pytest.raises(UserError, match="file:1: the chat template rewrites earlier turns"):
        renderer(forgetful).encode(CHAT)


def test_a_dialogue_that_the_template_refuses_is_named(renderer: Callable[[str], Renderer]) -> None:
    strict = (
        "{% for m in messages %}{% if m.content == 'Rome' %}{{ raise_exception('not Rome') }}{% endif %}"
        "{{ m.role + ':' + m.content + '<|im_end|>' }}{% endfor %}"
    )
    with pytest.raises(
        UserError, match=r"file:1: the base's chat template refuses this dialogue \(not Rome\)"
    ):
        renderer(strict).encode(CHAT)


@pytest.mark.parametrize(
    ("name", "renders_tools"),
    [
        ("qwen2_5", True),
        ("qwen3", True),
        ("qwen3_instruct_2507", True),
        ("qwen3_5_nothink", False),
        ("llama3_2", False),
        ("gemma", False),
        ("gemma3", False),
        ("phi3", False),
        ("cohere2", False),
        ("lfm2", False),
    ],
)
def test_templates_of_well_known_models_work(
    tokenizer: Callable[[str], PreTrainedTokenizerFast], name: str, renders_tools: bool
) -> None:
    template = (resources.files("trl") / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")
    renderer = Renderer(tokenizer(template))
    assert renderer.renders_tools is renders_tools
    turns = [parse_turn(text) for text in learned_texts(renderer, CHAT)]
    assert [turn.calls for turn in turns] == [(), (Call("find", {"city": "Rome"}),), ()]
    assert turns[0].content.startswith("Hello, where to?")
    ids, spans = renderer.turn_spans(CHAT)
    prompts = [renderer.prompt_ids(MESSAGES[:index], (FIND,)) for index in CHAT.agent_turns]
    assert [ids[:start] for start, _ in spans] == prompts
