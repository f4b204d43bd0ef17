"""What a result was measured on: versions and machine."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("tether", "torch", "transformers", "peft", "trl", "accelerate", "datasets", "numpy", "scipy")


def environment() -> dict[str, Any]:
    """Versions, processor, accelerator and the time now (UTC), for the record."""
    import torch

    from tether import bases

    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "precision": bases.precision_name(),
        "date": now(),
    }


def machine(told: dict[str, Any]) -> str:
    """An `environment` in a few words."""
    return f"{told['accelerator'] or told['processor']}, torch {told['packages']['torch']}"


def now() -> str:
    """The time now in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    """The installed version; None where a package, tether itself say, is run from a checkout."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
