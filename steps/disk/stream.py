"""The source's bytes in order, in pieces as a format's reader requests them, with their running CRC-32."""

from __future__ import annotations

from collections.abc import Callable

from steps.disk.codec import crc32
from steps.disk.faults import broken_stream_fault
from steps.disk.pump import Chunk

_EMPTY = memoryview(b"")


class Stream:
    """Bytes from `position` on; `crc` is the CRC-32 of those before.

    The result of `take` is valid until the next `take`. `mark` records that everything so far was dealt
    with; `marked` returns that position, with the CRC-32 of all bytes before it: the point from which
    a later attempt can resume.

        position of chunk ──┐        mark ──┐     at ──┐
                            │▒▒ dealt with ▒│  being   │ not yet looked at │ length
    """

    def __init__(self, source: Callable[[], Chunk], position: int = 0, crc: int = 0) -> None:
        self._source = source
        self._chunk = _EMPTY
        self._chunk_position = position
        self._chunk_length = 0
        self._offset = 0
        self._mark: int | None = 0
        self._marked = (position, crc)
        self._crc = crc
        self._ended = False
        self.interrupted = False
        """Whether the source failed; its bytes before that are valid."""

    @property
    def position(self) -> int:
        """Position in the source of the next byte."""
        return self._chunk_position + self._offset

    def take(self, count: int) -> memoryview:
        """The next `count` bytes.

        Raises:
            StepError: BROKEN_STREAM, if there are fewer.
        """
        end = self._offset + count
        if end <= self._chunk_length:
            piece = self._chunk[self._offset : end]
            self._offset = end
            return piece
        piece = self._assemble(count)
        if len(piece) < count:
            raise broken_stream_fault(f"the stream ends at byte {self.position}, in the middle of a record")
        return piece

    def take_up_to(self, count: int) -> memoryview:
        """The next `count` bytes, or the remaining ones."""
        end = self._offset + count
        return self.take(count) if end <= self._chunk_length else self._assemble(count)

    def skip(self, count: int) -> None:
        """Skip `count` bytes. Raises as `take`."""
        while count > self._chunk_length - self._offset:
            count -= self._chunk_length - self._offset
            if not self._next_chunk():
                raise broken_stream_fault(f"the stream ends at byte {self.position}, {count} bytes early")
        self._offset += count

    def peek(self, count: int) -> bytes:
        """The first bytes of the stream without consuming them; call it before anything else.

        A source that fails within them must not look like one that ended.
        """
        self.at_end()
        while self._chunk_length < count and not self._ended:
            self._extend_chunk()
        return bytes(self._chunk[: min(count, self._chunk_length)])

    def at_end(self) -> bool:
        """Whether no byte is left; may wait for the source."""
        return self._offset == self._chunk_length and not self._next_chunk()

    def mark(self) -> None:
        """Record that everything taken so far is dealt with."""
        self._mark = self._offset

    def marked(self) -> tuple[int, int]:
        """The position of the last mark and the CRC-32 of all bytes before it."""
        if self._mark is None:
            return self._marked
        return self._chunk_position + self._mark, crc32(self._chunk[: self._mark], self._crc)

    def _assemble(self, count: int) -> memoryview:
        """`count` bytes from more than one chunk, copied together; fewer at the end."""
        piece = bytearray()
        while len(piece) < count and not self.at_end():
            start = self._offset
            self._offset = min(self._chunk_length, start + count - len(piece))
            piece += self._chunk[start : self._offset]
        return memoryview(piece)

    def _next_chunk(self) -> bool:
        """Continue with the next chunk; False if there is none."""
        if self._ended:
            return False
        self._marked = self.marked()
        marked_length = self._mark or 0
        # CRC-32 continues from the mark, so that no byte is counted twice.
        crc = self._marked[1] if self._mark is not None else self._crc
        self._crc = crc32(self._chunk[marked_length : self._chunk_length], crc)
        self._chunk_position += self._chunk_length
        self._mark = None
        self._offset = 0
        self._chunk, self._chunk_length = self._receive()
        return not self._ended

    def _extend_chunk(self) -> None:
        """Extend this chunk by the next one."""
        head = bytes(self._chunk[: self._chunk_length])  # the buffer goes back to the source
        chunk, length = self._receive()
        self._chunk = memoryview(head + chunk[:length])
        self._chunk_length = len(self._chunk)

    def _receive(self) -> tuple[memoryview, int]:
        """The next chunk and its length."""
        try:
            chunk, length, _ = self._source()
        except BaseException:
            self.interrupted = True
            raise
        self._ended = not length
        return chunk, length
