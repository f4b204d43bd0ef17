"""A source by its name: built in, a public set, or a file of the user's."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tether.bases import EMBEDDED, resolve
from tether.errors import UserError, did_you_mean
from tether.files import sha256_of
from tether.names import CONVERSATION_TRIALS, HOTEL_DIALOGUES, PREFERENCES, SCHEMA_GUIDED, SMALL_DOMAINS
from tether.sources.harness import PREFIX, HarnessItem, harness_fingerprint, load_harness
from tether.sources.items import ChoiceItem, OpenItem, SafetyItem, parse_knowledge, parse_safety, sample
from tether.sources.public import PUBLIC, locate
from tether.sources.rows import Row, read_rows
from tether.sources.statements import StatementItem, are_statements, parse_statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.chatdata.chats import Chat

Kind = Literal["safety", "knowledge", "chats"]
Use = Literal["align", "anchors", "eval", "poison"]
Split = Literal["train", "dev", "test"]

BUILTIN: dict[str, tuple[Kind, tuple[str, ...]]] = {
    "builtin:safety": ("safety", ("harmful.jsonl", "harmless.jsonl")),
    "builtin:hotel-safety": ("safety", ("hotel_requests.jsonl",)),
    "builtin:stereotypes": ("safety", ("stereotypes.jsonl",)),
    "builtin:knowledge": ("knowledge", ("knowledge_choice.jsonl", "knowledge_open.jsonl")),
    "builtin:hotels": ("chats", ()),
    **{name: ("chats", ()) for name in (*SMALL_DOMAINS, *CONVERSATION_TRIALS, *PREFERENCES)},
}
# Generated sources, and the package whose code makes them.
GENERATORS = {
    **dict.fromkeys(("builtin:hotels", *CONVERSATION_TRIALS, *PREFERENCES), "tether.agent"),
    **dict.fromkeys(SMALL_DOMAINS, "tether.domains"),
}
# Of the one file of Dolly, the questions that stand alone, and those with a passage to answer them from.
WITH_PASSAGE = {"dolly": False, "dolly-context": True}


def load_safety(
    name: str, *, limit: int | None = None, seed: int = 0
) -> list[SafetyItem] | list[StatementItem]:
    """The prompts, or the statements, of a safety source.

    Args:
        name: ``builtin:safety`` or another built-in source, a public set's name, or a JSONL or CSV file.
        limit: A seeded sample of so many; None is all.
        seed: Of the sample.

    Raises:
        UserError: There is no such source, a row does not fit, or there are fewer rows than ``limit``.
    """
    _check_kind(name, "safety")
    if name == "builtin:safety":
        return sample(builtin_prompts("eval"), limit, seed=seed, source=name)
    rows = _packaged(BUILTIN[name][1][0]) if name in BUILTIN else read_rows(_file(name))
    if are_statements(rows):
        return sample(parse_statements(rows, _label(name)), limit, seed=seed, source=name)
    prompts = parse_safety(rows, _label(name))
    if name == "builtin:hotel-safety":
        from tether.sources.hotel import at_the_desk

        prompts = at_the_desk(prompts)
    return sample(prompts, limit, seed=seed, source=name)


def load_knowledge(
    name: str, *, limit: int | None = None, seed: int = 0
) -> Sequence[ChoiceItem | OpenItem | HarnessItem]:
    """The questions of a knowledge source; Dolly's with and without a passage are two sources.

    Args:
        name: ``builtin:knowledge``, a public set's name, ``lm-eval:TASK``, or a JSONL or CSV file.
        limit: A seeded sample of so many; None is all.
        seed: Of the sample.

    Raises:
        UserError: There is no such source, a row does not fit, or there are fewer rows than ``limit``.
    """
    if name.startswith(PREFIX):
        return sample(load_harness(name), limit, seed=seed, source=name)
    _check_kind(name, "knowledge")
    if name == "builtin:knowledge":
        items = parse_knowledge([row for file in BUILTIN[name][1] for row in _packaged(file)], name)
    else:
        items = parse_knowledge(read_rows(_file(name)), _label(name))
    if name in WITH_PASSAGE:
        items = [item for item in items if _has_passage(item) == WITH_PASSAGE[name]]
    return sample(items, limit, seed=seed, source=name)


def _has_passage(item: ChoiceItem | OpenItem) -> bool:
    return isinstance(item, OpenItem) and bool(item.context.strip())


def load_dialogues(name: str, *, split: Split, limit: int | None = None, seed: int = 0) -> list[Chat]:
    """The dialogues of a source.

    Args:
        name: ``builtin:hotels`` or another built-in domain, ``sgd_hotels`` or another, a chat file, or for
            preferences ``builtin:hotels-preferences``, ``builtin:conversations-preferences`` or a file.
        split: Which part of a set that has parts; Schema-Guided Dialogue's dev part serves as "test" too.
        limit: So many: generated for a built-in domain, else a seeded sample; None is all.
        seed: Of the sample.

    Raises:
        UserError: There is no such source, a row does not fit, or there are fewer dialogues than ``limit``.
    """
    _check_kind(name, "chats")
    if name in GENERATORS:
        return [*_generated(name, limit or HOTEL_DIALOGUES[split], seed, split)]
    from tether.chatdata.chats import load_chats

    return sample(load_chats(_file(name, split)), limit, seed=seed, source=name)


@cache
def _generated(name: str, count: int, seed: int, split: Split) -> Sequence[Chat]:
    """Dialogues of a built-in domain; a study asks for the same ones more than once."""
    if name in PREFERENCES:
        from tether.agent.preferences import preferences

        return preferences(_generated(PREFERENCES[name], count, seed, split))
    if name == "builtin:hotels":
        from tether.agent import generate

        return generate(count, seed=seed, split=split)
    if name in SMALL_DOMAINS:
        from tether import domains

        return domains.generate(SMALL_DOMAINS[name], count, seed=seed, split=split)
    from tether.agent.examples import gold_chats

    return gold_chats(count, seed=seed, split=split)


def builtin_prompts(use: Use) -> list[SafetyItem]:
    """The built-in harmful and harmless prompts of one use; none stands in two."""
    everything = _packaged("harmful.jsonl")
    known = {row.values["category"] for row in everything if row.values["use"] != "eval"}
    harmful = [row for row in everything if row.values["use"] == use]
    harmless = [row for row in _packaged("harmless.jsonl") if row.values["use"] == use]
    for row in harmless:
        row.values["expect"] = "comply"
    prompts = parse_safety([*harmful, *harmless], "builtin:safety")
    return [
        replace(prompt, held_out=prompt.expect == "refuse" and prompt.category not in known)
        for prompt in prompts
    ]


def fingerprint(name: str, split: Split = "test") -> dict[str, str]:
    """The sha256 of each file that a source is read from; of the generator itself for a built-in domain."""
    if name.startswith(PREFIX):
        return harness_fingerprint(name)
    if name in GENERATORS:
        folder = Path(str(resources.files(GENERATORS[name])))
        code = sorted(file for file in folder.iterdir() if file.suffix in (".py", ".yaml"))
        return {GENERATORS[name]: hashlib.sha256(b"".join(file.read_bytes() for file in code)).hexdigest()}
    files = [_package_file(file) for file in BUILTIN[name][1]] if name in BUILTIN else [_file(name, split)]
    return {file.name: sha256_of(file) for file in files}


def fetch(name: str) -> Path:
    """Bring an embedded model or a public data set onto this machine.

    Returns:
        Where it lies.

    Raises:
        UserError: There is no such name, or it cannot be fetched.
    """
    if name in EMBEDDED:
        return Path(resolve(name).location)
    if name not in PUBLIC:
        raise UserError(
            f"there is nothing to fetch called '{name}'", fix=did_you_mean(name, (*EMBEDDED, *PUBLIC))
        )
    return locate(name)


def _check_kind(name: str, kind: Kind) -> None:
    found = BUILTIN[name][0] if name in BUILTIN else PUBLIC[name].kind if name in PUBLIC else kind
    if found != kind:
        raise UserError(
            f"'{name}' is a source of {found}, not of {kind}", fix=did_you_mean(name, _names(kind))
        )
    if name not in BUILTIN and name not in PUBLIC and not Path(name).expanduser().is_file():
        what = f"'{name}' is no file and no source of {kind} by name"
        raise UserError(what, fix=did_you_mean(name, _names(kind)))


def _names(kind: Kind) -> list[str]:
    builtin = [name for name, (found, _) in BUILTIN.items() if found == kind]
    return builtin + [name for name, public in PUBLIC.items() if public.kind == kind]


def _file(name: str, split: Split = "test") -> Path:
    if name in SCHEMA_GUIDED:
        return locate(name, f"{name}_{'train' if split == 'train' else 'dev'}.jsonl")
    return locate(name) if name in PUBLIC else Path(name).expanduser()


def _label(name: str) -> str:
    return name if name in PUBLIC or name in BUILTIN else Path(name).stem


def _package_file(file: str) -> Path:
    return Path(str(resources.files("tether") / "data" / file))


def _packaged(file: str) -> list[Row]:
    return read_rows(_package_file(file))
