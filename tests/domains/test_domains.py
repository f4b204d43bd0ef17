"""Restaurants and flights: what is said follows from the stock, and test shares no words with train."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from tether.axes.proficiency import score_turn
from tether.axes.steps import read_step, same_step
from tether.chatdata.chats import Chat, calls_of
from tether.chatdata.toolcalls import agent_text
from tether.domains import DOMAINS, generate
from tether.sources import fingerprint, load_dialogues

if TYPE_CHECKING:
    from tether.agent.world import Split
    from tether.domains.domain import Domain

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
N = 80
FRAGMENT = "with_"
SCENARIOS = {"book", "nothing found", "change of mind", "taken", "left"}
EVERYTHING = (
    "Which city, which cuisine, what time, on which day and for how many people? Your table is booked. "
    "Unfortunately that is not free. Shall I book it? Yes, there is parking and wifi. Anything else? Goodbye!"
)
WORDS = {
    "restaurants": {
        "key": "The Clay Oven", "city": "Porto", "cuisine": "Turkish", "date": "March 3", "time": "7:30 pm",
        "people": "four people", "free": "8 pm", "reference": "B1234",
        "first": "The Clay Oven, rated 4.5 and cheap", "second": "Casa Nube, rated 4.1 and moderate",
    },
    "flights": {
        "key": "GA214", "origin": "Porto", "destination": "Prague", "date": "March 3",
        "people": "four people", "free": "March 5", "reference": "B1234",
        "first": "GA214 at 8:15 am for $182", "second": "ZM305 at 6 pm for $90",
    },
}  # fmt: skip

domains = pytest.mark.parametrize("domain", DOMAINS.values(), ids=lambda domain: domain.name)


@cache
def chats(name: str, split: Split) -> list[Chat]:
    return generate(name, N, seed=0, split=split)


def steps(chat: Chat) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each call of a chat with its result."""
    pairs = zip(chat.messages, chat.messages[1:], strict=False)
    return [
        (c.name, c.arguments, json.loads(after["content"])) for turn, after in pairs for c in calls_of(turn)
    ]


def said(chat: Chat, role: str) -> str:
    return " ".join(turn["content"] for turn in chat.messages if turn["role"] == role)


@domains
def test_the_same_seed_gives_the_same_dialogues_and_a_longer_run_begins_alike(domain: Domain) -> None:
    assert generate(domain.name, 5, seed=0, split="train") == chats(domain.name, "train")[:5]
    assert generate(domain.name, 5, seed=1, split="train") != chats(domain.name, "train")[:5]


@domains
def test_every_scenario_and_every_tool_occurs(domain: Domain) -> None:
    made = chats(domain.name, "train")
    assert {chat.group for chat in made} == SCENARIOS
    assert {name for chat in made for name, _, _ in steps(chat)} == {tool["name"] for tool in domain.tools}


@domains
def test_what_is_booked_was_found_and_its_reference_is_told(domain: Domain) -> None:
    search, _, book = (tool["name"] for tool in domain.tools)
    for chat in chats(domain.name, "test"):
        found = {
            row[domain.noun] for name, _, told in steps(chat) if name == search for row in told["results"]
        }
        bookings = [(arguments, told) for name, arguments, told in steps(chat) if name == book]
        assert len(bookings) == {"left": 0, "taken": 2}.get(chat.group, 1)
        for arguments, _ in bookings:
            assert arguments[domain.noun] in found
            assert set(arguments) == {domain.noun, *domain.booking}
        for _, told in bookings[-1:]:
            assert told["reference"] in said(chat, "assistant")
        for _, told in bookings[:-1]:
            assert told["error"] == "full"
            assert bookings[-1][0][domain.slack] == told["free"]


@domains
def test_names_and_wordings_of_one_split_stand_in_no_other(domain: Domain) -> None:
    for kind in domain.words["names"].values():
        names = [name for split in SPLITS for name in kind[split]]
        assert len(set(names)) == len(names)
    for act, by_split in domain.words["guest"].items():
        wordings = [wording for split in SPLITS for wording in by_split[split]]
        assert all(by_split[split] for split in SPLITS), act
        assert act.startswith(FRAGMENT) or len(set(wordings)) == len(wordings), act
    for split in SPLITS:
        text = " ".join(said(chat, "user") + said(chat, "tool") for chat in chats(domain.name, split))
        others = [n for kind in domain.words["names"].values() for s in SPLITS if s != split for n in kind[s]]
        assert not [name for name in others if re.search(rf"\b{name}\b", text)]


@domains
def test_guests_of_the_test_split_use_other_sentences(domain: Domain) -> None:
    def sentences(split: Split) -> list[str]:
        texts = (said(chat, "user").lower() for chat in chats(domain.name, split))
        return [sentence for text in texts for sentence in re.split(r"(?<=[.?!])\s+", text)]

    train, test = set(sentences("train")), sentences("test")
    assert sum(sentence in train for sentence in test) / len(test) < 0.02


@domains
def test_an_acts_wordings_are_one_step_and_no_other_acts(domain: Domain) -> None:
    """So a step is right whatever its wording, and wrong if it is another."""
    system = {
        "role": "system",
        "content": domain.words["system"].format(weekday="Monday", today="2026-03-02"),
    }
    words = WORDS[domain.name]
    result = json.dumps({"results": [words["key"], "Casa Nube", "cheap", "moderate"]})
    before = [system, {"role": "user", "content": "Hi"}, {"role": "tool", "content": result}]
    spoken = {
        act: [wording.format(**words) for wording in wordings]
        for act, wordings in domain.words["agent"].items()
    }
    for act, texts in spoken.items():
        assert not read_step(texts[0], before).empty, act
        for left, right in combinations(texts, 2):
            assert same_step(left, right, before), (read_step(left, before), read_step(right, before))
    for (act, texts), (other, others) in combinations(spoken.items(), 2):
        assert not same_step(texts[0], others[0], before), (act, other)


@domains
def test_the_gold_agent_is_right_and_simple_policies_are_not(domain: Domain) -> None:
    right: Counter[str] = Counter()
    for chat in chats(domain.name, "test"):
        last = ""
        for index in chat.agent_turns:
            gold, before = chat.messages[index], chat.messages[:index]
            text = agent_text(gold)
            for policy, answer in {"gold": text, "last": last, "everything": EVERYTHING, "empty": ""}.items():
                right[policy] += score_turn(gold, answer, before)[0] == 1
            right["turns"] += 1
            last = text
    assert right["gold"] == right["turns"]
    assert max(right["last"], right["everything"], right["empty"]) < 0.1 * right["turns"]


@domains
def test_it_is_a_source_by_name_with_three_parts(domain: Domain) -> None:
    source = f"builtin:{domain.name}"
    assert load_dialogues(source, split="test", limit=3) == chats(domain.name, "test")[:3]
    assert {len(load_dialogues(source, split=split)) for split in SPLITS} == {400, 60}
    assert fingerprint(source).keys() == {"tether.domains"}
