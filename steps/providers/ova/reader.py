"""Random access to the bytes of a file."""

from __future__ import annotations

from typing import Final

from steps.disk.body import Body, body_for
from steps.disk.source import Source, Validators
from steps.providers.ova.place import AHEAD, Place
from steps.runtime.stop import Stop

_SKIP: Final = 1 << 18


class Reader:
    """Reads a file by Range, one window at a time; without Range in one pass as long as reads go forward."""

    def __init__(self, place: Place, stop: Stop) -> None:
        self.place = place
        self._stop = stop
        self._start = 0
        self._block = place.head
        self._body: Body | None = None

    def read(self, offset: int, count: int) -> bytes:
        """The bytes at an offset; fewer at the end of the file.

        Raises:
            StepError: UNREACHABLE, BROKEN_STREAM and other errors of a server.
        """
        there = self._there(offset, count)
        if len(there) == count:
            return there
        start = offset + len(there)
        self._block, self._start = self._fetch(start, max(count - len(there), AHEAD)), start
        return there + self._block[: count - len(there)]

    def _there(self, offset: int, count: int) -> bytes:
        """The part that is already read."""
        at = offset - self._start
        return self._block[at : at + count] if 0 <= at < len(self._block) else b""

    def _fetch(self, offset: int, count: int) -> bytes:
        size = self.place.size
        if size is not None:
            count = max(0, min(count, size - offset))
        if not count:
            return b""
        if self.place.ranged:
            return self._window(self.place.source(offset, count))
        return self._forward(offset, count)

    def _window(self, source: Source) -> bytes:
        body = body_for(source)
        try:
            body.open(0, Validators())
            return self._take(body, source.length or 0)
        finally:
            body.close()

    def _forward(self, offset: int, count: int) -> bytes:
        if self._body is None or self._body.position > offset:
            self.close()
            self._body = body_for(self.place.source())
            self._body.open(0, Validators())
        body, waste = self._body, memoryview(bytearray(_SKIP))
        while body.position < offset:
            self._stop.check()
            if not body.readinto(waste[: offset - body.position]):
                return b""
        return self._take(body, count)

    def _take(self, body: Body, count: int) -> bytes:
        buffer, length = memoryview(bytearray(count)), 0
        while length < count and (got := body.readinto(buffer[length:])):
            self._stop.check()
            length += got
        return bytes(buffer[:length])

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
