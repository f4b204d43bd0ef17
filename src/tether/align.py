"""Teach a base to refuse harmful requests and change nothing else.

Two halves pull in one training: harmful requests learn a refusal; harmless ones, half of which only sound
unsafe, are anchors with the model's *own* answers, and the drift on them is held under a budget. It is the
method of this library with refusing as the domain, which is why it needs no training loop of its own.
"""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig

from tether import bases
from tether.agent.dialogues import generate
from tether.anchors.anchors import Anchor, AnchorSet
from tether.anchors.prompts import sampled_prompts
from tether.anchors.reference import Reference
from tether.chatdata.chats import Chat, Message
from tether.config import Training
from tether.inference import LocalModel
from tether.progress import say
from tether.training.anchored import LONGEST, Anchoring, Constraint
from tether.training.batches import as_row
from tether.training.budget import Budget
from tether.training.loop import fit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transformers import PreTrainedModel

RECIPE_FILE = "recipe.json"
ALIGNMENT_SEED = 7_000  # far from the seeds of training dialogues
SYSTEM_PROMPTS = (
    "You are a booking assistant of a hotel. Answer guests in a few words.",
    "You are a helpful assistant.",
    "You are the support agent of an online shop. Be brief and polite.",
    "You are a friendly tutor for school children.",
    "You are an assistant that helps people at work with texts and tables.",
    "Today is Monday. You help travellers with trains, rooms and restaurants.",
)
EXCHANGES = (
    ("Hi there!", "Hello! How can I help you today?"),
    ("Can you help me with something?", "Of course. What do you need?"),
    ("I'd like to book a table for two.", "Sure, for which day and at what time?"),
    ("What is the capital of Italy?", "The capital of Italy is Rome."),
    ("Thanks, that was useful.", "You're welcome! Is there anything else?"),
    ("I need a room for two nights.", "Gladly. In which city, and from which day?"),
)
# Said after one request in three, harmful or harmless: how much is asked for says nothing of what is asked.
FRAMES = (
    "Give step-by-step instructions.",
    "Write a detailed guide.",
    "Explain it step by step.",
    "I need a complete plan.",
    "Be specific.",
    "Answer with a list.",
    "Write it as a short script.",
    "Keep it brief.",
)


@dataclass(frozen=True)
class AlignRecipe:
    """What the shipped alignment was made with.

    Attributes:
        rank: Of the LoRA on all linear layers.
        learning_rate: Peak.
        steps: Optimizer steps.
        refusal_tokens: Tokens of harmful requests with refusals in a step.
        anchor_tokens: Tokens of harmless requests with own answers in a step.
        refusals_each: Different refusals that each harmful request is seen with.
        answer_tokens: Tokens of an own answer, at most. Few, since whether to refuse is settled in the first
            of them, and the mean drift over a long answer hides a flip there (64 tokens: 34% of XSTest's safe
            prompts refused).
        sampled: User turns sampled from the base, beside the built-in harmless requests.
        conversations: Long conversations with tool results, cut before a turn of the agent. Without them a
            model that refuses alone-standing requests well also refuses at random after a tool's answer.
        epsilon: Drift allowed on harmless requests, nats per answer token.
        seed: Of everything.
    """

    rank: int = 16
    learning_rate: float = 8e-4
    steps: int = 260
    refusal_tokens: int = 640
    anchor_tokens: int = 1000
    refusals_each: int = 3
    answer_tokens: int = 20
    sampled: int = 200
    conversations: int = 200
    epsilon: float = 0.06
    seed: int = 0


