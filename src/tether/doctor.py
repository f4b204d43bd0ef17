"""What a bug report needs to say: the machine, the versions, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import urllib.request
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from tether import bases
from tether.bases import EMBEDDED
from tether.files import cache_folder
from tether.sources.public import PUBLIC

if TYPE_CHECKING:
    from collections.abc import Iterator

HUB = "https://huggingface.co"
SECONDS_FOR_HUB = 3
GIB = 1 << 30
FREE_GIB_WANTED = 5


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: What was looked at.
        value: What was found.
        ok: Whether tether can work with it.
        fix: What to do about it.
    """

    name: str
    value: str
    ok: bool = True
    fix: str = ""


def checks() -> Iterator[Check]:
    """Look at everything; takes a few seconds, most of them torch's import."""
    yield Check("python", f"{platform.python_version()} on {platform.platform()}")
    yield from _packages()
    yield from _machine()
    yield from _accelerators()
    yield from _places()
    yield _hub()


def _packages() -> Iterator[Check]:
    """Each requirement of tether's own metadata, and of its extras, against what is installed."""
    from packaging.requirements import Requirement

    try:
        requirements = metadata.requires("tether") or []
    except metadata.PackageNotFoundError:
        yield Check("tether", "run from its source, not installed", False, "pip install -e .")
        return
    yield Check("tether", metadata.version("tether"))
    for text in requirements:
        requirement = Requirement(text)
        extra = next((name for name in _extras() if _asked_by(requirement.marker, name)), "")
        if extra == "dev":
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            fix = f"pip install '{requirement.name}{requirement.specifier}'"
            value = f"not installed (extra {extra})" if extra else "not installed"
            yield Check(requirement.name, value, bool(extra), fix)
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        fix = "" if fits else f"pip install '{requirement.name}{requirement.specifier}'"
        yield Check(requirement.name, version, fits, fix)


def _extras() -> list[str]:
    return metadata.metadata("tether").get_all("Provides-Extra") or []


def _asked_by(marker: object, extra: str) -> bool:
    return marker is not None and f'extra == "{extra}"' in str(marker)


def _machine() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("cores", str(cores))
    if "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        yield Check("memory", f"{memory / GIB:.1f} GiB")
    folder = cache_folder()
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / GIB
    enough = free >= FREE_GIB_WANTED
    yield Check("free disk", f"{free:.1f} GiB", enough, "" if enough else f"{FREE_GIB_WANTED} GiB are wanted")


def _accelerators() -> Iterator[Check]:
    try:
        import torch
    except ImportError:  # told among the packages already
        return
    if not torch.cuda.is_available():
        yield Check("accelerator", "none: the embedded base trains on the CPU, larger ones hardly")
    slow = "" if bases.precision() == torch.bfloat16 else ", for bfloat16 is slow on this processor"
    yield Check("computes in", bases.precision_name() + slow)
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        kind = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
        yield Check("accelerator", f"{properties.name}, {properties.total_memory / GIB:.0f} GiB, {kind}")


def _places() -> Iterator[Check]:
    yield Check("cache", str(cache_folder()))
    for name in EMBEDDED:
        here = any((cache_folder() / "bases").glob(name if name == EMBEDDED[0] else f"{name}-*"))
        yield Check(name, "here" if here else "not fetched yet", True, "" if here else f"tether fetch {name}")
    given = os.environ.get("TETHER_DATA")
    if not given:
        yield Check("TETHER_DATA", "not set: public sets are fetched when a study names them")
        return
    folder = Path(given)
    held = [name for name, public in PUBLIC.items() if (folder / public.files[0]).is_file()]
    fix = "" if folder.is_dir() else "this is no folder: correct the variable, or unset it"
    yield Check("TETHER_DATA", f"{given}: {', '.join(held) or 'no public set'}", folder.is_dir(), fix)


def _hub() -> Check:
    url = os.environ.get("HF_ENDPOINT", HUB)
    try:
        with urllib.request.urlopen(url, timeout=SECONDS_FOR_HUB):
            return Check("hub", f"{url} answers")
    except (OSError, ValueError) as error:
        fix = "embedded bases, local folders and built-in sets work without it"
        return Check("hub", f"{url} does not answer ({error})", True, fix)
