"""What rows begin with is read once, and nothing of what the model says changes by it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import MambaConfig, MambaForCausalLM, MistralConfig, MistralForCausalLM
from transformers.cache_utils import DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tether.attention import GROUPED, grouped_attention, reads
from tether.cache import LEAST_ROOM, RoomyLayer, roomy_cache
from tether.inference import LocalModel
from tether.passes import SIZES
from tether.reading import Opening, batches_by_length, pad, shared_length

if TYPE_CHECKING:
    from tether.chatdata.chats import Chat

LENGTHS = st.lists(st.integers(0, 200), max_size=40)


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), max_size=5))
def test_rows_share_what_all_begin_with_and_keep_a_token_each(rows: list[list[int]]) -> None:
    length = shared_length(rows)
    if len(rows) < 2:
        assert length == 0
    else:
        assert all(row[:length] == rows[0][:length] and len(row) > length for row in rows)
        longer = {tuple(row[: length + 1]) for row in rows}
        assert len(longer) > 1 or min(map(len, rows)) == length + 1


@given(LENGTHS, st.integers(1, 400), st.integers(0, 80), st.integers(1, 10))
def test_every_row_stands_in_one_batch_that_fits(
    lengths: list[int], tokens: int, padding: int, most: int
) -> None:
    sizes = replace(SIZES["cpu"], tokens=tokens, padding=padding)
    batches = list(batches_by_length(lengths, sizes, most))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = lengths[batch[0]]
        assert len(batch) == 1 or len(batch) * longest <= tokens
        assert len(batch) <= most
        assert sum(longest - lengths[index] for index in batch) <= padding


def test_rows_are_padded_on_the_side_that_is_asked() -> None:
    ids, mask = pad([[1, 2, 3], [4]], 9)
    assert ids.tolist() == [[1, 2, 3], [4, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    ids, mask = pad([[1, 2, 3], [4]], 9, left=True)
    assert ids.tolist() == [[1, 2, 3], [9, 9, 4]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_a_roomy_cache_holds_what_transformers_own_holds(live: LocalModel) -> None:
    roomy, plain = roomy_cache(live.model.config), DynamicCache(config=live.model.config)
    generator = torch.Generator().manual_seed(0)
    for count in (5, 1, 1, LEAST_ROOM, 1, 1):
        keys, values = torch.randn(2, 3, 2, count, 8, generator=generator)
        for layer in range(2):
            for mine, theirs in zip(
                roomy.update(keys + layer, values, layer),
                plain.update(keys + layer, values, layer),
                strict=True,
            ):
                assert torch.equal(mine, theirs)
        if count == LEAST_ROOM:  # rows that are done leave
            for cache in (roomy, plain):
                cache.batch_repeat_interleave(2)
                cache.batch_select_indices(torch.tensor([0, 4, 5]))
            break
    assert roomy.get_seq_length() == plain.get_seq_length() == 7 + LEAST_ROOM
    more = torch.randn(2, 3, 2, 1, 8, generator=generator)
    for mine, theirs in zip(roomy.update(*more, 0), plain.update(*more, 0), strict=True):
        assert torch.equal(mine, theirs)


def test_a_roomy_cache_copies_only_when_it_is_full(live: LocalModel) -> None:
    cache = roomy_cache(live.model.config)
    first = torch.randn(1, 2, 5, 8)
    keys, _ = cache.update(first, first, 0)
    one = torch.randn(1, 2, 1, 8)
    again, _ = cache.update(one, one, 0)
    assert again.data_ptr() == keys.data_ptr()


def test_a_whole_buffer_has_the_size_that_was_foretold() -> None:
    layer = RoomyLayer(whole=True)
    for count in (3, 1, LEAST_ROOM, 200, 1):
        foretold, _ = layer.get_mask_sizes(count)
        keys, values = layer.update(*torch.randn(2, 1, 2, count, 8))
        assert keys.shape == values.shape == (1, 2, foretold, 8)
        assert not keys[:, :, layer.get_seq_length() :].any()
    assert keys.is_contiguous()


@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("new", [1, 3])
def test_grouped_attention_is_attention(key_heads: int, new: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, new, 8, generator=generator)
    key, value = torch.randn(2, 2, key_heads, 6, 8, generator=generator)
    mask = torch.rand(2, 1, new, 6, generator=generator) < 0.6
    mask[:, :, :, 0] = True
    module = torch.nn.Module()
    module.num_key_value_groups = 4 // key_heads  # type: ignore[assignment]
    expected, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=0.3)
    found, _ = grouped_attention(module, query, key, value, mask, scaling=0.3)
    torch.testing.assert_close(found, expected)
    mask[0] = False  # padding sees nothing
    assert grouped_attention(module, query, key, value, mask)[0].isfinite().all()


def test_the_model_attends_as_before_once_reading_is_done(live: LocalModel) -> None:
    @reads
    def fail(model: LocalModel) -> None:
        assert model.model.config._attn_implementation == GROUPED
        raise RuntimeError

    with pytest.raises(RuntimeError):
        fail(live)
    assert live.model.config._attn_implementation == "sdpa"


@pytest.fixture
def sliding(live: LocalModel) -> LocalModel:
    """A model whose attention sees the last six positions alone."""
    config = MistralConfig(
        vocab_size=len(live.tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=6,
        pad_token_id=live.tokenizer.pad_token_id,
        eos_token_id=live.tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    return LocalModel(MistralForCausalLM(config).eval(), live.tokenizer, "sliding")


def test_what_a_recurrent_model_reads_it_reads_whole() -> None:
    config = MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=4)
    model = MambaForCausalLM(config).eval()
    ids = torch.tensor([[1, 2, 3, 4, 5], [1, 2, 3, 7, 8]])
    opening = Opening(model, ids.tolist())
    assert opening.length == 0
    alone = torch.cat([model.backbone(row[None]).last_hidden_state for row in ids])
    assert torch.allclose(opening.states(ids, torch.ones_like(ids)), alone, atol=1e-5)


def test_a_sliding_window_gives_what_each_prompt_alone_gives(
    sliding: LocalModel, hotels: list[Chat], told: list[str]
) -> None:
    prompts = [sliding.ask(text) for text in told]
    assert Opening(sliding.model, prompts).length == 0
    alone = [sliding.generate_ids([prompt], max_new_tokens=9)[0] for prompt in prompts]
    assert sliding.generate_ids(prompts, max_new_tokens=9) == alone
    pairs = [(prompt, answer) for prompt in prompts for answer in alone]
    expected = [sliding.log_likelihoods([pair])[0] for pair in pairs]
    assert sliding.log_likelihoods(pairs) == pytest.approx(expected, abs=1e-3)
    chat = hotels[0]
    before = [sliding.renderer.prompt_ids(chat.messages[:turn], chat.tools) for turn in chat.agent_turns]
    ((answers, _),) = sliding.generate_agent_turns([chat], max_new_tokens=9)
    assert answers == [sliding.generate([prompt], max_new_tokens=9)[0] for prompt in before]
