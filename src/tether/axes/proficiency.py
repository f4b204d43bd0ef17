"""Proficiency: does the agent take the right step at each of its turns, given the gold dialogue before it?

A turn with calls is right if it makes exactly these calls; a spoken turn if it makes no call and its step
signature (``tether.axes.steps``) agrees with the gold turn's. Wording does not matter, content does.
"""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tether.axes.steps import Step, read_step, same_step
from tether.chatdata.chats import Call, Chat, Message, calls_of
from tether.chatdata.toolcalls import Turn, parse_turn
from tether.results import Item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.inference import Answers

TURN_TOKENS = 96
NUMBER = re.compile(r"-?\d{1,28}(\.\d+)?")


def proficiency(model: Answers, chats: Sequence[Chat], *, source: str = "dialogues") -> list[Item]:
    """Let the model answer at every agent turn of every dialogue (greedy) and score each answer.

    Args:
        model: The model.
        chats: Gold dialogues.
        source: What the reports call their origin.

    Returns:
        One item per agent turn, score 1 or 0; metrics step_accuracy, call_accuracy, spoken_accuracy, slot_f1,
        closing, and on a dialogue's first item loss (nats per token of the agent's gold turns; None of a
        hosted model).
    """
    found = model.generate_agent_turns(chats, max_new_tokens=TURN_TOKENS, label="Proficiency")
    items = []
    for chat, (answers, gold) in zip(chats, found, strict=True):
        loss = None if gold is None else gold[0] / max(1, gold[1])
        for index, answer in zip(chat.agent_turns, answers, strict=True):
            items.append(_item(chat, index, answer, loss, source))
            loss = None
    return items


def _item(chat: Chat, index: int, output: str, loss: float | None, source: str) -> Item:
    gold, before = chat.messages[index], chat.messages[:index]
    score, reason, metrics = score_turn(gold, output, before)
    return Item(
        id=f"{chat.id}:{index}",
        axis="proficiency",
        source=source,
        cluster=chat.id,
        group=chat.group,
        input=next((str(m["content"]) for m in reversed(before) if m["role"] != "assistant"), ""),
        output=output,
        score=score,
        reason=reason,
        metrics={"step_accuracy": score, **metrics, "loss": loss},
    )


def score_turn(
    gold: Message, output: str, before: Sequence[Message]
) -> tuple[float, str, dict[str, float | None]]:
    """Score one answer.

    Args:
        gold: The gold turn.
        output: The answer's raw text.
        before: The dialogue before the turn.

    Returns:
        1.0 or 0.0, the reason, and the metrics call_accuracy, spoken_accuracy, slot_f1 and closing.
    """
    turn, wanted = parse_turn(output), calls_of(gold)
    metrics: dict[str, float | None] = dict.fromkeys(
        ("call_accuracy", "spoken_accuracy", "slot_f1", "closing")
    )
    if wanted:
        right = not turn.malformed and _bag(turn.calls) == _bag(wanted)
        metrics |= {"call_accuracy": float(right), "slot_f1": slot_f1(turn.calls, wanted)}
        return float(right), _call_reason(right, turn, wanted), metrics
    step = read_step(gold["content"], before)
    calls = turn.malformed or bool(turn.calls)
    right = not calls and same_step(gold["content"], turn.content, before)
    metrics |= {"spoken_accuracy": float(right), "closing": float(right) if step.closing else None}
    return float(right), _spoken_reason(right, turn, step, before), metrics


def normal(value: Any) -> str:
    """An argument in the form in which it is compared: case, spaces, and 2, "2" and 2.0 alike."""
    text = " ".join(str(value).split()).casefold()
    # Not by float: references and card numbers of many digits must stay apart.
    return f"{Decimal(text).normalize():f}" if NUMBER.fullmatch(text) else text


def slot_f1(said: Sequence[Call], wanted: Sequence[Call]) -> float:
    """F1 over (call, argument, value); each call's name counts too, so that one without arguments counts."""
    mine, gold = _slots(said), _slots(wanted)
    return 2 * (mine & gold).total() / (mine.total() + gold.total())


def _slots(calls: Sequence[Call]) -> Counter[tuple[str, str, str]]:
    named = Counter((normal(call.name), "", "") for call in calls)
    return named + Counter(
        (normal(call.name), key, normal(value)) for call in calls for key, value in call.arguments.items()
    )


def _bag(calls: Sequence[Call]) -> Counter[tuple[str, frozenset[tuple[str, str]]]]:
    return Counter(
        (call.name, frozenset((key, normal(value)) for key, value in call.arguments.items()))
        for call in calls
    )


def _call_reason(right: bool, turn: Turn, wanted: Sequence[Call]) -> str:
    if right:
        return f"makes the right call: {_calls_in_words(wanted)}"
    should = f"should call {_calls_in_words(wanted)}"
    if turn.malformed:
        return f"a call that cannot be read; {should}"
    return f"{f'calls {_calls_in_words(turn.calls)}' if turn.calls else 'makes no call'}; {should}"


def _calls_in_words(calls: Sequence[Call]) -> str:
    return " and ".join(
        f"{call.name}({', '.join(f'{key}={value}' for key, value in call.arguments.items())})"
        for call in calls
    )


def _spoken_reason(right: bool, turn: Turn, step: Step, before: Sequence[Message]) -> str:
    should = f"should {_in_words(step, '')}"
    if right:
        return f"right step: {_in_words(step, 's')}"
    if turn.malformed:
        return f"a call that cannot be read; {should}"
    if turn.calls:
        return f"calls {_calls_in_words(turn.calls)}; {should}"
    return f"{_in_words(read_step(turn.content, before), 's') if turn.content else 'says nothing'}; {should}"


def _in_words(step: Step, ending: str) -> str:
    """The signature in words, verbs with ``ending``: "asks for X and gives Y"."""
    given = sorted(f"{value.kind} {value.text}".strip() for value in step.gives)
    parts = [
        f"ask{ending} for {', '.join(sorted(step.asks))}" if step.asks else "",
        f"give{ending} {', '.join(given)}" if given else "",
        f"make{ending} the moves {', '.join(sorted(step.flags))}" if step.flags else "",
    ]
    return " and ".join(part for part in parts if part) or f"say{ending} nothing that can be checked"
