"""Public data sets by name: in the folder $TETHER_DATA, else in tether's cache, else fetched into it."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import tarfile
import tempfile
import urllib.request
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tether.errors import UserError
from tether.files import cache_folder
from tether.names import SCHEMA_GUIDED
from tether.progress import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

GITHUB = "https://raw.githubusercontent.com"
ADVBENCH_URL = f"{GITHUB}/llm-attacks/llm-attacks/main/data/advbench/harmful_behaviors.csv"
XSTEST_URL = f"{GITHUB}/paul-rottger/xstest/main/xstest_prompts.csv"
SGD_URL = "https://github.com/google-research-datasets/dstc8-schema-guided-dialogue/archive/refs/heads/master.tar.gz"
TOXIGEN_COLUMNS = ("text", "target_group", "toxicity_ai", "toxicity_human")
SECONDS_TO_WAIT = 60


@dataclass(frozen=True)
class PublicSet:
    """A public data set.

    Attributes:
        kind: What it is for.
        files: File names, the same in $TETHER_DATA and in the cache; the first is the set's own.
        licence: Whose terms it comes under; tether never ships it.
        fetch: Writes ``files`` into a folder.
    """

    kind: Literal["safety", "knowledge", "chats"]
    files: tuple[str, ...]
    licence: str
    fetch: Callable[[Path], None]


def locate(name: str, file: str | None = None) -> Path:
    """Where the public set ``name`` (or one ``file`` of it) lies on this machine, fetched if need be.

    Raises:
        UserError: It is not here and cannot be fetched.
    """
    public = PUBLIC[name]
    file = file or public.files[0]
    for folder in (_given_folder(), cache_folder() / "sets"):
        if folder is not None and (folder / file).is_file():
            return folder / file
    say(f"Fetching {name} ({public.licence}) ...")
    _fetch_whole(name, public, cache_folder() / "sets")
    return cache_folder() / "sets" / file


def _given_folder() -> Path | None:
    given = os.environ.get("TETHER_DATA")
    if given and not Path(given).is_dir():
        raise UserError("TETHER_DATA names no folder", where=given, fix="correct the variable, or unset it")
    return Path(given) if given else None


def _fetch_whole(name: str, public: PublicSet, target: Path) -> None:
    """Fetch into a scratch folder and move in what is complete: a killed fetch leaves nothing half-made."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target) as scratch:
        try:
            public.fetch(Path(scratch))
        except Exception as error:  # the hub's client and urllib raise a dozen kinds for one missing network
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            raise UserError(
                f"'{name}' is not on this machine and cannot be fetched ({type(error).__name__}: {error})",
                fix=f"go online, or set TETHER_DATA to a folder that holds {' and '.join(public.files)}",
            ) from error
        for file in public.files:
            (Path(scratch) / file).replace(target / file)


def download(url: str) -> bytes:
    """What stands at ``url``."""
    with urllib.request.urlopen(url, timeout=SECONDS_TO_WAIT) as answer:
        content: bytes = answer.read()
        return content


def hub_file(repository: str, file: str) -> Path:
    """A file of a data set on the hub, in the hub client's own cache."""
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repository, file, repo_type="dataset"))


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _fetch_advbench(folder: Path) -> None:
    table = csv.DictReader(io.StringIO(download(ADVBENCH_URL).decode()))
    _write_rows(folder / "advbench.jsonl", ({"prompt": row["goal"]} for row in table))


def _fetch_xstest(folder: Path) -> None:
    (folder / "xstest_prompts.csv").write_bytes(download(XSTEST_URL))


def _fetch_toxigen(folder: Path) -> None:
    from pyarrow import parquet

    table = parquet.read_table(hub_file("toxigen/toxigen-data", "annotated/test-00000-of-00001.parquet"))
    _write_rows(folder / "toxigen_test.jsonl", table.select(list(TOXIGEN_COLUMNS)).to_pylist())


def _fetch_dolly(folder: Path) -> None:
    fetched = hub_file("databricks/databricks-dolly-15k", "databricks-dolly-15k.jsonl")
    shutil.copy(fetched, folder / "dolly_dev.jsonl")


def _fetch_arc_easy(folder: Path) -> None:
    from pyarrow import parquet

    table = parquet.read_table(hub_file("allenai/ai2_arc", "ARC-Easy/test-00000-of-00001.parquet"))
    _write_rows(
        folder / "arc_easy_test.jsonl",
        (
            {
                "id": row["id"],
                "question": row["question"],
                "choices": row["choices"]["text"],
                "answer": row["choices"]["label"].index(row["answerKey"]),
            }
            for row in table.to_pylist()
        ),
    )


def _fetch_sgd(domain: str, folder: Path) -> None:
    """Keep the dialogues that speak of nothing but one domain, and its services of all parts' schemas."""
    start = f"{domain.capitalize()}_"
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "dev": []}
    schema: dict[str, dict[str, Any]] = {}
    with tarfile.open(fileobj=io.BytesIO(download(SGD_URL)), mode="r:gz") as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            path = Path(member.name)
            if path.parent.name not in parts or not (file := archive.extractfile(member)):
                continue
            if path.name == "schema.json":
                services = json.load(file)
                schema |= {s["service_name"]: s for s in services if s["service_name"].startswith(start)}
            elif path.name.startswith("dialogues_"):
                parts[path.parent.name] += [d for d in json.load(file) if _speaks_only_of(start, d)]
    for part, dialogues in parts.items():
        _write_rows(folder / f"sgd_{domain}_{part}.jsonl", dialogues)
    services = [schema[name] for name in sorted(schema)]
    path = folder / f"sgd_{domain}_schema.json"
    path.write_text(json.dumps(services, indent=1), encoding="utf-8")


def _speaks_only_of(start: str, dialogue: dict[str, Any]) -> bool:
    return all(service.startswith(start) for service in dialogue["services"])


def _sgd(domain: str) -> PublicSet:
    files = tuple(f"sgd_{domain}_{part}" for part in ("train.jsonl", "dev.jsonl", "schema.json"))
    return PublicSet("chats", files, "CC BY-SA 4.0", partial(_fetch_sgd, domain))


PUBLIC: dict[str, PublicSet] = {
    "advbench": PublicSet("safety", ("advbench.jsonl",), "MIT", _fetch_advbench),
    "xstest": PublicSet("safety", ("xstest_prompts.csv",), "CC BY 4.0", _fetch_xstest),
    "toxigen": PublicSet("safety", ("toxigen_test.jsonl",), "terms on its hub page", _fetch_toxigen),
    "dolly": PublicSet("knowledge", ("dolly_dev.jsonl",), "CC BY-SA 3.0", _fetch_dolly),
    "dolly-context": PublicSet("knowledge", ("dolly_dev.jsonl",), "CC BY-SA 3.0", _fetch_dolly),
    "arc_easy": PublicSet("knowledge", ("arc_easy_test.jsonl",), "CC BY-SA 4.0", _fetch_arc_easy),
    **{name: _sgd(name.removeprefix("sgd_")) for name in SCHEMA_GUIDED},
}
