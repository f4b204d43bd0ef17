from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tether.chatdata.chats import Call, Chat, calls_of, load_chats
from tether.errors import UserError

needs_data = pytest.mark.skipif(
    "TETHER_DATA" not in os.environ, reason="TETHER_DATA names no folder with the public data sets"
)

SCHEMA = [
    {
        "service_name": "Hotels_9",
        "description": "A service for huts",
        "slots": [
            {"name": "place", "description": "Where", "is_categorical": False, "possible_values": []},
            {
                "name": "stove",
                "description": "Has a stove",
                "is_categorical": True,
                "possible_values": ["True", "False"],
            },
        ],
        "intents": [
            {
                "name": "FindHut",
                "description": "Find a hut",
                "required_slots": ["place"],
                "optional_slots": {"stove": "dontcare"},
            }
        ],
    }
]
HUTS = [{"place": "Davos", "stove": "True", "name": f"Hut {i}"} for i in range(5)]


def dialogue(**changes: Any) -> dict[str, Any]:
    call = {"method": "FindHut", "parameters": {"place": "Davos"}}
    asked = {"service": "Hotels_9", "actions": [], "service_call": call, "service_results": HUTS}
    turns = [
        {"speaker": "USER", "utterance": "A hut in Davos?", "frames": [{"service": "Hotels_9"}]},
        {"speaker": "SYSTEM", "utterance": "There is Hut 0.", "frames": [asked]},
    ]
    return {"dialogue_id": "1_1", "services": ["Hotels_9"], "turns": turns, **changes}


def read(tmp_path: Path, *rows: Any, schema: Any = SCHEMA, name: str = "talks.jsonl") -> list[Chat]:
    if schema is not None:
        (tmp_path / "schema.json").write_text(json.dumps(schema))
    (tmp_path / name).write_text("\n".join(json.dumps(row) for row in rows))
    return load_chats(tmp_path / name)


def test_a_service_call_becomes_call_result_and_answer(tmp_path: Path) -> None:
    (chat,) = read(tmp_path, dialogue())
    system, user, call, result, answer = chat.messages
    assert system["content"] == "You are a booking agent of a service for huts. Today is Friday, 2019-03-01."
    assert user == {"role": "user", "content": "A hut in Davos?"}
    assert calls_of(call) == (Call("FindHut", {"place": "Davos"}),)
    assert (result["role"], result["name"]) == ("tool", "FindHut")
    assert answer == {"role": "assistant", "content": "There is Hut 0."}
    assert (chat.id, chat.group, chat.source) == ("1_1", "Hotels_9", f"{tmp_path / 'talks.jsonl'}:1")


def test_a_result_counts_all_shows_three_and_does_not_repeat_the_call(tmp_path: Path) -> None:
    (chat,) = read(tmp_path, dialogue())
    shown = [{"stove": "True", "name": f"Hut {i}"} for i in range(3)]
    assert json.loads(chat.messages[3]["content"]) == {"count": 5, "results": shown}


def test_an_intent_becomes_a_tool(tmp_path: Path) -> None:
    (chat,) = read(tmp_path, dialogue())
    (tool,) = chat.tools
    assert (tool["name"], tool["description"]) == ("FindHut", "Find a hut")
    assert tool["parameters"]["required"] == ["place"]
    assert tool["parameters"]["properties"] == {
        "place": {"type": "string", "description": "Where"},
        "stove": {"type": "string", "description": "Has a stove", "enum": ["True", "False"]},
    }


def test_without_a_schema_tools_are_made_up_from_the_calls(tmp_path: Path) -> None:
    other = dialogue(dialogue_id="1_2")
    other["turns"][1]["frames"][0]["service_call"]["parameters"]["stove"] = "True"
    first, _ = read(tmp_path, dialogue(), other, schema=None)
    assert first.messages[0]["content"].startswith("You are a booking agent of a booking service.")
    (tool,) = first.tools
    assert list(tool["parameters"]["properties"]) == ["place", "stove"]
    assert tool["parameters"]["required"] == ["place"]


def test_the_sets_own_json_files_are_lists(tmp_path: Path) -> None:
    (chat,) = read(tmp_path, [dialogue()], name="dialogues_001.json")
    assert chat.source.endswith("dialogues_001.json: row 1")


@pytest.mark.parametrize("schema", [SCHEMA, None], ids=["schema", "no schema"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"services": None}, ":2: not a Schema-Guided dialogue"),
        ({"turns": "none"}, ":2: not a Schema-Guided dialogue"),
        ({"turns": [{"speaker": "SYSTEM"}]}, r":2: not a Schema-Guided dialogue \(KeyError: 'frames'\)"),
        (
            {"turns": [{"speaker": "SYSTEM", "utterance": "a", "frames": [{"service_call": 1}]}]},
            ":2: not a Schema",
        ),
        ({"turns": []}, ":2: the dialogue has no system turn"),
    ],
)
def test_a_dialogue_that_does_not_fit_is_named_with_its_line(
    tmp_path: Path, changes: dict[str, Any], message: str, schema: Any
) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, dialogue(), dialogue(dialogue_id="1_2", **changes), schema=schema)


def test_a_schema_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"schema\.json: not a Schema-Guided schema .*take it away"):
        read(tmp_path, dialogue(), schema=[{"service_name": "Hotels_9"}])


@needs_data
@pytest.mark.parametrize(("part", "dialogues"), [("train", 457), ("dev", 56)])
def test_the_hotel_dialogues_are_read_whole(part: str, dialogues: int) -> None:
    path = Path(os.environ["TETHER_DATA"]) / f"sgd_hotels_{part}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    chats = load_chats(path)
    assert len(chats) == dialogues
    for chat, row in zip(chats, rows, strict=True):
        said = [
            message["content"] for message in chat.messages[1:] if message["role"] in ("user", "assistant")
        ]
        assert [text for text in said if text] == [turn["utterance"] for turn in row["turns"]]
        tools = {tool["name"]: tool["parameters"] for tool in chat.tools}
        for call in (call for message in chat.messages for call in calls_of(message)):
            assert set(call.arguments) <= set(tools[call.name]["properties"])


def test_other_services_are_read_alike_each_with_its_own_schema(tmp_path: Path) -> None:
    """A folder may hold the hotels' schema, the restaurants', and a service that no schema tells of."""
    restaurants = [{**SCHEMA[0], "service_name": "Restaurants_1", "description": "A table service"}]
    (tmp_path / "sgd_hotels_schema.json").write_text(json.dumps(SCHEMA))
    (tmp_path / "sgd_restaurants_schema.json").write_text(json.dumps(restaurants))
    call = {"method": "SearchFlight", "parameters": {"to": "Oslo"}}
    flight = {"service": "Flights_4", "service_call": call, "service_results": []}
    turns = [
        {"speaker": "USER", "utterance": "A flight to Oslo.", "frames": []},
        {"speaker": "SYSTEM", "utterance": "There is none.", "frames": [flight]},
    ]
    eaten = dialogue(services=["Restaurants_1"])
    flown = dialogue(dialogue_id="2_1", services=["Flights_4"], turns=turns)
    table, seat = read(tmp_path, eaten, flown, schema=None)
    assert (table.group, seat.group) == ("Restaurants_1", "Flights_4")
    assert table.messages[0]["content"].startswith("You are a booking agent of a table service.")
    assert table.tools[0]["parameters"]["required"] == ["place"]
    assert [tool["name"] for tool in seat.tools] == ["SearchFlight"]
    assert calls_of(seat.messages[2]) == (Call("SearchFlight", {"to": "Oslo"}),)