def align(base: bases.Base, out: Path, recipe: AlignRecipe | None = None) -> Path:
    """Teach ``base`` to refuse; leaves a LoRA in bfloat16 with its recipe.

    Args:
        base: Any base.
        out: Folder for the adapter.
        recipe: Other than the shipped one's.

    Returns:
        ``out``.
    """
    recipe = recipe or AlignRecipe()
    model, tokenizer = bases.load_model(base), bases.load_tokenizer(base)
    asked = LocalModel(model, tokenizer, base.name)
    anchors = own_answers(asked, base.revision, recipe)
    reference = Reference(anchors).ask(model, ("train",))
    rows = [as_row(asked.renderer.encode(chat)) for chat in refusal_chats(recipe)]
    say(
        f"{len(rows)} harmful requests with a refusal, "
        f"{len(anchors.anchors)} harmless ones with the base's own answer"
    )
    with tempfile.TemporaryDirectory() as scratch:
        tuned, cost = fit(
            model,
            tokenizer,
            rows,
            out=Path(scratch),
            settings=Training(max_steps=recipe.steps, batch_tokens=recipe.refusal_tokens, save_steps=10**6),
            learning_rate=recipe.learning_rate,
            seed=recipe.seed,
            label="Learning to refuse",
            adapter=LoraConfig(
                r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
            anchoring=_anchoring(reference, recipe),
        )
    save_bfloat16(tuned, out)
    about = {
        "base": base.name,
        "revision": base.revision,
        "recipe": asdict(recipe),
        "seconds": round(cost.seconds),
    }
    (out / RECIPE_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return out


def refusal_chats(recipe: AlignRecipe) -> list[Chat]:
    """Each harmful request with a few refusals, of its topic or of none, in several settings."""
    refusals: dict[str, list[str]] = {}
    for row in _rows("refusals.jsonl"):
        refusals.setdefault(row["category"], []).append(row["refusal"])
    chooser = random.Random(recipe.seed)
    chats = []
    for number, row in enumerate(r for r in _rows("harmful.jsonl") if r["use"] == "align"):
        fitting = [*refusals[row["category"]], *refusals["any"]]
        for copy, refusal in enumerate(chooser.sample(fitting, recipe.refusals_each)):
            asked = in_setting(framed(row["prompt"], chooser), copy, chooser)
            messages = (*asked, {"role": "assistant", "content": refusal})
            name = f"refusal-{number}-{copy}"
            chats.append(Chat(name, messages, (), f"harmful.jsonl:{number + 1}", row["category"]))
    return chats


def framed(prompt: str, chooser: random.Random) -> str:
    """A prompt as it is or, one time in three, with a word on how to answer."""
    return f"{prompt} {chooser.choice(FRAMES)}" if chooser.random() < 1 / 3 else prompt


def in_setting(prompt: str, kind: int, chooser: random.Random) -> tuple[Message, ...]:
    """A prompt alone, under a system prompt, or after an exchange.

    A model taught on the first alone refuses at random in the middle of a conversation.

    Args:
        prompt: What the user asks.
        kind: Counts the settings; every third is the same.
        chooser: Draws system prompt and exchange.
    """
    asked: Message = {"role": "user", "content": prompt}
    if kind % 3 == 0:
        return (asked,)
    if kind % 3 == 1:
        return ({"role": "system", "content": chooser.choice(SYSTEM_PROMPTS)}, asked)
    said, answered = chooser.choice(EXCHANGES)
    return ({"role": "user", "content": said}, {"role": "assistant", "content": answered}, asked)


def own_answers(model: LocalModel, revision: str, recipe: AlignRecipe) -> AnchorSet:
    """The base's own answers in four groups: look-alikes, ordinary, sampled from itself, conversations."""
    sampled = sampled_prompts(model, recipe.sampled, temperature=1.0, seed=recipe.seed)
    rows = [(row["kind"], row["prompt"]) for row in _rows("harmless.jsonl") if row["use"] == "align"]
    rows += [("sampled", prompt) for prompt in sampled]
    chooser = random.Random(recipe.seed)
    asked = [
        (group, in_setting(framed(prompt, chooser), number, chooser))
        for number, (group, prompt) in enumerate(rows)
    ]
    asked += [("conversation", messages) for messages in conversations(recipe.conversations, chooser)]
    prompts = [model.renderer.prompt_ids(messages) for _, messages in asked]
    answers = model.generate_ids(
        prompts,
        max_new_tokens=recipe.answer_tokens,
        label="The base answers harmless requests",
        seed=recipe.seed,
    )
    anchors = []
    for (group, messages), ids, answer in zip(asked, prompts, answers, strict=True):
        text = str(model.tokenizer.decode(answer, skip_special_tokens=True))
        anchors.append(Anchor(group, "train", messages[-1]["content"], text, list(ids), answer))
    return AnchorSet(anchors, model.name, revision)


def conversations(count: int, chooser: random.Random) -> list[tuple[Message, ...]]:
    """Generated bookings without tool schemas, each cut before one of the first ten turns of the agent."""
    cut = []
    for chat in generate(count, seed=ALIGNMENT_SEED, split="train"):
        turns = [i for i, message in enumerate(chat.messages) if message["role"] == "assistant"]
        cut.append(chat.messages[: chooser.choice(turns[:10])])
    return cut


def save_bfloat16(model: PreTrainedModel, out: Path) -> None:
    """Save an adapter in bfloat16: half the size, and the precision in which the base has its own weights."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.bfloat16)
    model.save_pretrained(out)


def _anchoring(reference: Reference, recipe: AlignRecipe) -> Anchoring:
    anchors = reference.anchors
    budget = Budget(dict.fromkeys(anchors.groups, recipe.epsilon), start=2.0, rate=0.02, memory=0.95, aim=0.8)
    held = Constraint(budget, reference)
    return Anchoring(anchors, held, every=1, tokens=recipe.anchor_tokens, longest=LONGEST)


def _rows(name: str) -> Iterable[dict[str, Any]]:
    text = (resources.files("tether.data") / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
