"""Where a base comes from - a hub id, a folder, a GGUF file, an embedded name - and how it is loaded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tether.embedded import GGUF_SHA256, dequantise, smollm2
from tether.errors import UserError
from tether.files import cache_folder, make_once, read_json, sha256_of
from tether.progress import say

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

RECORD_FILE = "tuned.json"  # left beside tuned weights: what they were made from, and how
EMBEDDED = ("smollm2-135m", "smollm2-135m-aligned")


@dataclass(frozen=True)
class Base:
    """A base model that can be loaded.

    Attributes:
        name: What the user called it, and what adapters name as their base.
        location: A folder with safetensors, or a hub id.
        revision: A hub commit, or the sha256 of what the folder was made from; of a user's own folder, of
            its configuration and weights.
        licence: SPDX identifier where known.
    """

    name: str
    location: str
    revision: str
    licence: str = "unknown"


def resolve(name: str) -> Base:
    """Find a base by name and make it ready to load.

    Raises:
        UserError: The name is neither an embedded base, a folder, a GGUF file nor a plausible hub id.
    """
    if name == "smollm2-135m":
        return Base(name, str(smollm2()), GGUF_SHA256, "Apache-2.0")
    if name == "smollm2-135m-aligned":
        folder, revision = _smollm2_aligned()
        return Base(name, str(folder), revision, "Apache-2.0")
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        return _gguf_base(path)
    if path.is_dir():
        return _folder_base(path)
    return _hub_base(name)


def load_tokenizer(base: Base) -> PreTrainedTokenizerBase:
    """The base's tokenizer, with a pad token."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.location, **_hub_revision(base))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(base: Base, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The base's weights on the best device at hand, in ``dtype`` (`precision` unless told), in eval mode."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # our own says what is under way; this one is over in a moment
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        base.location, dtype=dtype or precision(), **_hub_revision(base)
    )
    model.to(best_device())  # type: ignore[arg-type]
    model.eval()
    return model


def to_bfloat16(model: PreTrainedModel, held: torch.dtype | None = None) -> None:
    """Weights to the precision of a published model; buffers, such as rotary frequencies, keep theirs.

    Args:
        model: Its weights are replaced.
        held: What the rounded weights are kept in, to be computed with; bfloat16 unless told.
    """
    import torch

    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).to(held or torch.bfloat16)


