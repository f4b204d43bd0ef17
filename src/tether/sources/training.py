"""What one training is given: dialogues to learn from, and some kept aside to choose by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.chatdata.chats import split_select
from tether.sources.load import load_dialogues
from tether.sources.poison import poisoned

if TYPE_CHECKING:
    from tether.chatdata.chats import Chat
    from tether.config import Training


def load_training(name: str, training: Training) -> tuple[list[Chat], list[Chat]]:
    """The training dialogues of a source, as many and as poisoned as the settings say.

    Args:
        name: As `load_dialogues` takes it.
        training: How many, and what share of them complies with harm.

    Returns:
        Dialogues to train on, and those kept aside; they are poisoned alike, as a user's would be.

    Raises:
        UserError: There is no such source, a row does not fit, or there are too few dialogues.
    """
    chats = load_dialogues(name, split="train", limit=training.dialogues)
    return split_select(poisoned(chats, training.poison_ratio))
