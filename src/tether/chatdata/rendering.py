"""Dialogues as the model reads them: its own chat template, and text for what that drops of tools."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from tether.chatdata.chats import Chat, Message, calls_of
from tether.chatdata.toolcalls import parse_turn, told_in_text
from tether.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

PROBE = "probe_tool_name"


@dataclass(frozen=True)
class Encoded:
    """A dialogue as token ids, and which of them the agent said (and is to learn)."""

    input_ids: list[int]
    learned: list[bool]


class Renderer:
    """Renders dialogues with a tokenizer's chat template.

    Args:
        tokenizer: A fast tokenizer with a chat template.

    Attributes:
        renders_tools: Whether the template itself shows tools, and calls in the form that `parse_turn` reads.
        takes_system: Whether it takes a system turn; where not, that turn's text opens the first user turn.

    Raises:
        UserError: There is no chat template, or it does not tell roles apart.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Find out once what the template can do."""
        self.tokenizer, self.template = tokenizer, tokenizer.chat_template
        if tokenizer.chat_template is None:
            raise UserError(
                "the base has no chat template, so it cannot be fine-tuned on chats",
                where=str(tokenizer.name_or_path),
                fix="take the instruct version of the model, or set tokenizer.chat_template",
            )
        self._check_roles()
        self.takes_system = self._shows_system()
        self.renders_tools = self._shows_tools()
        if not self._only_appends():
            self.template = _training_template(tokenizer)

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
        shown = self.shown(Chat("", tuple(messages), tuple(tools), ""))
        return self._apply(shown.messages, None, add_generation_prompt)

    def shown(self, chat: Chat) -> Chat:
        """The chat as the template is given it: where that drops tools, they stand in the turns' text."""
        if self.renders_tools:
            return chat
        plain = told_in_text(chat.messages, chat.tools)
        messages = plain if self.takes_system else _without_system(plain)
        return replace(chat, messages=tuple(messages), tools=())

    def prompt_ids(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> list[int]:
        """Token ids of the conversation up to where the agent begins to speak."""
        return self._ids(self.text(messages, tools, add_generation_prompt=True))

    def encode(self, chat: Chat) -> Encoded:
        """Ids of the whole dialogue, with the agent's words and end-of-turn tokens marked as learned.

        Raises:
            UserError: The template refuses the dialogue, or changes what it has already said, so that turns
                cannot be found in the text.
        """
        try:
            text = self.text(chat.messages, chat.tools)
            spans = self._agent_spans(chat, text)
        except TemplateError as error:
            raise UserError(
                f"the base's chat template refuses this dialogue ({error})",
                where=chat.source,
                fix="bring its turns into the order that the template wants",
            ) from error
        read = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        learned = [_overlap(spans, left, right) for left, right in read["offset_mapping"]]
        return Encoded(list(read["input_ids"]), learned)

    def turn_spans(self, chat: Chat) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of the whole dialogue, and where in them each of the agent's turns begins and ends."""
        encoded = self.encode(chat)
        flags = [False, *encoded.learned, False]
        edges = [i for i, (last, now) in enumerate(pairwise(flags)) if last != now]
        return encoded.input_ids, list(zip(edges[::2], edges[1::2], strict=True))

    def _agent_spans(self, chat: Chat, text: str) -> list[tuple[int, int]]:
        """Characters of the agent's turns, without the white space behind their end-of-turn token."""
        spans = []
        for index in chat.agent_turns:
            before = self.text(chat.messages[:index], chat.tools, add_generation_prompt=True)
            through = self._through(chat.messages[: index + 1], chat.tools, text)
            if not (text.startswith(through) and through.startswith(before)):
                raise UserError(
                    "the chat template rewrites earlier turns, so the agent's words cannot be found in it",
                    where=chat.source,
                    fix="set tokenizer.chat_template to one that only appends",
                )
            spans.append((len(before), len(through.rstrip())))
        return spans

    def _through(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]], text: str) -> str:
        """The dialogue's beginning, without the end-of-text token that some templates (Phi's) put last."""
        through = self.text(messages, tools)
        end = str(self.tokenizer.eos_token or "")
        return through if text.startswith(through) else through.removesuffix(end)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _apply(self, messages: Sequence[Message], tools: Any, add_generation_prompt: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                list(messages),
                tools=tools,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                chat_template=self.template,
            )
        )

    def _check_roles(self) -> None:
        try:
            user, agent = {"role": "user", "content": PROBE}, {"role": "assistant", "content": PROBE}
            asked, answered = self._apply([user], None, False), self._apply([user, agent], None, False)
        except TemplateError as error:
            raise UserError(
                f"the chat template cannot render a user and an assistant turn ({error})"
            ) from error
        if PROBE not in asked or asked.endswith(answered.removeprefix(asked)):
            raise UserError(
                "the chat template does not show turns of text, or not who speaks",
                where=str(self.tokenizer.name_or_path),
                fix="set a template with roles",
            )

    def _only_appends(self) -> bool:
        """Whether what was said stays as it is when more is said; Qwen3's drops earlier thoughts."""
        turns: list[Message] = [
            {"role": role, "content": PROBE} for role in ("user", "assistant", "user", "assistant")
        ]
        call = {"role": "assistant", "content": "", "tool_calls": [{"name": PROBE, "arguments": {}}]}
        turns += [turns[0], call, {"role": "tool", "name": PROBE, "content": "{}"}, turns[1]]
        try:
            self._agent_spans(Chat("", tuple(turns), (), ""), self.text(turns))
        except (UserError, TemplateError):
            return False
        return True

    def _shows_system(self) -> bool:
        asked = [{"role": "system", "content": PROBE}, {"role": "user", "content": "a"}]
        try:
            return PROBE in self._apply(asked, None, False)
        except TemplateError:
            return False

    def _shows_tools(self) -> bool:
        tool = {"name": PROBE, "description": "", "parameters": {"type": "object", "properties": {}}}
        call = {"role": "assistant", "content": "", "tool_calls": [{"name": PROBE, "arguments": {PROBE: 1}}]}
        asked: Message = {"role": "user", "content": "a"}
        try:
            shown = self._apply([asked], [{"type": "function", "function": tool}], False)
            called = self._apply([asked, _wrapped(call)], None, False)
        except (TemplateError, TypeError):
            return False
        # Templates with a call form of their own (Llama's, Mistral's) are given ours, which we can read back.
        return PROBE in shown and calls_of(call) == parse_turn(called).calls


