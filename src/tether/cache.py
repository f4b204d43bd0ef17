"""A key/value cache that grows by blocks, and whose rows can be handed on."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

if TYPE_CHECKING:
    from collections.abc import Sequence

CACHE_STEP = 64  # tokens by which a key/value buffer grows


class RoomyLayer(DynamicLayer):
    """A key/value layer that grows by blocks: transformers' own copies the whole cache at every new token."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append states of shape (rows, heads, new tokens, head size) and return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
            self.rooms = (self.keys, self.values)
        assert self.keys is not None and self.values is not None
        rooms = (
            _room(self.rooms[0], self.keys, key_states),
            _room(self.rooms[1], self.values, value_states),
        )
        self.fill(rooms, self.keys.shape[2] + key_states.shape[2])
        return self.keys, self.values

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
        self.keys, self.values = rooms[0][:, :, :length], rooms[1][:, :, :length]


def _room(room: torch.Tensor, view: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Storage of ``view`` and then ``new``: ``room`` itself while both fit."""
    length, total = view.shape[2], view.shape[2] + new.shape[2]
    if room.shape[2] < total:
        room = view.new_empty(*view.shape[:2], total + CACHE_STEP, view.shape[3])
        room[:, :, :length] = view
    room[:, :, length:total] = new
    return room


def roomy_cache(config: Any) -> DynamicCache:
    """A cache whose plain layers are ``RoomyLayer``; sliding windows keep transformers' own."""
    cache = DynamicCache(config=config)
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            cache.layers[index] = RoomyLayer()  # type: ignore[no-untyped-call]
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
        room.new_zeros(rows, room.shape[1], longest + CACHE_STEP, room.shape[3]) for room in whole.rooms
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
