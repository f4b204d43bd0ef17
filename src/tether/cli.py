"""The commands: each parses, calls one function of a room, and prints.

Whatever is slow to import is imported inside the command that needs it, after its options are checked: help
and mistakes are answered at once.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path  # noqa: TC003  typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tether.errors import UserError
from tether.exits import run_to_exit
from tether.options import (
    Adapter,
    Anchors,
    Base,
    Budget,
    Json,
    Judge,
    Leaks,
    MaxPrice,
    Out,
    PerMinute,
    Require,
    Source,
    Yes,
    read_asking,
    read_names,
    read_requirements,
    read_seeds,
)

if TYPE_CHECKING:
    from tether.methods import Method

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("tether"))
        raise typer.Exit


@app.callback()
def tether(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Fine-tune a chat model on a domain and keep what it already knew and refused."""


@app.command()
def compare(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="What to compare.")],
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="Folder of the run; goes on there.")] = None,
    methods: Annotated[str | None, typer.Option(metavar="A,B", help="Only these methods.")] = None,
    seeds: Annotated[str | None, typer.Option(metavar="0,1,2", help="Other seeds than the study's.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Check the study without running it.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Models made and measured at a time, on one device.")] = 1,
    require: Require = [],  # noqa: B006  typer copies its defaults
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Fine-tune by several methods, and report what each gained and cost."""
    from tether.studyfile import load_study

    plan, requirements = load_study(study), read_requirements(require)
    chosen_methods, chosen_seeds = read_names(methods), read_seeds(seeds)
    if dry_run:
        from tether import checking

        lines = checking.check(plan, chosen_methods, chosen_seeds)
        _print({"study": str(study), "checks": lines}, "\n".join(lines), as_json)
        return
    if out is None:
        raise UserError("a run needs a folder", where="--out", fix="add --out runs/NAME, or --dry-run")
    if plan.then:
        from tether import sequence as story
    else:
        from tether import study as story  # type: ignore[no-redef]
    from tether.report import summary_text
    from tether.requirements import check_askable, check_requirements, measured_in

    check_askable(requirements, measured_in(plan), chosen_methods or list(plan.methods))

    if jobs > 1:
        from tether.parallel import side_by_side

        side_by_side(plan, out, jobs, chosen_methods, chosen_seeds, study, yes)
        yes = True  # asked for there, before anything was trained
    results = story.compare(plan, out, chosen_methods, chosen_seeds, study, yes)
    plain = _plain(results)
    _print(plain, summary_text(results, out / "report.html"), as_json)
    check_requirements(requirements, {name: found["summary"] for name, found in plain["methods"].items()})


@app.command()
def tune(
    base: Base,
    data: Annotated[str, typer.Option(metavar="FILE", help="Chats to learn from, or a set by name.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write; goes on there.")] = None,
    method: Annotated[str, typer.Option(help="One of `tether methods`.")] = "tether",
    budget: Budget = None,
    anchors: Anchors = None,
    settings: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="A setting; may be repeated.")
    ] = [],  # noqa: B006
    preview: Annotated[int, typer.Option(min=0, help="Only print so many examples as learned.")] = 0,
    require: Require = [],  # noqa: B006
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a base on data by one method."""
    from tether.settings import parse_budget, parse_settings

    if (out is None) != bool(preview):
        raise UserError(
            "tuning needs a folder to write to, a preview none",
            where="--out",
            fix="give --out DIR or --preview N",
        )
    limit = None if budget is None else parse_budget(budget)
    chosen, requirements = parse_settings(settings), read_requirements(require)
    from tether import stages

    if out is None:
        outcome = stages.preview(base, data, preview)
    else:
        outcome = stages.tune(base, data, method, out, limit, anchors, chosen, requirements, yes)
    _print(outcome.record, outcome.text, as_json)


@app.command()
def rewind(
    base: Base,
    adapter: Annotated[Path, typer.Option(metavar="DIR", help="A LoRA that anything trained.")],
    data: Annotated[str, typer.Option(metavar="FILE", help="The chats it was trained on, or a set by name.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the rewound adapter goes.")],
    budget: Budget = None,
    anchors: Anchors = None,
    require: Require = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Hold a LoRA that is trained already under a drift budget, without training."""
    from tether.settings import parse_budget

    limit, requirements = None if budget is None else parse_budget(budget), read_requirements(require)
    from tether import stages

    outcome = stages.rewind(base, adapter, data, out, limit, anchors, requirements)
    _print(outcome.record, outcome.text, as_json)


@app.command()
def inspect(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Hub id, folder, .gguf file or embedded name.")],
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="An adapter or a model folder.")],
    anchors: Anchors = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where page, figure and inspect.json go.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show where a fine-tuning changed its base: weights, blocks, answer tokens, and answers side by side."""
    from tether import stages

    outcome = stages.inspect(base, adapter, out, anchors)
    _print(outcome.record, outcome.text, as_json)


@app.command()
def evaluate(
    base: Base,
    out: Annotated[Path, typer.Option(metavar="FILE.json", help="Where to write; the items lie beside it.")],
    adapter: Adapter = None,
    proficiency: Source = [],  # noqa: B006
    safety: Source = [],  # noqa: B006
    knowledge: Source = [],  # noqa: B006
    limit: Annotated[int | None, typer.Option(min=1, help="So many items of each source.")] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="An earlier evaluation to compare with.")
    ] = None,
    judge: Judge = "rules",
    leaks: Leaks = "refuse",
    max_price: MaxPrice = None,
    requests_per_minute: PerMinute = None,
    require: Require = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Measure a model on the axes that are named."""
    sources = {"proficiency": proficiency, "safety": safety, "knowledge": knowledge}
    if not any(sources.values()):
        fix = "add for example --safety builtin:safety"
        raise UserError("no axis is named", where="--proficiency, --safety, --knowledge", fix=fix)
    asking, requirements = read_asking(max_price, requests_per_minute), read_requirements(require)
    from tether import stages

    outcome = stages.evaluate(base, adapter, sources, limit, out, against, requirements, asking, judge, leaks)
    _print(outcome.record, outcome.text, as_json)


@app.command()
def cancel(out: Annotated[Path, typer.Argument(metavar="DIR")], as_json: Json = False) -> None:
    """End the hosted fine-tuning of a folder."""
    from tether.hosted.cancel import cancel as end

    job = end(out)
    _print({"out": str(out), "job": job.id, "status": job.status}, f"{job.id}: {job.status}", as_json)


@app.command()
def anchors(
    base: Base,
    out: Out,
    prompts: Annotated[
        list[Path],
        typer.Option(metavar="FILE", help="Prompts of your own, a group for each file; may be repeated."),
    ] = [],  # noqa: B006, typer copies it
    as_json: Json = False,
) -> None:
    """Sample what must not change: prompts with the base's own answers."""
    from tether import stages

    outcome = stages.anchors(base, out, prompts=prompts)
    _print(outcome.record, outcome.text, as_json)


