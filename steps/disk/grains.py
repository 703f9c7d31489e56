"""Grains of any size as the 64 KiB blocks that the writers take."""

from __future__ import annotations

from steps.disk.sink import CLUSTER, ZEROS, Block, Sink


class Split:
    """Cuts grains of more than 64 KiB, without those parts that are zero."""

    resumable = True

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def place(self, offset: int, grain: Block) -> None:
        for at in range(0, len(grain), CLUSTER):
            block = grain[at : at + CLUSTER]
            if block != ZEROS:
                self._sink.write(offset + at, block)

    def flush(self) -> None:
        """Nothing is held back."""


class Gather:
    """Puts grains of less than 64 KiB together; one block is held back."""

    resumable = False  # half a block is in no checkpoint, and no exporter is known to write such grains

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._offset: int | None = None
        self._block = bytearray()

    def place(self, offset: int, grain: Block) -> None:
        start = offset - offset % CLUSTER
        if start != self._offset:
            self.flush()
            self._offset = start
            self._block[:] = self._sink.read(start)
        at = offset - start
        self._block[at : at + len(grain)] = grain

    def flush(self) -> None:
        """Write the block that is held back."""
        if self._offset is not None:
            self._sink.write(self._offset, bytes(self._block))


class Whole:
    """Grains of 64 KiB: nothing to do."""

    resumable = True

    def __init__(self, sink: Sink) -> None:
        self.place = sink.write

    def flush(self) -> None:
        """Nothing is held back."""


def blocks(grain: int, sink: Sink) -> Whole | Split | Gather:
    """What brings grains of `grain` bytes to `sink`."""
    if grain == CLUSTER:
        return Whole(sink)
    return Split(sink) if grain > CLUSTER else Gather(sink)
