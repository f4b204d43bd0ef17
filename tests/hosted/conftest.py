"""The stand-ins, with the environment that leads the SDKs to them."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest
from servers.openai import OpenAIServer
from servers.standin import KEY
from servers.together import TogetherServer

from tether.chatdata.chats import Chat

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

TOOL = {
    "name": "find",
    "description": "Find hotels.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def talk(number: int) -> Chat:
    """A dialogue with a call."""
    messages = (
        {"role": "system", "content": "You book hotels."},
        {"role": "user", "content": f"A room in Rome for {number}, please."},
        {"role": "assistant", "content": "", "tool_calls": [{"name": "find", "arguments": {"city": "Rome"}}]},
        {"role": "tool", "content": '{"hotels": ["Roma é"]}'},
        {"role": "assistant", "content": "There is the Roma é."},
    )
    return Chat(f"talk-{number}", messages, (TOOL,), f"talks.jsonl:{number + 1}")


@pytest.fixture(scope="session")
def talks() -> list[Chat]:
    """As many as OpenAI wants at least, and two more."""
    return [talk(number) for number in range(12)]


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own environment may reach a live service."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "TOGETHER_API_KEY", "TOGETHER_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def openai_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    server = OpenAIServer()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    yield server
    server.close()


@pytest.fixture
def together_server(monkeypatch: pytest.MonkeyPatch, packed_adapter: bytes) -> Iterator[TogetherServer]:
    server = TogetherServer(archive=packed_adapter)
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    monkeypatch.setenv("TOGETHER_BASE_URL", server.address)
    yield server
    server.close()


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA that fits the tiny base, as a service would have trained it: it moves every weight a little."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(1)
    weights = {}
    for layer in (0, 1):
        for name, out in (("q_proj", 32), ("v_proj", 16)):
            place = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            weights[f"{place}.lora_A.weight"] = torch.randn(4, 32) * 0.2
            weights[f"{place}.lora_B.weight"] = torch.randn(out, 4) * 0.2
    save_file(weights, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    config |= {"task_type": "CAUSAL_LM", "base_model_name_or_path": "tiny/local", "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def packed_adapter(adapter: Path) -> bytes:
    """The adapter's archive."""
    return packed({path.name: path.read_bytes() for path in sorted(adapter.iterdir())})


def packed(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    """An archive of files by name."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return whole.getvalue()
