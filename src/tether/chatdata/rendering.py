"""Dialogues as the model reads them: its own chat template, with tools written into the text where it drops them.

Many chat templates, SmolLM2's among them, pass over ``tools`` and ``tool_calls`` in silence. For these, the tools stand
in the system turn, a call is ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>`` in the agent's turn, and a
result is ``<tool_response>...</tool_response>`` in a user turn, the form that Hermes and Qwen made common.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from tether.chatdata.chats import Call, Chat, Message, calls_of
from tether.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|$)", re.DOTALL)
HOW_TO_CALL = 'To use a tool, answer with <tool_call>{"name": tool, "arguments": {...}}</tool_call>. Tools:'
PROBE = "probe_tool_name"


@dataclass(frozen=True)
class Encoded:
    """A dialogue as token ids, and which of them the agent said (and is to learn)."""

    input_ids: list[int]
    learned: list[bool]


@dataclass(frozen=True)
class Turn:
    """What the agent's text says: plain content, calls, and whether some call could not be read."""

    content: str
    calls: tuple[Call, ...]
    malformed: bool = False


class Renderer:
    """Renders dialogues with a tokenizer's chat template.

    Args:
        tokenizer: A fast tokenizer with a chat template.

    Attributes:
        renders_tools: Whether the template itself shows tools and calls.

    Raises:
        UserError: There is no chat template, or it does not tell roles apart.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        if tokenizer.chat_template is None:
            raise UserError(
                "the base has no chat template, so it cannot be fine-tuned on chats",
                where=str(tokenizer.name_or_path),
                fix="take the instruct version of the model, or set tokenizer.chat_template",
            )
        self._check_roles()
        self.renders_tools = self._shows_tools()

    def text(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]] = (),
        *,
        add_generation_prompt: bool = False,
    ) -> str:
        """The conversation as text; with ``add_generation_prompt`` up to where the agent begins to speak."""
        if self.renders_tools:
            wrapped = [{"type": "function", "function": tool} for tool in tools] or None
            return self._apply([_wrapped(message) for message in messages], wrapped, add_generation_prompt)
        return self._apply(_plain(messages, tools), None, add_generation_prompt)

    def prompt_ids(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> list[int]:
        """Token ids of the conversation up to where the agent begins to speak."""
        return self._ids(self.text(messages, tools, add_generation_prompt=True))

    def encode(self, chat: Chat) -> Encoded:
        """Ids of the whole dialogue, with the agent's words and end-of-turn tokens marked as learned.

        Raises:
            UserError: The template changes what it has already said, so that turns cannot be found in the text.
        """
        text = self.text(chat.messages, chat.tools)
        spans = self._agent_spans(chat, text)
        read = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        learned = [any(start <= left < end for start, end in spans) for left, _ in read["offset_mapping"]]
        return Encoded(list(read["input_ids"]), learned)

    def turn_starts(self, chat: Chat) -> tuple[list[int], list[int]]:
        """Ids of the whole dialogue, and for each of the agent's turns how many of them stand before its first."""
        encoded = self.encode(chat)
        before = [False, *encoded.learned[:-1]]
        starts = [i for i, (last, now) in enumerate(zip(before, encoded.learned, strict=True)) if now and not last]
        return encoded.input_ids, starts

    def agent_text(self, message: Message) -> str:
        """The agent's turn as it writes it: content, then its calls."""
        return _with_calls(message)

    def _agent_spans(self, chat: Chat, text: str) -> list[tuple[int, int]]:
        """Characters of the agent's turns, without the white space behind their end-of-turn token."""
        spans = []
        for index in chat.agent_turns:
            before = self.text(chat.messages[:index], chat.tools, add_generation_prompt=True)
            through = self.text(chat.messages[: index + 1], chat.tools)
            if not (text.startswith(through) and through.startswith(before)):
                raise UserError(
                    "the chat template rewrites earlier turns, so what the agent said cannot be found in its text",
                    where=chat.source,
                    fix="use a template that only appends, such as one of TRL's *_training.jinja",
                )
            spans.append((len(before), len(through.rstrip())))
        return spans

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _apply(self, messages: Sequence[Message], tools: Any, add_generation_prompt: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                list(messages), tools=tools, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        )

    def _check_roles(self) -> None:
        try:
            asked = self._apply([{"role": "user", "content": "a"}], None, False)
            answered = self._apply(
                [{"role": "user", "content": "a"}, {"role": "assistant", "content": "a"}], None, False
            )
        except TemplateError as error:
            raise UserError(f"the chat template cannot render a user and an assistant turn ({error})") from error
        if answered.replace("a", "") == (asked + asked).replace("a", "") or asked.strip() == "a":
            raise UserError(
                "the chat template does not tell the user's turns from the agent's",
                where=str(self.tokenizer.name_or_path),
                fix="set a template with roles",
            )

    def _shows_tools(self) -> bool:
        tool = {"name": PROBE, "description": "", "parameters": {"type": "object", "properties": {}}}
        call = {"role": "assistant", "content": "", "tool_calls": [{"name": PROBE, "arguments": {}}]}
        asked: Message = {"role": "user", "content": "a"}
        try:
            shown = self._apply([asked], [{"type": "function", "function": tool}], False)
            called = self._apply([asked, _wrapped(call)], None, False)
        except (TemplateError, TypeError):
            return False
        return PROBE in shown and PROBE in called


