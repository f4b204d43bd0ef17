"""What a trainer is given of a domain: dialogues and preferences as rows of token ids, cut to a length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.errors import UserError
from tether.training.batches import IGNORED, as_row
from tether.training.preference import as_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.chatdata.chats import Chat
    from tether.chatdata.preferences import Preference
    from tether.chatdata.rendering import Renderer

Row = dict[str, list[int]]


def chat_rows(renderer: Renderer, chats: Sequence[Chat], most: int) -> list[Row]:
    """``input_ids`` and ``labels`` of each dialogue in whose first ``most`` tokens the agent speaks.

    Raises:
        UserError: There is none.
    """
    encoded = (as_row(renderer.encode(chat)) for chat in chats)
    cut = ({key: ids[:most] for key, ids in row.items()} for row in encoded)
    return _some([row for row in cut if any(label != IGNORED for label in row["labels"])], most)


def pair_rows(renderer: Renderer, preferences: Sequence[Preference], most: int) -> list[Row]:
    """As ``as_pair`` gives them, of which something is left of both turns.

    Raises:
        UserError: There is none.
    """
    rows = (as_pair(renderer, preference, most) for preference in preferences)
    return _some([row for row in rows if row["chosen_ids"] and row["rejected_ids"]], most)


def _some(rows: list[Row], most: int) -> list[Row]:
    if not rows:
        raise UserError(
            f"in no dialogue the agent speaks within the first {most} tokens",
            where="max_length",
            fix="allow longer ones",
        )
    return rows
