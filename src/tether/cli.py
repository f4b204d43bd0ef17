"""The commands: each parses, calls one function of a room, and prints.

Whatever is slow to import is imported inside the command that needs it, after its options are checked: help
and mistakes are answered at once.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tether.errors import RequirementNotMet, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tether.config import Asking
    from tether.methods import Method
    from tether.requirements import Requirement

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# What the disk can do to anybody, and what to tell them.
DISK_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission is denied",
}

Base = Annotated[
    str,
    typer.Option(help="Hub id, folder, .gguf file, smollm2-135m[-aligned], or openai:MODEL, together:MODEL."),
]
Out = Annotated[Path, typer.Option(help="Where to write.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", help="Agree to what hosted fine-tuning costs.")]
Require = Annotated[
    list[str], typer.Option(metavar="AXIS.FIELD>=N", help="Exit with 3 unless it holds; may be repeated.")
]
Judge = Annotated[
    str,
    typer.Option("--judge", metavar="NAME", help="rules, classifier:FOLDER, local:FOLDER or openai:MODEL."),
]
Leaks = Annotated[
    Literal["refuse", "drop", "allow"],
    typer.Option(help="Prompts that the model was trained on: refuse to measure, leave out, or keep."),
]
MaxPrice = Annotated[float | None, typer.Option(min=0, help="Dollars that asking a hosted model may cost.")]
PerMinute = Annotated[int | None, typer.Option(min=1, help="Requests to a hosted model, at most.")]
Source = Annotated[list[str], typer.Option(metavar="FILE", help="A file, or a set by name; may be repeated.")]


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
    from tether.config import load_study

    plan, requirements = load_study(study), _requirements(require)
    chosen_methods, chosen_seeds = _names(methods), _numbers(seeds)
    if dry_run:
        from tether import checking

        lines = checking.check(plan)
        _print({"study": str(study), "checks": lines}, "\n".join(lines), as_json)
        return
    if out is None:
        raise UserError("a run needs a folder", where="--out", fix="add --out runs/NAME, or --dry-run")
    if plan.then:
        from tether import sequence as story
    else:
        from tether import study as story  # type: ignore[no-redef]
    from tether.report import summary_text
    from tether.requirements import check_requirements

    if jobs > 1:
        from tether.parallel import side_by_side

        side_by_side(plan, out, jobs, chosen_methods, chosen_seeds, study)
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
    budget: Annotated[
        str | None, typer.Option(help="Drift allowed: 0.02, or general=0.02,safety=0.005.")
    ] = None,
    anchors: Annotated[Path | None, typer.Option(metavar="DIR", help="From `tether anchors`.")] = None,
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
    chosen, requirements = parse_settings(settings), _requirements(require)
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
    budget: Annotated[
        str | None, typer.Option(help="Drift allowed: 0.02, or general=0.02,safety=0.005.")
    ] = None,
    anchors: Annotated[Path | None, typer.Option(metavar="DIR", help="From `tether anchors`.")] = None,
    require: Require = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Hold a LoRA that is trained already under a drift budget, without training."""
    from tether.settings import parse_budget

    limit, requirements = None if budget is None else parse_budget(budget), _requirements(require)
    from tether import stages

    outcome = stages.rewind(base, adapter, data, out, limit, anchors, requirements)
    _print(outcome.record, outcome.text, as_json)


@app.command()
def inspect(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Hub id, folder, .gguf file or embedded name.")],
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="An adapter or a model folder.")],
    anchors: Annotated[Path | None, typer.Option(metavar="DIR", help="From `tether anchors`.")] = None,
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
    adapter: Annotated[Path | None, typer.Option(metavar="DIR", help="An adapter or a model folder.")] = None,
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
    asking, requirements = _asking(max_price, requests_per_minute), _requirements(require)
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
    adapter: Annotated[Path | None, typer.Option(metavar="DIR", help="An adapter or a model folder.")] = None,
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
    asking, models = _asking(max_price, requests_per_minute), _names(fit_on) or []
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
    """Run the command line; the one place where exit codes are decided."""
    # What libraries tell each other of their next versions is nothing that a user of the commands can act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|peft)(\.|$)")
    try:
        app()
    except UserError as error:
        _stop(str(error), 2)
    except RequirementNotMet as error:
        _stop(f"Requirement not met: {error}", 3)
    except Exception as error:
        excuse = _excuse(error)
        if excuse:
            _stop(excuse, 2)
        traceback.print_exc()
        _stop("This is a fault in tether: please report it with the lines above and `tether doctor`.", 1)


def _stop(text: str, code: int) -> None:
    print(text, file=sys.stderr)
    sys.exit(code)


def _excuse(error: BaseException) -> str | None:
    """A sentence for what the machine, not tether, got wrong; libraries wrap such errors in their own."""
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in DISK_ERRORS:
            place = f" at {cause.filename}" if cause.filename else ""
            return f"Nothing can be written{place}: {DISK_ERRORS[cause.errno]}. {_GO_ON}"
        if "No space left on device" in str(cause):
            return f"Nothing can be written: {DISK_ERRORS[errno.ENOSPC]}. {_GO_ON}"
        if type(cause).__name__ == "OutOfMemoryError":
            return f"The accelerator's memory is used up. Make batch_tokens or max_length smaller. {_GO_ON}"
    return None


_GO_ON = "What is done is kept: the same command goes on from there."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _print(value: Any, text: str, as_json: bool) -> None:
    print(json.dumps(value, ensure_ascii=False) if as_json else text)


def _plain(value: Any) -> Any:
    """What a room returned, as JSON has it."""
    return value.model_dump(mode="json", by_alias=True)


def _requirements(texts: list[str]) -> list[Requirement]:
    from tether.requirements import parse_requirement

    return [parse_requirement(text) for text in texts]


def _asking(max_price: float | None, requests_per_minute: int | None) -> Asking:
    from tether.config import Asking

    limits = {"max_price": max_price, "requests_per_minute": requests_per_minute}
    return Asking.model_validate({key: value for key, value in limits.items() if value is not None})


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def _numbers(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(number) for number in text.split(",")]
    except ValueError:
        raise UserError(f"'{text}' is no list of seeds", where="--seeds", fix="write --seeds 0,1,2") from None


def _method_text(method: Method) -> str:
    options = " ".join(f"{key}={value}" for key, value in method.options.items())
    return f"{method.name}  {method.paper}\n  {method.doc}\n  {options}"


if __name__ == "__main__":
    main()
