"""What a run takes in memory is its own, not an earlier one's in the same process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tether.training.cost import peak_memory, reset_peak_memory

MEGABYTE = 1 << 20


def resettable() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


@pytest.mark.skipif(sys.platform != "linux" or not resettable(), reason="the peak cannot be reset here")
def test_what_an_earlier_run_has_freed_does_not_count() -> None:
    reset_peak_memory()
    before = peak_memory()
    # Small blocks, one in between kept: glibc gives these back only when told to.
    blocks = [bytearray(60_000) for _ in range(4000)]
    kept = blocks[::400]
    assert peak_memory() - before > 200 * MEGABYTE
    del blocks
    reset_peak_memory()
    assert peak_memory() - before < 50 * MEGABYTE
    assert len(kept) == 10
