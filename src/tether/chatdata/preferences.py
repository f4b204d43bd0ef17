"""Preferences: a conversation up to a turn of the agent, with a good turn and a bad one.

A file has TRL's conversational form, ``{"prompt": [...], "chosen": [...], "rejected": [...]}``, and may have
``tools``, ``id`` and ``group`` as chats do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tether.chatdata.chats import Chat, Message, read_chat
from tether.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

FORM = 'give {"prompt": [...], "chosen": [{"role": "assistant", ...}], "rejected": [{...}]}'


@dataclass(frozen=True)
class Preference(Chat):
    """A chat whose last turn is preferred to another one; that turn alone is learned.

    Attributes:
        rejected: The turn that is worse.
    """

    rejected: Message = field(kw_only=True)

    @property
    def worse(self) -> Chat:
        """The same conversation with the bad turn, which then alone counts as learned."""
        return Chat(self.id, (*self.messages[:-1], self.rejected), self.tools, self.source, self.group)


def only_preferences(chats: Sequence[Chat]) -> list[Preference]:
    """The preferences among some chats, typed as such."""
    return [chat for chat in chats if isinstance(chat, Preference)]


def prefer(chat: Chat, rejected: Message) -> Preference:
    """The preference for the turn in which a chat ends over another turn of the agent at its place."""
    messages = (*map(_as_context, chat.messages[:-1]), chat.messages[-1])
    return Preference(chat.id, messages, chat.tools, chat.source, chat.group, rejected=rejected)


def read_preference(row: dict[str, Any], where: str, stem: str, number: int) -> Preference:
    """Read a row of a file.

    Raises:
        UserError: It does not fit.
    """
    prompt = row.get("prompt")
    if not isinstance(prompt, list) or not prompt:
        raise UserError("the prompt is no list of messages", where=where, fix=FORM)
    good, bad = (_with(row, key, where, stem, number) for key in ("chosen", "rejected"))
    if good.messages == bad.messages:
        raise UserError("chosen and rejected are the same turn", where=where, fix="remove the row")
    return prefer(good, bad.messages[-1])


def _with(row: dict[str, Any], key: str, where: str, stem: str, number: int) -> Chat:
    """The row's prompt and the turn under ``key`` as a chat."""
    match row.get(key):
        case [{"role": "assistant"} as turn]:
            return read_chat({**row, "messages": [*row["prompt"], turn]}, where, stem, number)
    raise UserError(f"{key} is no list with one message of the assistant", where=where, fix=FORM)


def _as_context(message: Message) -> Message:
    return {**message, "weight": 0} if message["role"] == "assistant" else message


def are_preferences(chats: Sequence[Chat]) -> bool:
    """Whether these are preferences; a file holds either these or plain chats."""
    return isinstance(chats[0], Preference)
