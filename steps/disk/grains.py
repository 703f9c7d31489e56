"""Grains of any size as the 64 KiB blocks of the writers."""

from __future__ import annotations

from steps.disk.sink import CLUSTER, ZEROS, Block, Sink


class GrainSplitter:
    """Cuts grains of more than 64 KiB, and skips zero parts."""

    resumable = True

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write_grain(self, offset: int, grain: Block) -> None:
        for start in range(0, len(grain), CLUSTER):
            block = grain[start : start + CLUSTER]
            if block != ZEROS:
                self._sink.write(offset + start, block)

    def flush(self) -> None:
        """Nothing is held back."""


class GrainJoiner:
    """Joins grains of less than 64 KiB; one block is held back."""

    resumable = False  # a checkpoint cannot hold half a block, and no known exporter writes such grains

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._offset: int | None = None
        self._block = bytearray()

    def write_grain(self, offset: int, grain: Block) -> None:
        start = offset - offset % CLUSTER
        if start != self._offset:
            self.flush()
            self._offset = start
            self._block[:] = self._sink.read(start)
        offset_in_block = offset - start
        self._block[offset_in_block : offset_in_block + len(grain)] = grain

    def flush(self) -> None:
        """Write the held-back block."""
        if self._offset is not None:
            self._sink.write(self._offset, bytes(self._block))


class GrainPassthrough:
    """Grains of 64 KiB: nothing to do."""

    resumable = True

    def __init__(self, sink: Sink) -> None:
        self.write_grain = sink.write

    def flush(self) -> None:
        """Nothing is held back."""


def grain_writer(grain: int, sink: Sink) -> GrainPassthrough | GrainSplitter | GrainJoiner:
    """The object that writes grains of `grain` bytes to `sink`."""
    if grain == CLUSTER:
        return GrainPassthrough(sink)
    return GrainSplitter(sink) if grain > CLUSTER else GrainJoiner(sink)
