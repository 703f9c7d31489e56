"""The source's bytes in order, in pieces as a format's reader requests them, with their running CRC-32."""

from __future__ import annotations

from collections.abc import Callable

from steps.disk.codec import crc32
from steps.disk.faults import broken
from steps.disk.pump import Chunk

_NOTHING = memoryview(b"")


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
        self._chunk = _NOTHING
        self._base = position
        self._length = 0
        self._at = 0
        self._mark: int | None = 0
        self._marked = (position, crc)
        self._crc = crc
        self._over = False
        self.interrupted = False
        """Whether the source failed; its bytes before that are valid."""

    @property
    def position(self) -> int:
        """Position in the source of the next byte."""
        return self._base + self._at

    def take(self, count: int) -> memoryview:
        """The next `count` bytes.

        Raises:
            StepError: BROKEN_STREAM, if there are fewer.
        """
        end = self._at + count
        if end <= self._length:
            piece = self._chunk[self._at : end]
            self._at = end
            return piece
        piece = self._assemble(count)
        if len(piece) < count:
            raise broken(f"the stream ends at byte {self.position}, in the middle of a record")
        return piece

    def upto(self, count: int) -> memoryview:
        """The next `count` bytes, or the remaining ones."""
        end = self._at + count
        return self.take(count) if end <= self._length else self._assemble(count)

    def skip(self, count: int) -> None:
        """Skip `count` bytes. Raises as `take`."""
        while count > self._length - self._at:
            count -= self._length - self._at
            if not self._turn():
                raise broken(f"the stream ends at byte {self.position}, {count} bytes early")
        self._at += count

    def peek(self, count: int) -> bytes:
        """The first bytes of the stream without consuming them; call it before anything else.

        A source that fails within them must not look like one that ended.
        """
        self.at_end()
        while self._length < count and not self._over:
            self._join()
        return bytes(self._chunk[: min(count, self._length)])

    def at_end(self) -> bool:
        """Whether no byte is left; may wait for the source."""
        return self._at == self._length and not self._turn()

    def mark(self) -> None:
        """Record that everything taken so far is dealt with."""
        self._mark = self._at

    def marked(self) -> tuple[int, int]:
        """The position of the last mark and the CRC-32 of all bytes before it."""
        if self._mark is None:
            return self._marked
        return self._base + self._mark, crc32(self._chunk[: self._mark], self._crc)

    def _assemble(self, count: int) -> memoryview:
        """`count` bytes from more than one chunk, copied together; fewer at the end."""
        piece = bytearray()
        while len(piece) < count and not self.at_end():
            start = self._at
            self._at = min(self._length, start + count - len(piece))
            piece += self._chunk[start : self._at]
        return memoryview(piece)

    def _turn(self) -> bool:
        """Continue with the next chunk; False if there is none."""
        if self._over:
            return False
        self._marked = self.marked()
        done = self._mark or 0
        # CRC-32 continues from the mark, so that no byte is counted twice.
        crc = self._marked[1] if self._mark is not None else self._crc
        self._crc = crc32(self._chunk[done : self._length], crc)
        self._base += self._length
        self._mark = None
        self._at = 0
        self._chunk, self._length = self._next()
        return not self._over

    def _join(self) -> None:
        """Extend this chunk by the next one."""
        head = bytes(self._chunk[: self._length])  # the buffer goes back to the source
        chunk, length = self._next()
        self._chunk = memoryview(head + chunk[:length])
        self._length = len(self._chunk)

    def _next(self) -> tuple[memoryview, int]:
        """The next chunk and its length."""
        try:
            chunk, length, _ = self._source()
        except BaseException:
            self.interrupted = True
            raise
        self._over = not length
        return chunk, length
