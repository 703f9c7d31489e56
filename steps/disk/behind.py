"""The writing thread: blocks gathered into runs and written while the next ones are decoded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Queue
from typing import Final, Self

from steps.disk.direct import RUN, DirectWriter

QUEUED: Final = 2
"""Runs that wait: enough to ride out one slow write, and 4 MiB of memory at most."""


class Behind:
    """Writes to the open file `file` in order, in a thread that ends with the `with` block at the latest.

    After a first error nothing more is written; it is raised from the next call.
    """

    def __init__(self, file: int) -> None:
        self.file = file
        self.placed = 0
        """Bytes given to `write` so far."""
        self._run: list[bytes] = []
        self._start = self._end = 0
        self._error: Exception | None = None
        self._queue: Queue[Callable[[], None] | None] = Queue(QUEUED)
        self._writer = DirectWriter(file)
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
        self.placed += len(block)
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

    def wait(self) -> None:
        """Wait until the writing thread has nothing to do, whatever became of it."""
        self._queue.join()

    def _send(self) -> None:
        if self._run:
            run, start = self._run, self._start
            self._run = []
            self._submit(lambda: self._writer.write(run, start))

    def _submit(self, action: Callable[[], None]) -> None:
        self._check()
        self._queue.put(action)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        with self._writer:
            self._work_off()

    def _work_off(self) -> None:
        while (action := self._queue.get()) is not None:
            try:
                if self._error is None:
                    action()
            except Exception as error:
                self._error = error
            finally:
                self._queue.task_done()