def _training_template(tokenizer: PreTrainedTokenizerBase) -> Any:
    """TRL's form of the template that only appends, where it knows one, else the template itself."""
    from trl.chat_template_utils import get_training_chat_template

    try:
        return get_training_chat_template(tokenizer) or tokenizer.chat_template
    except (ValueError, TemplateError):
        return tokenizer.chat_template


def _overlap(spans: Sequence[tuple[int, int]], left: int, right: int) -> bool:
    """Whether ``text[left:right]`` has a character of these spans, which are in order.

    Overlap, not containment: where a template ends the agent's header in a space, the token of that space
    often begins the agent's first word.
    """
    begun = bisect_left(spans, (right, 0))  # so many begin before it ends
    return begun > 0 and left < spans[begun - 1][1]


def _wrapped(message: Message) -> Message:
    """The message in the form that templates with tools expect."""
    calls = [{"type": "function", "function": call} for call in message.get("tool_calls", ())]
    return {**message, "tool_calls": calls} if calls else dict(message)


def _without_system(plain: list[Message]) -> list[Message]:
    """The system turn's text moved to the head of the first user turn."""
    if not plain or plain[0]["role"] != "system":
        return plain
    head, rest = plain[0]["content"], plain[1:]
    if rest and rest[0]["role"] == "user":
        return [{"role": "user", "content": f"{head}\n\n{rest[0]['content']}"}, *rest[1:]]
    return [{"role": "user", "content": head}, *rest]
