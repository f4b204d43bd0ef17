"""A key/value cache that grows by blocks, and whose rows can be handed on."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from tether.attention import GROUPED

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST_ROOM = 32  # free positions of a new buffer; a long one has more, so that it is copied seldom


class RoomyLayer(DynamicLayer):
    """A key/value layer that grows by blocks: transformers' own copies the whole cache at every new token.

    Args:
        whole: From the second time on, give attention the whole buffer, its free positions masked: contiguous
            memory, which a matrix product need not copy.
    """

    def __init__(self, whole: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.whole = whole

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append states of shape (rows, heads, new tokens, head size) and return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.fill((key_states[:, :, :0], value_states[:, :, :0]), 0)
        length = self.get_seq_length()
        total = length + key_states.shape[2]
        if self.rooms[0].shape[2] < total:
            self.fill((_larger(self.rooms[0], length, total), _larger(self.rooms[1], length, total)), length)
        for room, states in zip(self.rooms, (key_states, value_states), strict=True):
            room[:, :, length:total] = states
        self.fill(self.rooms, total)
        return self.rooms if self.whole and length else (self.keys, self.values)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many positions attention will be given, and the first one's number."""
        length = self.get_seq_length()
        total = length + query_length
        if not (self.whole and length):
            return total, 0
        room = self.rooms[0].shape[2]
        return room if room >= total else _roomy(total), 0

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Keep the rows of these indices, in their order; a row may be kept several times."""
        if length := self.get_seq_length():
            keys, values = (room.index_select(0, beam_idx) for room in self.rooms)
            self.fill((keys, values), length)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """As `reorder_cache`."""
        self.reorder_cache(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Keep each row several times."""
        rows = torch.arange(len(self.rooms[0]), device=self.rooms[0].device)
        self.reorder_cache(rows.repeat_interleave(repeats))

    def keep_positions(self, places: torch.Tensor) -> None:
        """Keep of each row the positions at these places, (rows, kept) int64, in their order."""
        rooms = [
            room.gather(2, places[:, None, :, None].expand(-1, room.shape[1], -1, room.shape[3]))
            for room in self.rooms
        ]
        self.fill((rooms[0], rooms[1]), places.shape[1])

    def fill(self, rooms: tuple[torch.Tensor, torch.Tensor], length: int) -> None:
        """Take these buffers of keys and values, of which so many positions are filled."""
        self.rooms = rooms
        self.keys: torch.Tensor = rooms[0][:, :, :length]
        self.values: torch.Tensor = rooms[1][:, :, :length]


def _roomy(length: int) -> int:
    return length + max(LEAST_ROOM, length // 8)


def _larger(room: torch.Tensor, length: int, total: int) -> torch.Tensor:
    """A buffer with room for more than ``total`` positions, the first ``length`` of them as they were."""
    # Zeros: a masked position weighs nothing, but nothing times what lies in fresh memory may be no number.
    larger = room.new_zeros(*room.shape[:2], _roomy(total), room.shape[3])
    larger[:, :, :length] = room[:, :, :length]
    return larger


def roomy_cache(config: Any) -> DynamicCache:
    """A cache whose plain layers are ``RoomyLayer``; sliding windows keep transformers' own."""
    cache = DynamicCache(config=config)
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            cache.layers[index] = RoomyLayer(whole=config._attn_implementation == GROUPED)
    return cache


def is_roomy(cache: DynamicCache) -> bool:
    """Whether every layer keeps every position, so that rows may differ in where they have gaps."""
    return all(isinstance(layer, RoomyLayer) for layer in cache.layers)


def forked(cache: DynamicCache, rows: torch.Tensor) -> DynamicCache:
    """The rows of these indices as a cache of their own; the first one stays as it is."""
    fork = copy.copy(cache)
    # A roomy layer's tensors are its own once rows are picked; of others we do not know.
    fork.layers = [
        copy.copy(layer) if isinstance(layer, RoomyLayer) else copy.deepcopy(layer) for layer in cache.layers
    ]
    keep_rows(fork, rows)
    return fork


def keep_positions(cache: DynamicCache, places: torch.Tensor) -> None:
    """Keep of each row the positions at these places, (rows, kept) int64; every layer must be roomy."""
    for layer in cache.layers:
        assert isinstance(layer, RoomyLayer)
        layer.keep_positions(places)


def joined(caches: Sequence[DynamicCache]) -> DynamicCache:
    """All rows of roomy caches as one; before the shorter ones there are empty positions."""
    longest = max(cache.get_seq_length() for cache in caches)
    whole = copy.copy(caches[0])
    whole.layers = [
        _joined([cache.layers[index] for cache in caches], longest) for index in range(len(whole.layers))
    ]
    return whole


def _joined(layers: Sequence[Any], longest: int) -> Any:
    rows = sum(len(layer.keys) for layer in layers)
    whole = copy.copy(layers[0])
    keys, values = (
        room.new_zeros(rows, room.shape[1], _roomy(longest), room.shape[3]) for room in whole.rooms
    )
    start = 0
    for layer in layers:
        end = start + len(layer.keys)
        keys[start:end, :, longest - layer.get_seq_length() : longest] = layer.keys
        values[start:end, :, longest - layer.get_seq_length() : longest] = layer.values
        start = end
    whole.fill((keys, values), longest)
    return whole


def keep_rows(cache: DynamicCache, rows: torch.Tensor) -> None:
    """Keep the rows of these indices alone, in their order, as every kind of layer can."""
    cache.reorder_cache(rows)  # type: ignore[arg-type]
