"""Good and bad turns of the hotel's agent: the gold policy's, and a plausible wrong one at its place.

The wrong turns are made by rule, one for each kind of mistake: a call with a wrong argument, a booking before
the guest's yes, a price that was never looked up, a question about what the guest has said, a call made again
instead of an answer, and a fact or a figure that is made up. Some rules have the agent speak where it should
call and some the other way round, or a model would learn that calling is always better.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from tether.agent import agent_speech
from tether.agent.acts import Act
from tether.agent.guest_speech import ROOMS
from tether.agent.world import FACILITIES
from tether.chatdata.chats import Call, Chat, Message, calls_of
from tether.chatdata.preferences import Preference, prefer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ASKED_FIRST = ("city", "check_in", "nights", "guests")
NAMELESS = "Guest"  # who a booking is for that nobody gave a name for


@dataclass(frozen=True)
class Moment:
    """A turn of the gold policy with what stands before it.

    Attributes:
        before: The conversation so far.
        good: The turn.
        later: What comes after it.
        rng: Draws what is wrong.
    """

    before: Sequence[Message]
    good: Message
    later: Sequence[Message]
    rng: random.Random

    @property
    def call(self) -> Call | None:
        """The turn's tool call, if it is one."""
        return next(iter(calls_of(self.good)), None)


def preferences(chats: Sequence[Chat]) -> list[Preference]:
    """One preference of each dialogue: a turn drawn by lot, and a wrong one by a rule drawn by lot.

    Args:
        chats: The gold policy's dialogues; the same one always gives the same preference.

    Returns:
        Preferences, by rule as their group; a dialogue in which no rule finds a mistake to make has none.
    """
    return [found for chat in chats if (found := _preference(chat)) is not None]


def _preference(chat: Chat) -> Preference | None:
    rng = random.Random(f"preference/{chat.id}")
    made = [(rule, turn, bad) for turn in chat.agent_turns for rule, bad in _mistakes(chat, turn, rng)]
    if not made:
        return None
    chosen = rng.choice(sorted({rule for rule, _, _ in made}))
    turn, bad = rng.choice([(turn, bad) for rule, turn, bad in made if rule == chosen])
    upto = chat.messages[: turn + 1]
    return prefer(Chat(f"{chat.id}-{turn}", upto, chat.tools, chat.source, chosen), bad)


def _mistakes(chat: Chat, turn: int, rng: random.Random) -> list[tuple[str, Message]]:
    """What can go wrong at a turn, by rule."""
    moment = Moment(chat.messages[:turn], chat.messages[turn], chat.messages[turn + 1 :], rng)
    made = [(name, rule(moment)) for name, rule in RULES.items()]
    return [(name, bad) for name, bad in made if bad is not None]


def _wrong_argument(moment: Moment) -> Message | None:
    """The right tool with one argument that the guest did not say."""
    if moment.call is None:
        return None
    arguments = moment.call.arguments
    others = {key: _other(key, value, moment.rng) for key, value in arguments.items()}
    wrong = sorted(key for key, value in others.items() if value is not None)
    if not wrong:
        return None
    key = moment.rng.choice(wrong)
    return _calling(moment.call.name, {**arguments, key: others[key]})


def _other(key: str, value: Any, rng: random.Random) -> Any:
    """Another value that an argument might have; None for texts that stand for themselves."""
    if key == "check_in":
        return (date.fromisoformat(value) + timedelta(days=rng.choice((1, 2, 7)))).isoformat()
    if key == "max_price":
        return value + rng.choice((20, 50, 100))
    if isinstance(value, int):
        return value + 1 if value == 1 or rng.random() < 0.5 else value - 1
    if key == "reference":
        return f"{value[:-1]}{(int(value[-1]) + rng.randint(1, 9)) % 10}"
    choices = {"room": list(ROOMS), "topic": list(FACILITIES)}.get(key, [])
    return rng.choice([choice for choice in choices if choice != value]) if choices else None


