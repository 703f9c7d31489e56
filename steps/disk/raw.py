"""The raw disk, with holes for zeros."""

from __future__ import annotations

import os

from steps.disk.behind import Behind
from steps.disk.sink import CLUSTER, ZEROS, Block, Memory


class Raw:
    """Writes a sparse raw disk. See `sink.Sink`."""

    def __init__(self, behind: Behind, memory: Memory | None = None) -> None:
        self._behind = behind
        self._high = int(memory["high"]) if memory else 0
        if os.fstat(behind.file).st_size < self._high:
            raise ValueError("the file is shorter than it was")
        # Data that an earlier attempt wrote after its last checkpoint may be zero in this one.
        os.ftruncate(behind.file, self._high)

    def write(self, offset: int, block: Block) -> None:
        self._behind.write(offset, block)
        self._high = max(self._high, offset + len(block))

    def read(self, offset: int) -> bytes:
        if offset >= self._high:
            return ZEROS
        self._behind.drain()
        return os.pread(self._behind.file, CLUSTER, offset).ljust(CLUSTER, b"\0")

    def memory(self) -> Memory:
        return {"high": self._high}

    def finish(self, size: int) -> None:
        self._behind.then(lambda: os.ftruncate(self._behind.file, size))
