"""Every damaged byte of a small stream-optimized VMDK is harmless or detected, in both layouts."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from steps.disk.checkpoint import Checkpoints
from steps.disk.detect import decoder_for
from steps.disk.pump import Chunk
from steps.disk.sink import CLUSTER, ZEROS, Block
from steps.disk.stream import Stream
from steps.disk.tables import TablesMismatchError
from steps.model.contract import StepError
from tests.fuzz import sparse

CAPACITY = 5 * 8 + 3


@dataclass
class Blocks:
    """A stand-in for a writer: it keeps the disk's blocks in memory."""

    there: dict[int, Block] = field(default_factory=dict)

    def write(self, offset: int, block: Block) -> None:
        self.there[offset] = block

    def read(self, offset: int) -> bytes:
        return bytes(self.there.get(offset, ZEROS)).ljust(CLUSTER, b"\0")

    def checkpoint_state(self) -> dict[str, Any]:
        return {}

    def sync(self) -> None:
        """Nothing to store."""

    def finish(self, size: int) -> None:
        """Nothing to finish."""

    def disk(self, size: int) -> bytes:
        return b"".join(self.read(at) for at in range(0, size, CLUSTER))[:size]


class NoCheckpoints(Checkpoints):
    """A stand-in that saves nothing."""

    def __init__(self) -> None:
        """There is no file."""

    def tick(self, position: int) -> None:
        """Nothing is due."""

    def disable(self) -> None:
        """Nothing is kept."""


def decoded(data: bytes) -> bytes | None:
    """The disk in a VMDK, or None if its format or its size differs: then the plan's size disagrees.

    Raises:
        StepError, TablesMismatchError: the damage was detected.
    """
    chunks = iter([Chunk(memoryview(data), len(data), len(data)), Chunk(memoryview(b""), 0, len(data))])
    decoder = decoder_for(Stream(lambda: next(chunks)), "vmdk")
    if decoder.format != "raw" or decoder.size != CAPACITY * sparse.SECTOR:
        return None
    blocks = Blocks()
    decoder.run(blocks, NoCheckpoints())
    return blocks.disk(decoder.size)


def small_vmdk(*, tables_last: bool) -> bytes:
    """Three of six grains, one of them the short last one; one table, as small as possible."""
    rng = random.Random(5)
    image = sparse.Image(
        capacity=CAPACITY,
        grain=8,
        entries=8,
        tables_last=tables_last,
        items=[
            sparse.Grain(number, sparse.compress(rng.randbytes(60).ljust(4096, b"\0")))
            for number in (0, 2, 5)
        ],
        descriptor=sparse.DESCRIPTOR.format(capacity=CAPACITY).encode(),
    )
    if tables_last:
        image.items += sparse.whole_tables(image)
    return bytes(sparse.write(image).data)


@pytest.mark.parametrize("tables_last", [False, True], ids=["tables first", "tables last"])
@pytest.mark.parametrize("mask", [*(1 << bit for bit in range(8)), 0xFF])
def test_every_damaged_byte_is_harmless_or_detected(tables_last: bool, mask: int) -> None:
    data = small_vmdk(tables_last=tables_last)
    good = decoded(data)
    assert good is not None
    noticed, harmful = 0, []
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= mask
        try:
            if decoded(bytes(damaged)) not in {good, None}:
                harmful.append(at)
        except (StepError, TablesMismatchError):
            noticed += 1
    assert not harmful
    assert noticed > 400
