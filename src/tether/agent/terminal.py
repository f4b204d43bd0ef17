"""A person talks to the hotel agent at a terminal; rooms are really booked, in books kept for the talk."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from tether.agent.conversation import MOST_CALLS
from tether.agent.scenes import rules_prompt
from tether.agent.server import ServerSpeaker
from tether.agent.session import Session
from tether.agent.tools import Desk, compact
from tether.agent.world import first_day, world
from tether.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tether.agent.session import Made, Speaker

QUIT = "/quit"
GUEST, AGENT, NOTE = "You: ", "Agent: ", "dim"


def chat(base: str | None, adapter: Path | None, server: str | None, *, quiet: bool = False) -> Session:
    """Let whoever sits at the terminal talk to the agent.

    Args:
        base: The model; with a server, its name there, or None for the server's first.
        adapter: What the model is tuned with.
        server: The base of an OpenAI-compatible API, instead of a model in this process.
        quiet: Show the talk on stderr, since stdout is for the record.

    Returns:
        The conversation.

    Raises:
        UserError: There is neither model nor server, or it will not do.
    """
    console = Console(stderr=quiet)
    return talk(_speaker(base, adapter, server), typed(console), console)


def _speaker(base: str | None, adapter: Path | None, server: str | None) -> Speaker:
    if server is not None:
        if adapter is not None:
            fix = "name the server's model with --base"
            raise UserError("a server has its own models, not an adapter", where="--adapter", fix=fix)
        return ServerSpeaker(server, base)
    if base is None:
        raise UserError("nobody is there to talk to", where="--base", fix="give --base BASE or --server URL")
    # Seconds to import, which a server's guest need not wait.
    from tether import bases
    from tether.agent.live import ModelSpeaker
    from tether.inference import LocalModel

    resolved = bases.resolve(base)
    tokenizer = bases.load_tokenizer(resolved)
    return ModelSpeaker(LocalModel(bases.load_tuned(resolved, adapter), tokenizer, str(adapter or base)))


def talk(speaker: Speaker, lines: Iterable[str], console: Console) -> Session:
    """Talk until the guest says ``/quit`` or its lines end.

    Args:
        speaker: The agent.
        lines: What the guest says.
        console: Where the talk is shown: words, calls and results.

    Returns:
        The conversation, with the books as they are then.
    """
    day = first_day("test", 0)
    desk = Desk(world("test", 0), day)
    session = Session(desk, [{"role": "system", "content": rules_prompt(day)}])
    cities = ", ".join(desk.inventory.cities())
    _show(console, f"Staywell Hotels, {day:%A} {day.isoformat()}. Cities: {cities}. {QUIT} ends.", NOTE)
    for line in lines:
        if line.strip() == QUIT:
            break
        if line.strip():
            session.hear_guest(line.strip())
            _answer(speaker, session, console)
    return session


def typed(console: Console) -> Iterator[str]:
    """The lines of standard input; asked for on a terminal, shown where they are piped in."""
    asks = sys.stdin.isatty()
    while True:
        try:
            line = input(GUEST if asks else "")
        except (EOFError, KeyboardInterrupt):
            return
        if not asks and line.strip() != QUIT:
            _show(console, f"{GUEST}{line}")
        yield line


def _answer(speaker: Speaker, session: Session, console: Console) -> None:
    """One turn of the agent, with the calls that lead to it."""
    for _ in range(MOST_CALLS):
        before = len(session.made)
        words = session.take(speaker.replies([session])[0])
        for made in session.made[before:]:
            _show_call(console, made)
        if words is not None:
            _show(console, f"{AGENT}{words or '(says nothing)'}", "bold")
            return
    _show(console, f"({MOST_CALLS} calls and not a word; say something else)", NOTE)


def _show_call(console: Console, made: Made) -> None:
    arguments = ", ".join(f"{key}={value}" for key, value in made.arguments.items())
    _show(console, f"  -> {made.name or '?'}({arguments})", "cyan")
    _show(console, f"  <- {compact(made.result)}", "red" if made.failed else NOTE)


def _show(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style), soft_wrap=True)
