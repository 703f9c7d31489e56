"""The protocol of both writers: 64 KiB blocks at their place on the disk."""

from __future__ import annotations

from typing import Any, Final, Protocol

CLUSTER: Final = 1 << 16
"""Bytes of a block: qcow2's default cluster and a stream-optimized VMDK's grain."""
ZEROS: Final = bytes(CLUSTER)

Block = bytes | bytearray
"""A part of a disk: `CLUSTER` bytes, except at its end."""
CheckpointState = dict[str, Any]
"""The state that a writer needs to resume; plain JSON."""


class Sink(Protocol):
    """A disk being written. Offsets are bytes on the disk and multiples of `CLUSTER`.

    Zeros are never written: unwritten blocks read as zeros.
    """

    def write(self, offset: int, block: Block) -> None:
        """Write one block of `CLUSTER` bytes at `offset`; only the last one of the disk may be shorter."""

    def read(self, offset: int) -> bytes:
        """The block as it was written, else zeros."""

    def checkpoint_state(self) -> CheckpointState:
        """The state to resume from; all data that it describes is queued in the writing thread."""

    def sync(self) -> None:
        """Store durably what the sink keeps outside of the disk's file; called in the writing thread."""

    def finish(self, size: int) -> None:
        """Make it a disk of `size` bytes: all remaining data is queued in the writing thread."""
