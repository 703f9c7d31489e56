"""The raw disk, with holes for zeros."""

from __future__ import annotations

import os

from steps.disk.sink import CLUSTER, ZEROS, Block, CheckpointState
from steps.disk.writer import BackgroundWriter


class RawSink:
    """Writes a sparse raw disk. See `sink.Sink`."""

    def __init__(self, writer: BackgroundWriter, saved: CheckpointState | None = None) -> None:
        self._writer = writer
        self._size = int(saved["high"]) if saved else 0
        if os.fstat(writer.file).st_size < self._size:
            raise ValueError("the file is shorter than it was")
        # Data that an earlier attempt wrote after its last checkpoint may be zero in this one.
        os.ftruncate(writer.file, self._size)

    def write(self, offset: int, block: Block) -> None:
        self._writer.write(offset, block)
        self._size = max(self._size, offset + len(block))

    def read(self, offset: int) -> bytes:
        if offset >= self._size:
            return ZEROS
        self._writer.drain()
        return os.pread(self._writer.file, CLUSTER, offset).ljust(CLUSTER, b"\0")

    def checkpoint_state(self) -> CheckpointState:
        return {"high": self._size}

    def sync(self) -> None:
        """Nothing: everything is in the file."""

    def finish(self, size: int) -> None:
        self._writer.run_after_writes(lambda: os.ftruncate(self._writer.file, size))
