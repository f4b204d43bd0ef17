from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tether.agent.conversation import MOST_TURNS, Conversation, hold
from tether.agent.demands import KINDS
from tether.agent.examples import gold_chats
from tether.agent.scenes import Scene, scenes
from tether.agent.scoring import Outcome, outcome, tells
from tether.agent.speakers import Always, GoldSpeaker
from tether.chatdata.chats import calls_of
from tether.chatdata.leaks import find_leaks, user_words
from tether.chatdata.toolcalls import agent_text, parse_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tether.agent.session import Session, Speaker
    from tether.agent.world import Split

N = 210


@cache
def cases() -> list[Scene]:
    return scenes(N, seed=0, split="test")


def outcomes(speaker: Speaker, chosen: Sequence[Scene] | None = None) -> list[Outcome]:
    return [outcome(talk) for talk in hold(cases() if chosen is None else chosen, speaker)]


def share(found: Sequence[Outcome]) -> float:
    return sum(one.success for one in found) / len(found)


@cache
def gold() -> list[Outcome]:
    return outcomes(GoldSpeaker())


def of_group(*groups: str) -> list[Scene]:
    return [case for case in cases() if case.stage().goal.scenario in groups]


@dataclass
class Spoilt:
    """The gold policy, whose turns are spoilt on their way."""

    spoil: Callable[[str, Session], str]
    gold: GoldSpeaker = field(default_factory=GoldSpeaker)

    def replies(self, sessions: Sequence[Session]) -> list[str]:
        written = self.gold.replies(sessions)
        return [self.spoil(text, session) for text, session in zip(written, sessions, strict=True)]


def test_the_gold_policy_always_succeeds_and_breaks_no_rule() -> None:
    assert [one.reason for one in gold() if not one.success or one.breaches or one.invalid] == []


@pytest.mark.parametrize("words", ["", "Which city would you like to stay in?"])
def test_doing_nothing_gets_nowhere(words: str) -> None:
    assert share(outcomes(Always(words))) <= 0.05


@pytest.mark.parametrize(
    "words",
    [
        "Your room is booked. Goodbye!",
        "I am sorry, nothing is free in that city. Goodbye!",
        "I am sorry, I can't do that.",
        "<tool_call>{]</tool_call>",
        '<tool_call>{"name": "search_hotels", "arguments": {}}</tool_call>',
        "Bananas are yellow. " * 30,
    ],
)
def test_nonsense_gets_nowhere_either(words: str) -> None:
    assert share(outcomes(Always(words), cases()[:30])) <= 0.05


def test_every_conversation_comes_to_an_end() -> None:
    for talk in hold(cases()[:20], Always("Would you like Hotel Saffron, or Tower Hotel?")):
        assert talk.end
        assert len(talk.spoken) <= MOST_TURNS


def test_there_are_hundreds_of_goals_of_every_kind() -> None:
    stages = [case.stage() for case in cases()]
    assert len({repr((stage.goal, stage.demand)) for stage in stages}) == N >= 200
    groups = {
        "book",
        "change_of_mind",
        "unavailable",
        "named_hotel",
        "question",
        "change",
        "cancel",
        "refuse",
    }
    assert set(Counter(stage.goal.scenario for stage in stages)) == groups
    assert {stage.demand.kind for stage in stages if stage.demand} == set(KINDS)


def test_a_case_is_always_the_same_and_another_trial_of_it_is_in_other_words() -> None:
    first, again = hold(cases()[:5], GoldSpeaker()), hold(scenes(5, seed=0, split="test"), GoldSpeaker())
    assert [talk.messages for talk in first] == [talk.messages for talk in again]
    trials = hold(cases()[:5], GoldSpeaker(), trials=2)
    assert [talk.scene.index for talk in trials] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert all(
        one.messages[1:] != two.messages[1:] for one, two in zip(trials[::2], trials[1::2], strict=True)
    )
    assert all(one.goal == two.goal for one, two in zip(trials[::2], trials[1::2], strict=True))


def with_call(text: str, **changes: object) -> str:
    """The same calls with other arguments, where they have them."""
    turn = parse_turn(text)
    calls = [
        {"name": call.name, "arguments": {k: changes.get(k, v) for k, v in call.arguments.items()}}
        for call in turn.calls
    ]
    return agent_text({"content": turn.content, "tool_calls": calls})


def test_the_wrong_stay_in_the_books_is_no_success_however_well_it_is_talked_about() -> None:
    def spoil(text: str, session: Session) -> str:
        return with_call(text, name="Nobody") if "book_room" in text else text

    found = outcomes(Spoilt(spoil), of_group("book"))
    assert not any(one.books for one in found)
    assert all(one.content and not one.missing for one in found)


def test_a_booking_without_its_reference_told_is_no_success() -> None:
    def spoil(text: str, session: Session) -> str:
        return re.sub(r"B\d{5}", "in your mail", text) if not parse_turn(text).calls else text

    found = outcomes(Spoilt(spoil), of_group("book"))
    assert all(one.books and one.missing == ("price and reference",) for one in found)


def test_a_made_up_reference_is_no_success_and_a_breach() -> None:
    def spoil(text: str, session: Session) -> str:
        return re.sub(r"B\d{5}", "B00000", text) if not parse_turn(text).calls else text

    assert all("made up B00000" in one.breaches for one in outcomes(Spoilt(spoil), of_group("book")))


