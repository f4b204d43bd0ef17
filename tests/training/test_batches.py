from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from tether.chatdata.rendering import Encoded
from tether.training.batches import IGNORED, TokenBatches, as_row, collate

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=60)


@given(LENGTHS, st.integers(1, 200), st.integers(0, 5), st.integers(0, 3))
def test_every_row_comes_once_an_epoch_in_batches_that_fit(
    lengths: list[int], tokens: int, seed: int, epoch: int
) -> None:
    sampler = TokenBatches(lengths, tokens, seed)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert len(batches) == len(sampler)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= tokens


def test_the_order_is_the_seeds_and_each_epoch_has_its_own() -> None:
    lengths = list(range(10, 60))

    def order(seed: int, epoch: int) -> list[list[int]]:
        sampler = TokenBatches(lengths, 120, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_rows_of_like_length_waste_little() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(20, 400, (300,), generator=generator).tolist()
    padded = sum(len(b) * max(lengths[i] for i in b) for b in TokenBatches(lengths, 1024, 0))
    assert sum(lengths) / padded > 0.95


def test_a_chat_becomes_a_row_and_rows_a_batch() -> None:
    row = as_row(Encoded([5, 6, 7], [False, True, True]))
    assert row == {"input_ids": [5, 6, 7], "labels": [IGNORED, 6, 7]}
    batch = collate([row, {"input_ids": [8], "labels": [8]}], pad_id=0)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, 6, 7], [8, IGNORED, IGNORED]]
    assert int(batch["tokens"]) == 4
    assert batch["weights"].tolist() == [1, 1]
    assert collate([{**row, "weight": 0.5}], pad_id=0)["weights"].tolist() == [0.5]
