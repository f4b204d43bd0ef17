"""A real but tiny base: it has learned to babble of hotels, in a few seconds and without a network."""

from __future__ import annotations

import os

# One thread is fastest for a model this small, and a test must not depend on the hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings as hypothesis_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base
    from tether.chatdata.chats import Chat
    from tether.config import Training
    from tether.inference import LocalModel

# A deadline measures how busy the machine is.
hypothesis_settings.register_profile("tether", deadline=None)
hypothesis_settings.load_profile("tether")

CHATML = """{% for message in messages %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""
VOCABULARY = 512
LESSONS = 80  # steps of its education


@pytest.fixture(scope="session")
def hotels() -> list[Chat]:
    """Dialogues to train on."""
    from tether.agent import generate

    return generate(24, seed=1, split="train")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, hotels: list[Chat]) -> Path:
    """Folder of a two-layer Llama with a chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny")
    texts = [str(message["content"]) for chat in hotels for message in chat.messages]
    tokenizer = _tokenizer(texts)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    turns = [f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n{text}<|im_end|>" for text in texts]
    _teach(model, [tokenizer(turn)["input_ids"] for turn in turns], tokenizer.pad_token_id)
    model.to(torch.bfloat16).save_pretrained(folder)  # as models are given out
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(texts: list[str]):  # type: ignore[no-untyped-def]
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<pad>",
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def _teach(model, rows: list[list[int]], pad_id: int) -> None:  # type: ignore[no-untyped-def]
    import torch

    from tether.reading import pad

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    order = torch.Generator().manual_seed(0)
    for _ in range(LESSONS):
        picked = torch.randint(len(rows), (16,), generator=order).tolist()
        ids, mask = pad([rows[index] for index in picked], pad_id)
        model(input_ids=ids, labels=ids.masked_fill(mask == 0, -100)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tether's cache, for this session only."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TETHER_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def base(tiny: Path, cache: Path) -> Base:
    """The tiny base by its folder."""
    from tether import bases

    return bases.resolve(str(tiny))


@pytest.fixture(scope="session")
def anchors(base: Base) -> AnchorSet:
    """A few anchors of the tiny base, where `anchors_for` finds them."""
    from tether.anchors import store
    from tether.anchors.build import AnchorSettings

    settings = AnchorSettings(
        general={"train": 6, "select": 4, "certify": 5},
        safety={"train": 4, "select": 2, "certify": 3},
        lookalikes={"train": 2, "select": 2, "certify": 2},
        text={"train": 6, "select": 4, "certify": 5},
        answer_tokens=8,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "AnchorSettings", lambda: settings)
        return store.anchors_for(base)


@pytest.fixture
def live(base: Base) -> LocalModel:
    """The tiny base in float32, so that two ways of computing the same agree to many digits."""
    import torch

    from tether import bases
    from tether.inference import LocalModel

    model = bases.load_model(base, torch.float32)
    return LocalModel(model, bases.load_tokenizer(base), "tiny")


@pytest.fixture(scope="session")
def quick() -> Training:
    """A few small steps."""
    from tether.config import Training

    return Training(max_steps=4, batch_tokens=2048, save_steps=2, warmup=0.25)


@pytest.fixture(scope="session")
def told() -> Sequence[str]:
    """Prompts of different lengths."""
    return ["Hi", "I need a room in Rome for two nights.", "What is the price of the hotel near the station?"]