@app.command()
def align(base: Base, out: Out, as_json: Json = False) -> None:
    """Teach refusals to a base that has none."""
    from tether.align import align as teach
    from tether.bases import resolve

    teach(resolve(base), out)
    _print({"out": str(out)}, f"Adapter: {out}", as_json)


@app.command()
def chat(
    base: Annotated[
        str | None, typer.Option(help="Hub id, folder, .gguf file or name; with --server its model's name.")
    ] = None,
    adapter: Adapter = None,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="An OpenAI-compatible API, as http://localhost:8000/v1.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Talk to the hotel agent; /quit or the end of input ends it."""
    from tether.agent.terminal import chat as talk

    session = talk(base, adapter, server, quiet=as_json)
    if as_json:
        _print({"messages": session.messages}, "", as_json)


@app.command()
def judge(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Labelled answers, JSONL or CSV.")],
    name: Judge = "rules",
    train: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="Fit a classifier; judge what it has not seen."),
    ] = None,
    fit_on: Annotated[
        str | None, typer.Option(metavar="MODEL,MODEL", help="Fit on these models' answers only.")
    ] = None,
    max_price: MaxPrice = None,
    requests_per_minute: PerMinute = None,
    as_json: Json = False,
) -> None:
    """Tell how well a judge of refusals agrees with people."""
    if fit_on and not train:
        raise UserError(
            "nothing is fitted without a folder to write to", where="--fit-on", fix="add --train OUT"
        )
    if train and name != "rules":
        raise UserError(
            "the judge is the one that is fitted", where="--judge", fix="leave --judge or --train out"
        )
    asking, models = read_asking(max_price, requests_per_minute), read_names(fit_on) or []
    from tether import stages

    outcome = stages.judge(file, name, asking, train, models)
    _print(outcome.record, outcome.text, as_json)


@app.command()
def report(run: Annotated[Path, typer.Argument(metavar="RUN")], as_json: Json = False) -> None:
    """Rebuild a run's page and figures from its records."""
    from tether.report import write_report

    page = write_report(run)
    _print({"report": str(page)}, f"Report: {page}", as_json)


@app.command()
def fetch(name: Annotated[str, typer.Argument(metavar="NAME")], as_json: Json = False) -> None:
    """Bring an embedded model or a public data set onto this machine."""
    from tether.sources import fetch as bring

    path = bring(name)
    _print({"name": name, "path": str(path)}, f"{name}: {path}", as_json)


@app.command()
def methods(as_json: Json = False) -> None:
    """List every method with its paper and options."""
    from tether.methods import registry

    found = registry()
    listed = [
        {"name": method.name, "paper": method.paper, "options": dict(method.options), "doc": method.doc}
        for method in found
    ]
    _print(listed, "\n\n".join(map(_method_text, found)), as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Tell the machine, the versions, and what is missing."""
    from tether.doctor import checks

    found = list(checks())
    lines = [f"{'ok' if check.ok else '!!':3} {check.name:18} {check.value}" for check in found]
    for number, check in enumerate(found):
        lines[number] += f"  ({check.fix})" if check.fix else ""
    _print([dataclasses.asdict(check) for check in found], "\n".join(lines), as_json)


def main() -> None:
    """Run the command line."""
    # What libraries tell each other of their next versions is nothing that a user of the commands can act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|peft)(\.|$)")
    run_to_exit(app)


def _print(value: Any, text: str, as_json: bool) -> None:
    print(json.dumps(value, ensure_ascii=False) if as_json else text)


def _plain(value: Any) -> Any:
    """What a room returned, as JSON has it."""
    return value.model_dump(mode="json", by_alias=True)


def _method_text(method: Method) -> str:
    options = " ".join(f"{key}={value}" for key, value in method.options.items())
    return f"{method.name}  {method.paper}\n  {method.doc}\n  {options}"


if __name__ == "__main__":
    main()
