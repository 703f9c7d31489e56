"""The writing thread: blocks gathered into runs and written while the next ones are decoded."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import Queue
from typing import Final, Self

RUN: Final = 32
"""Blocks written at once, 2 MiB of 64 KiB each: beyond it nothing was gained, below it syscalls count."""
QUEUED: Final = 2
"""Runs that wait: enough to ride out one slow write, and 4 MiB of memory at most."""


class Behind:
    """Writes to the open file `file` in order, in a thread that ends with the `with` block at the latest.

    After a first error nothing more is written; it is raised from the next call.
    """

    def __init__(self, file: int) -> None:
        self.file = file
        self._run: list[bytes] = []
        self._start = self._end = 0
        self._error: Exception | None = None
        self._queue: Queue[Callable[[], None] | None] = Queue(QUEUED)
        self._thread = threading.Thread(target=self._work, name="disk-writer")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()

    def write(self, offset: int, block: bytes) -> None:
        """Write `block` at `offset`, some time soon."""
        if offset != self._end or len(self._run) == RUN:
            self._send()
        if not self._run:
            self._start = offset
        self._run.append(block)
        self._end = offset + len(block)

    def then(self, action: Callable[[], None]) -> None:
        """Call `action` in the writing thread once everything before is written."""
        self._send()
        self._submit(action)

    def drain(self) -> None:
        """Wait until everything is written. Raises OSError, as every method here."""
        self._send()
        self._queue.join()
        self._check()

    def _send(self) -> None:
        if self._run:
            run, start = self._run, self._start
            self._run = []
            self._submit(lambda: write_all(self.file, run, start))

    def _submit(self, action: Callable[[], None]) -> None:
        self._check()
        self._queue.put(action)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (action := self._queue.get()) is not None:
            try:
                if self._error is None:
                    action()
            except Exception as error:
                self._error = error
            finally:
                self._queue.task_done()


def write_all(file: int, blocks: list[bytes], offset: int) -> None:
    """pwritev(2) until everything is written, and have the kernel begin to bring it to the disk.

    Otherwise gigabytes of dirty pages wait for fdatasync, and the page cache of what nobody reads
    soon pushes out what somebody does (posix_fadvise(2), POSIX_FADV_DONTNEED).
    """
    total = sum(map(len, blocks))
    done = os.pwritev(file, blocks, offset)
    rest = memoryview(b"".join(blocks))[done:] if done < total else memoryview(b"")
    while rest:  # a nearly full filesystem takes a part; the next call says why
        count = os.pwrite(file, rest, offset + total - len(rest))
        rest = rest[count:]
    os.posix_fadvise(file, offset, total, os.POSIX_FADV_DONTNEED)
