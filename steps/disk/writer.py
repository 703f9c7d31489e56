"""The writing thread: blocks gathered into runs and written while the next ones are decoded."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import threading
from collections import deque
from collections.abc import Callable
from mmap import mmap
from typing import Final, NamedTuple, Self

from steps.disk.direct import WRITE_BYTES, DirectWriter
from steps.disk.sink import Block

MAX_QUEUED_RUNS: Final = 2
"""Most waiting runs: enough for one slow write, and 4 MiB of memory at most."""
_ALIVE_SECONDS: Final = 1.0
"""Seconds between two checks that the writing thread still lives, while another thread waits for it."""
_M_TRIM_THRESHOLD: Final = -1  # malloc.h
_KEPT_BYTES: Final = 16 << 20
"""Bytes of freed memory that malloc keeps: more than all runs together."""


class Task(NamedTuple):
    """A task of the writing thread; `buffer` can be reused after it."""

    action: Callable[[], None]
    buffer: mmap | None = None


class BackgroundWriter:
    """Writes to the open file `file` in order, in a thread that ends with the `with` block at the latest.

    A block is copied at once, while the processor's cache still holds it, so its memory can be reused.
    After an error nothing more is written; the next call raises it.
    """

    def __init__(self, file: int) -> None:
        self.file = file
        self.accepted_bytes = 0
        """Bytes passed to `write` so far."""
        # page-aligned, unlike anything Python allocates
        self._free_buffers = [mmap(-1, WRITE_BYTES) for _ in range(MAX_QUEUED_RUNS + 1)]
        self._buffer = mmap(-1, WRITE_BYTES)
        self._length = self._start = 0
        self._error: BaseException | None = None
        self._tasks: deque[Task | None] = deque()
        self._unfinished = 0
        self._changed = threading.Condition()
        """Guards the tasks, their number and the free buffers; notified when one of them changes."""
        self._writer = DirectWriter(file)
        self._thread = threading.Thread(target=self._run, name="disk-writer")

    def __enter__(self) -> Self:
        _keep_freed_memory()
        self._writer.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._tasks.append(None)
            self._changed.notify_all()
        self._thread.join()
        self._writer.__exit__()

    def write(self, offset: int, block: Block) -> None:
        """Queue `block`, WRITE_BYTES at most, to be written at `offset`."""
        end = self._length + len(block)
        if offset != self._start + self._length or end > WRITE_BYTES:
            self._send_buffer()
            end = len(block)
        if not self._length:
            self._start = offset
        self._buffer[self._length : end] = block
        self._length = end
        self.accepted_bytes += len(block)

    def run_after_writes(self, action: Callable[[], None]) -> None:
        """Call `action` in the writing thread after everything before it is written."""
        self._send_buffer()
        self._submit(action)

    def drain(self) -> None:
        """Wait until everything is written. Raises OSError, as does every method here."""
        self._send_buffer()
        self.wait_idle()
        self._check()

    def wait_idle(self) -> None:
        """Wait until the writing thread is idle, even after an error. Raises nothing."""
        with self._changed, contextlib.suppress(OSError):
            self._wait(lambda: not self._unfinished)

    def _send_buffer(self) -> None:
        if self._length:
            buffer, length, start = self._buffer, self._length, self._start
            self._length = 0
            self._submit(lambda: self._writer.write(buffer, length, start), buffer)
            with self._changed:
                self._wait(lambda: bool(self._free_buffers))
                self._buffer = self._free_buffers.pop()

    def _submit(self, action: Callable[[], None], buffer: mmap | None = None) -> None:
        self._check()
        with self._changed:
            self._wait(lambda: len(self._tasks) < MAX_QUEUED_RUNS)
            self._tasks.append(Task(action, buffer))
            self._unfinished += 1
            self._changed.notify_all()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _wait(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready`; the caller holds the lock.

        A thread that gets no memory can end outside any task, and then nobody else would end this wait.

        Raises:
            OSError: the writing thread has ended.
        """
        while not self._changed.wait_for(ready, _ALIVE_SECONDS):
            if not self._thread.is_alive():
                self._error = self._error or OSError(errno.ENOMEM, "the writing thread ended early")
                raise self._error

    def _run(self) -> None:
        """Run tasks until the end is announced; an error is raised when the next task is queued."""
        while (task := self._next_task()) is not None:
            try:
                if self._error is None:
                    task.action()
            except BaseException as error:
                self._error = error
            finally:
                self._finish(task)

    def _next_task(self) -> Task | None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._tasks))
            task = self._tasks.popleft()
            self._changed.notify_all()
            return task

    def _finish(self, task: Task) -> None:
        with self._changed:
            if task.buffer is not None:
                self._free_buffers.append(task.buffer)
            self._unfinished -= 1
            self._changed.notify_all()


def _keep_freed_memory() -> None:
    """Let malloc keep the memory of written runs for the next ones.

    By default glibc returns free memory at the heap's top beyond 128 KiB (mallopt(3)), hence each run,
    which the next run faults in again: 57000 page faults and 0.2 s of CPU time per GiB instead of 11000.
    """
    with contextlib.suppress(AttributeError):  # musl has no mallopt
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