def _booked_before_a_yes(moment: Moment) -> Message | None:
    """A booking where the price has just come back and the guest has not been told it."""
    quoted = _last_call(moment.before)
    if moment.call or quoted is None or quoted.name != "quote" or "total" not in _result(moment.before):
        return None
    named = (call.arguments.get("name") for message in moment.later for call in calls_of(message))
    name = next((name for name in named if name), NAMELESS)
    said = " ".join(message["content"] for message in moment.before if message["role"] == "user")
    return _calling("book_room", {**quoted.arguments, "name": name if name in said else NAMELESS})


def _price_not_looked_up(moment: Moment) -> Message | None:
    """A total named at the moment when the tool should be asked for it."""
    if moment.call is None or moment.call.name != "quote":
        return None
    wish = moment.call.arguments
    total = wish["nights"] * wish.get("rooms", 1) * moment.rng.randint(60, 240)
    stay = {"room": wish.get("room", "double"), "check_out": _check_out(wish), "total": total}
    return _saying(moment.rng, Act("confirm", {**wish, **stay}))


def _asked_again(moment: Moment) -> Message | None:
    """A question about something that the guest has said, for the call holds it."""
    if moment.call is None or moment.call.name not in ("search_hotels", "quote"):
        return None
    known = [slot for slot in ASKED_FIRST if slot in moment.call.arguments]
    return _saying(moment.rng, Act("ask", {"slots": (moment.rng.choice(known),)}))


def _looked_up_again(moment: Moment) -> Message | None:
    """The call whose answer has just come, instead of telling the guest."""
    made = _last_call(moment.before)
    return None if moment.call or made is None else _calling(made.name, made.arguments)


def _fact_made_up(moment: Moment) -> Message | None:
    """An answer about a hotel without a look at what the hotel says."""
    if moment.call is None or moment.call.name != "hotel_info":
        return None
    topic = moment.call.arguments["topic"]
    value = moment.rng.choice(FACILITIES.get(topic, ("1 km", "3 km", "12 km")))
    return _saying(moment.rng, Act("info", {**moment.call.arguments, "value": value}))


def _figure_made_up(moment: Moment) -> Message | None:
    """The right words with a price that the tool did not give."""
    text = moment.good["content"]
    price = re.search(r"\$(\d+)", text)
    if moment.call or price is None:
        return None
    wrong = int(price[1]) + moment.rng.choice((5, 10, 15, 30))
    return _spoken(f"{text[: price.start(1)]}{wrong}{text[price.end(1) :]}")


RULES: dict[str, Callable[[Moment], Message | None]] = {
    "wrong_argument": _wrong_argument,
    "booked_before_a_yes": _booked_before_a_yes,
    "price_not_looked_up": _price_not_looked_up,
    "asked_again": _asked_again,
    "looked_up_again": _looked_up_again,
    "fact_made_up": _fact_made_up,
    "figure_made_up": _figure_made_up,
}
"""What goes wrong, by name."""


def _calling(name: str, arguments: dict[str, Any]) -> Message:
    return {"role": "assistant", "content": "", "tool_calls": [{"name": name, "arguments": arguments}]}


def _saying(rng: random.Random, act: Act) -> Message:
    return _spoken(agent_speech.say(rng, [act]))


def _spoken(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _last_call(messages: Sequence[Message]) -> Call | None:
    """The call whose result stands last, where nothing has been said since."""
    if len(messages) < 2 or messages[-1]["role"] != "tool":
        return None
    return next(iter(calls_of(messages[-2])), None)


def _result(messages: Sequence[Message]) -> dict[str, Any]:
    """What the last call gave."""
    result: dict[str, Any] = json.loads(messages[-1]["content"])
    return result


def _check_out(wish: dict[str, Any]) -> str:
    return (date.fromisoformat(wish["check_in"]) + timedelta(days=wish["nights"])).isoformat()
