"""What both writers have in common: 64 KiB blocks at their place on the disk."""

from __future__ import annotations

from typing import Any, Final, Protocol

CLUSTER: Final = 1 << 16
"""Bytes of a block: qcow2's default cluster and a stream-optimized VMDK's grain."""
ZEROS: Final = bytes(CLUSTER)

Block = bytes | bytearray
"""What is written: part of a disk, `CLUSTER` bytes but for its end."""
Memory = dict[str, Any]
"""What a writer must remember to be gone on with; plain JSON."""


class Sink(Protocol):
    """A disk being written. Offsets are bytes on the disk and multiples of `CLUSTER`.

    Zeros are never written: what was not written reads as zeros.
    """

    def write(self, offset: int, block: Block) -> None:
        """Put one block, of `CLUSTER` bytes, there; only the last one of the disk may be shorter."""

    def read(self, offset: int) -> bytes:
        """The block as it was written, zeros if it was not."""

    def memory(self) -> Memory:
        """What to remember now; everything it speaks of has been given to the writing thread."""

    def finish(self, size: int) -> None:
        """Make it a disk of `size` bytes: all that is left has been given to the writing thread."""
