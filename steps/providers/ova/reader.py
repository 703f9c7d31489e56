"""Random access to the bytes of a file."""

from __future__ import annotations

from typing import Final

from steps.disk.body import Body, body_for
from steps.disk.source import Source, Validators
from steps.providers.ova.source_file import AHEAD, SourceFile
from steps.runtime.stop import Stop

_SKIP: Final = 1 << 18


class FileReader:
    """Reads a file by Range, one window at a time; without Range in one pass as long as reads go forward."""

    def __init__(self, file: SourceFile, stop: Stop) -> None:
        self.file = file
        self._stop = stop
        self._start = 0
        self._block = file.head
        self._body: Body | None = None

    def read(self, offset: int, count: int) -> bytes:
        """The bytes at an offset; fewer at the end of the file.

        Raises:
            StepError: UNREACHABLE, BROKEN_STREAM and other errors of a server.
        """
        buffered = self._buffered(offset, count)
        if len(buffered) == count:
            return buffered
        start = offset + len(buffered)
        self._block, self._start = self._fetch(start, max(count - len(buffered), AHEAD)), start
        return buffered + self._block[: count - len(buffered)]

    def _buffered(self, offset: int, count: int) -> bytes:
        """The part that is already read."""
        position = offset - self._start
        return self._block[position : position + count] if 0 <= position < len(self._block) else b""

    def _fetch(self, offset: int, count: int) -> bytes:
        size = self.file.size
        if size is not None:
            count = max(0, min(count, size - offset))
        if not count:
            return b""
        if self.file.supports_range:
            return self._read_window(self.file.source(offset, count))
        return self._read_forward(offset, count)

    def _read_window(self, source: Source) -> bytes:
        body = body_for(source)
        try:
            body.open(0, Validators())
            return self._read_body(body, source.length or 0)
        finally:
            body.close()

    def _read_forward(self, offset: int, count: int) -> bytes:
        if self._body is None or self._body.position > offset:
            self.close()
            self._body = body_for(self.file.source())
            self._body.open(0, Validators())
        body, skipped = self._body, memoryview(bytearray(_SKIP))
        while body.position < offset:
            self._stop.check()
            if not body.readinto(skipped[: offset - body.position]):
                return b""
        return self._read_body(body, count)

    def _read_body(self, body: Body, size: int) -> bytes:
        buffer, length = memoryview(bytearray(size)), 0
        while length < size and (count := body.readinto(buffer[length:])):
            self._stop.check()
            length += count
        return bytes(buffer[:length])

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
