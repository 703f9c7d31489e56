"""The flag for "stop at the next chunk": signals set it, every loop checks it."""

from __future__ import annotations

import signal
import threading
import time
from typing import Final

from steps.model.contract import Stopped


class Stop:
    """A stop request that loops check and that interrupts sleeps."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.signal: int = 0

    def set(self, number: int = 0) -> None:
        """Request a stop; `number` is the signal, if there was one."""
        self.signal = self.signal or number
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raise `Stopped` if a stop was requested."""
        if self._event.is_set():
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Wait, but raise `Stopped` as soon as a stop is requested."""
        if self._event.wait(seconds):
            raise Stopped

    def on_signals(self) -> None:
        """Let SIGTERM and SIGINT set this flag; a second one ends the process by default."""

        def handle(number: int, _frame: object) -> None:
            signal.signal(number, signal.SIG_DFL)
            self.set(number)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, handle)


class LinkedStop(Stop):
    """A stop flag of its own, also set when the step is asked to stop."""

    _STOP_CHECK_SECONDS: Final = 0.2

    def __init__(self, parent: Stop) -> None:
        super().__init__()
        self._parent = parent

    def is_set(self) -> bool:
        return self._parent.is_set() or super().is_set()

    def check(self) -> None:
        self._parent.check()
        super().check()

    def sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (remaining := end - time.monotonic()) > 0:
            self._parent.check()
            super().sleep(min(remaining, self._STOP_CHECK_SECONDS))