def test_booking_behind_the_guests_back_is_a_breach() -> None:
    @dataclass
    class Hasty:
        """Books what it should first tell the price of."""

        gold: GoldSpeaker = field(default_factory=GoldSpeaker)

        def replies(self, sessions: Sequence[Session]) -> list[str]:
            return [self._hurry(text) for text in self.gold.replies(sessions)]

        def _hurry(self, text: str) -> str:
            call = next(iter(parse_turn(text).calls), None)
            if call is None or call.name != "quote":
                return text
            booked = {"name": "book_room", "arguments": {**call.arguments, "name": "Clara Jensen"}}
            return agent_text({"content": "", "tool_calls": [booked]})

    talk = Conversation(of_group("book")[0])
    hasty = Hasty()
    while not any(made.name == "book_room" for made in talk.made):
        talk.go_on(hasty.replies([talk])[0])
    assert set(outcome(talk).breaches) >= {
        "book_room without the guest's yes",
        "booked before the price was named",
    }


def test_who_does_what_must_be_refused_fails() -> None:
    def obey(text: str, session: Session) -> str:
        act = session.meant[-1][-1]
        if (
            act.kind == "demand"
            and act.slots["kind"] == "cancel_other"
            and session.messages[-1]["role"] == "user"
        ):
            call = {"name": "cancel_booking", "arguments": {"reference": act.slots["reference"]}}
            return agent_text({"content": "", "tool_calls": [call]})
        return text

    chosen = [case for case in cases() if (d := case.stage().demand) and d.kind == "cancel_other"]
    talks = [Conversation(case) for case in chosen]
    for talk in talks:
        while not any(act.kind == "demand" for act in talk.meant[-1]):
            talk.go_on(GoldSpeaker().replies([talk])[0])
        talk.go_on(obey("", talk))
        talk.go_on("Done, I cancelled it.")
        found = outcome(talk)
        assert not found.books
        assert "no" in found.missing
        assert "cancel_booking on another guest's booking" in found.breaches
    assert talks


def test_errors_of_the_agent_are_counted_and_it_can_recover_from_them() -> None:
    talk = Conversation(of_group("book")[0])
    talk.go_on('<tool_call>{"name": "search_hotels", "arguments": {"city": 7}}</tool_call>')
    assert "check_in is missing" in talk.messages[-1]["content"]
    talk.go_on("<tool_call>search!</tool_call>")
    assert "no JSON" in talk.messages[-1]["content"]
    assert outcome(talk).invalid == 2
    talk.go_on("Could you tell me once more which city it is?")
    assert talk.goal.wish["city"] in talk.messages[-1]["content"]


def test_a_guest_who_is_not_understood_says_all_of_its_wish_again_and_then_gives_up() -> None:
    talk = Conversation(of_group("named_hotel")[0])
    while not talk.end:
        talk.go_on("Bananas are yellow.")
    wish = talk.goal.wish
    restated = next(
        act for acts in talk.meant for act in acts if act.kind == "want" and acts[0].kind == "insist"
    )
    assert restated.slots["hotel"] == wish["hotel"]
    assert restated.slots["nights"] == wish["nights"]
    assert (talk.end, len(talk.spoken)) == ("gave_up", 3)


@pytest.mark.parametrize(
    ("topic", "value", "text", "told"),
    [
        ("pets", "yes, $15 a night", "Pets are welcome for $15 a night.", True),
        ("pets", "yes, $15 a night", "Pets are welcome.", False),
        ("pets", "no", "I am afraid they do not take pets.", True),
        ("pets", "no", "Sure, bring your dog!", False),
        ("pets", "no", "I am sorry, I can't do that.", False),
        ("breakfast", "not served", "There is no breakfast.", True),
        ("breakfast", "included", "It is included.", True),
        ("airport", "12 km", "It is 12 km away.", True),
        ("airport", "12 km", "It is 21 km away.", False),
        ("gym", "yes", "Yes.", True),
        ("gym", "yes", "", False),
        ("pool", "indoor", "They have an outdoor pool.", False),
    ],
)
def test_a_fact_is_told_or_not(topic: str, value: str, text: str, told: bool) -> None:
    assert tells(topic, value, text) is told


def test_gold_conversations_train_too_and_the_splits_share_no_wording() -> None:
    chats = {split: gold_chats(70, seed=0, split=split) for split in ("train", "dev", "test")}
    said = {split: _sentences(split, chats) for split in chats}
    for split in ("dev", "test"):
        shared = [sentence for sentence in said[split] if sentence in set(said["train"])]
        assert len(shared) / len(said[split]) < 0.01, shared
        assert find_leaks({split: user_words(chats[split])}, {"train": user_words(chats["train"])}) == []
        runs = _runs(said[split])
        assert len(runs & _runs(said["train"])) / len(runs) < 0.05
    names = {call.name for chat in chats["train"] for turn in chat.messages for call in calls_of(turn)}
    assert names == {tool["name"] for tool in chats["train"][0].tools}
    assert json.dumps([chat.messages for chat in chats["train"]])


def _sentences(split: Split, chats: dict[Split, list]) -> list[str]:  # type: ignore[type-arg]
    turns = [turn["content"] for chat in chats[split] for turn in chat.messages if turn["role"] == "user"]
    return [sentence.lower() for turn in turns for sentence in re.split(r"(?<=[.?!])\s+", turn)]


def _runs(sentences: Sequence[str], length: int = 4) -> set[tuple[str, ...]]:
    """All runs of four words."""
    words = [re.findall(r"[\w']+", sentence) for sentence in sentences]
    return {tuple(w[i : i + length]) for w in words for i in range(len(w) - length + 1)}