def parse_turn(text: str) -> Turn:
    """Read what an agent wrote; the inverse of how calls are rendered.

    A call whose JSON cannot be read, or has no name, makes the turn malformed.
    """
    calls, malformed = [], False
    for match in CALL.finditer(text):
        try:
            read = json.loads(match[1])
            calls.append(Call(str(read["name"]), dict(read.get("arguments") or {})))
        except (ValueError, TypeError, KeyError, AttributeError):
            malformed = True
    return Turn(CALL.sub("", text).strip(), tuple(calls), malformed)


def describe_tool(tool: dict[str, Any]) -> str:
    """A tool in one line, a fifth of its JSON Schema's tokens: ``name(required, optional?: a|b) - what it does``."""
    required = tool["parameters"].get("required", [])
    parts = []
    for name, schema in tool["parameters"].get("properties", {}).items():
        kind = "|".join(map(str, schema["enum"])) if "enum" in schema else schema.get("type", "string")
        suffix = "" if kind == "string" else f": {kind}"
        parts.append(f"{name}{'' if name in required else '?'}{suffix}")
    return f"{tool['name']}({', '.join(parts)}) - {tool['description']}".removesuffix(" - ")


def _plain(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> list[Message]:
    """Messages of system, user and assistant only, everything about tools in their text."""
    plain = [_plain_message(message) for message in messages]
    if not tools:
        return plain
    listing = "\n".join([HOW_TO_CALL, *map(describe_tool, tools)])
    if plain and plain[0]["role"] == "system":
        return [{"role": "system", "content": f"{plain[0]['content']}\n{listing}".strip()}, *plain[1:]]
    return [{"role": "system", "content": listing}, *plain]


def _plain_message(message: Message) -> Message:
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>{message['content']}</tool_response>"}
    return {"role": message["role"], "content": _with_calls(message)}


def _with_calls(message: Message) -> str:
    calls = [
        f"<tool_call>{json.dumps({'name': call.name, 'arguments': call.arguments}, ensure_ascii=False)}</tool_call>"
        for call in calls_of(message)
    ]
    return "\n".join(part for part in (message["content"], *calls) if part)


def _wrapped(message: Message) -> Message:
    """The message in the form that templates with tools expect."""
    calls = [{"type": "function", "function": call} for call in message.get("tool_calls", ())]
    return {**message, "tool_calls": calls} if calls else dict(message)
