"""The reading thread: bytes of a body into a ring of reused buffers."""

from __future__ import annotations

import contextlib
import errno
import threading
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple, Self

from steps.disk.body import Body
from steps.runtime.stop import Stop

CHUNK: Final = 1 << 20
"""Bytes per hand-over: large enough to make it cheap, small enough to stop soon."""
BUFFERS: Final = 4
"""One is filled, one is decoded, two bridge the moments in which either side is slow."""
_READ_BYTES: Final = 1 << 18
"""Bytes per read: as much is read again if a connection breaks."""
_STOP_CHECK_SECONDS: Final = 0.1
"""Seconds between two checks of the stop flag while the source is silent."""


class Chunk(NamedTuple):
    """Bytes in order: the first `length` of `buffer`; none at the end. `end` is the position after them."""

    buffer: memoryview
    length: int
    end: int


class Pump:
    """Reads `body` in its own thread, which ends with the `with` block at the latest."""

    def __init__(self, body: Body, stop: Stop) -> None:
        self._body = body
        self._stop = stop
        self._free_buffers: SimpleQueue[memoryview] = SimpleQueue()
        self._filled: SimpleQueue[Chunk | BaseException] = SimpleQueue()
        self._loaned: memoryview | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="disk-reader")

    def __enter__(self) -> Self:
        for _ in range(BUFFERS):
            self._free_buffers.put(memoryview(bytearray(CHUNK)))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._free_buffers.put(memoryview(b""))
        self._body.abort()
        self._thread.join()

    def next(self) -> Chunk:
        """The next bytes; earlier ones are overwritten from now on.

        Raises:
            Stopped: a stop was requested.
            StepError: the error of the body.
        """
        if self._loaned is not None:
            self._free_buffers.put(self._loaned)
            self._loaned = None
        item = self._wait()
        if isinstance(item, BaseException):
            raise item
        self._loaned = item.buffer
        return item

    def _wait(self) -> Chunk | BaseException:
        while True:
            self._stop.check()
            alive = self._thread.is_alive()
            with contextlib.suppress(Empty):
                return self._filled.get(timeout=_STOP_CHECK_SECONDS)
            if not alive:  # it got no memory, and put nothing into the queue
                return OSError(errno.ENOMEM, "the reading thread ended early")

    def _run(self) -> None:
        try:
            while self._fill(self._free_buffers.get()):
                pass
        except BaseException as error:
            self._filled.put(error)

    def _fill(self, buffer: memoryview) -> bool:
        """Fill one buffer and hand it over; False after the last one."""
        length, count = 0, 1
        try:
            while count and length < len(buffer) and not self._closed.is_set():
                count = self._body.readinto(buffer[length : length + _READ_BYTES])
                length += count
        finally:  # data before an error is valid
            if length or not count:
                self._filled.put(Chunk(buffer, length, self._body.position))
        return length > 0