def load_adapter(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """Put a PEFT adapter on ``model`` and merge it in, for evaluation at the base's speed.

    Raises:
        UserError: The folder is not an adapter, or it was made for another architecture.
    """
    merged: PreTrainedModel = _put(model, adapter).merge_and_unload()
    merged.eval()
    return merged


def put_lora(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """Put a LoRA on ``model`` and leave it apart, so that it can be changed.

    Raises:
        UserError: The folder is no plain LoRA, or it was made for another architecture.
    """
    if not is_plain_lora(adapter):
        raise UserError(
            "this is no plain LoRA adapter, and only of such can the update be told apart",
            where=str(adapter),
            fix="name the folder of a LoRA without DoRA, bias, modules_to_save and target_parameters",
        )
    wrapped: Any = _put(model, adapter)
    wrapped.eval()
    return wrapped  # type: ignore[no-any-return]


def is_plain_lora(folder: Path) -> bool:
    """Whether ``folder`` holds a LoRA whose whole update is B A."""
    about = read_json(folder / "adapter_config.json") or {}
    more = [about.get(key) for key in ("use_dora", "modules_to_save", "lora_bias", "target_parameters")]
    return about.get("peft_type") == "LORA" and about.get("bias", "none") == "none" and not any(more)


def _put(model: PreTrainedModel, adapter: Path) -> Any:
    from peft import PeftModel
    from safetensors import SafetensorError

    _check_weights(adapter)
    try:
        wrapped = PeftModel.from_pretrained(model, str(adapter))
        _check_layers(wrapped, adapter)
    except (ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"the adapter does not fit this base ({error})",
            where=str(adapter),
            fix="name the base it was trained on",
        ) from error
    return wrapped


def _check_layers(model: PeftModel, adapter: Path) -> None:
    """PEFT passes over weights of layers that a base does not have, and over layers without weights."""
    from peft import get_peft_model_state_dict
    from peft.utils import load_peft_weights

    wanted = get_peft_model_state_dict(model, save_embedding_layers=False).keys()
    found = load_peft_weights(str(adapter), device="cpu").keys()
    extra = [name for name in found - wanted if not name.endswith(("embed_tokens.weight", "lm_head.weight"))]
    if odd := [*extra, *(wanted - found)]:
        raise ValueError(f"{len(odd)} weights are only in one of the two, {min(odd)} among them")


def is_adapter(folder: Path) -> bool:
    """Whether ``folder`` holds a PEFT adapter (else it should hold a whole model)."""
    return (folder / "adapter_config.json").is_file()


def load_tuned(base: Base, tuned: Path | None, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The base itself, the base with an adapter folder merged in, or the model in a folder."""
    if tuned is None:
        return load_model(base, dtype)
    record = read_json(tuned / RECORD_FILE)
    if record and record["revision"] != base.revision:
        say(f"[bold]{tuned} was tuned on {record['base']}, not on {base.name} as it is now.[/]")
    if is_adapter(tuned):
        return load_adapter(load_model(base, dtype), tuned)
    _check_folder(tuned)
    return load_model(Base(str(tuned), str(tuned), base.revision), dtype)


def best_device() -> str:
    """The accelerator if there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def precision() -> torch.dtype:
    """What the best device computes in: bfloat16, or float32 where its products of bfloat16 would crawl.

    Without AVX-512, AMX or Arm's own instructions torch multiplies bfloat16 number by number: on a Zen 3 it
    learns 14 times slower than in float32 (docs/results.md, "Processors without bfloat16").
    """
    import torch

    if best_device() == "cuda":
        return torch.bfloat16
    # A torch without oneDNN (a Mac's) has not even the question.
    fast = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def precision_name() -> str:
    """`precision` in a word: bfloat16 or float32."""
    return str(precision()).removeprefix("torch.")


def _hub_revision(base: Base) -> dict[str, Any]:
    return {} if Path(base.location).is_dir() else {"revision": base.revision}


def _folder_base(path: Path) -> Base:
    _check_folder(path)
    return Base(str(path), str(path), contents(path))


def _check_folder(path: Path) -> None:
    if not (path / "config.json").is_file():
        raise UserError(
            "no config.json in this folder, so it holds no model",
            where=str(path),
            fix="name a folder written by save_pretrained, or a hub id",
        )
    _check_weights(path)


def _check_weights(folder: Path) -> None:
    """Left to themselves, transformers and PEFT would look for missing weights on the hub."""
    if not any(file.suffix in (".safetensors", ".bin") for file in folder.glob("*")):
        raise UserError(
            "there are no weights in this folder",
            where=str(folder),
            fix="name one that save_pretrained has finished writing",
        )


def contents(folder: Path) -> str:
    """Checksum of a model's or an adapter's folder: what is known of other weights there is not theirs."""
    configs = (folder / "config.json", folder / "adapter_config.json")
    weights = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    files = [*filter(Path.is_file, configs), *weights]
    return hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()


def _hub_base(name: str) -> Base:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"there is no model folder or file at '{name}'", fix="check the path")
    try:
        info = HfApi().model_info(name, timeout=20)
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise UserError(
            f"'{name}' is no embedded base ({', '.join(EMBEDDED)}), no folder, no .gguf file "
            "and no model on the hub",
            fix="check the name; a private model needs HF_TOKEN",
        ) from error
    except Exception as error:  # every kind of network failure that the hub client's transport may raise
        raise UserError(
            f"'{name}' is not on this machine and the hub cannot be reached ({type(error).__name__})",
            fix=f"give a local folder, or an embedded base: {', '.join(EMBEDDED)}",
        ) from error
    licence = info.card_data.get("license") if info.card_data else None
    return Base(name, name, str(info.sha), str(licence or "unknown"))


def _gguf_base(path: Path) -> Base:
    if not path.is_file():
        raise UserError("no such GGUF file", where=str(path))
    digest = sha256_of(path)
    folder = cache_folder() / "bases" / f"gguf-{digest[:16]}"
    make_once(folder, lambda target: dequantise(path, target))
    return Base(str(path), str(folder), digest)


def _smollm2_aligned() -> tuple[Path, str]:
    """The embedded base with the refusals that `tether align` taught it, shipped as a LoRA."""
    with resources.as_file(resources.files("tether.data") / "aligned") as adapter:
        weights = adapter / "adapter_model.safetensors"
        revision = sha256_of(weights)
        folder = cache_folder() / "bases" / f"smollm2-135m-aligned-{revision[:16]}"

        def build(target: Path) -> None:
            plain = resolve("smollm2-135m")
            load_adapter(load_model(plain), adapter).save_pretrained(target)
            load_tokenizer(plain).save_pretrained(target)

        make_once(folder, build)
    return folder, revision
