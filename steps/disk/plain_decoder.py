"""A stream that is the disk itself, or that lands unchanged."""

from __future__ import annotations

from typing import Any, Final

from steps.disk.checkpoint import Checkpoints
from steps.disk.sink import CLUSTER, ZEROS, Sink
from steps.disk.stream import Stream
from steps.model.sectors import SECTOR, whole_sectors

_ZEROS: Final = bytearray(ZEROS)
"""As a bytearray: its comparison with a memoryview is one memcmp, bytes' would go byte by byte."""


class PlainDecoder:
    """Writes `stream` to a sink at the same offsets, without zero blocks.

    `format` is that of the bytes, `size` that of the disk in bytes: None while unknown. A raw disk that ends
    within a sector is completed with zeros: no guest can see a part of one.
    """

    kind: Final = "plain"

    def __init__(self, stream: Stream, format: str, size: int | None = None) -> None:  # noqa: A002
        self._stream = stream
        self.format = format
        self.size = size

    def checkpoint_state(self) -> dict[str, Any]:
        """Plain JSON: the arguments of `__init__`."""
        return {"format": self.format, "size": self.size}

    def run(self, sink: Sink, checkpoints: Checkpoints) -> None:
        """Copy to the end of the stream. Raises StepError as `Stream` does."""
        stream, offset = self._stream, self._stream.position
        while block := stream.take_up_to(CLUSTER):
            if self.format == "raw" and len(block) % SECTOR:
                block = memoryview(bytes(block).ljust(whole_sectors(len(block)), b"\0"))
            if (_ZEROS if len(block) == CLUSTER else _ZEROS[: len(block)]) != block:
                sink.write(offset, bytes(block))
            offset += len(block)
            if not offset % CLUSTER:  # an attempt cannot resume within a block
                stream.mark()
                checkpoints.tick(offset)
        if self.format == "raw":
            self.size = offset
