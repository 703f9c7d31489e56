"""Notices an appliance that does not start, by the processor time that its programs use.

A clock would be wrong: on a busy computer, or with an emulated processor, a start takes minutes. But it needs
about the same work everywhere. A start that needs much more is in a loop, and one that does nothing waits for
something that never comes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

MOST_WORK: Final = 300.0
"""Seconds of a processor. A start with an emulated processor, and with a new appliance to build, needs 40."""
LEAST_WORK: Final = 1.0
IDLE_SECONDS: Final = 300.0
"""Seconds in which a start uses at least `LEAST_WORK` seconds of a processor."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_EACH: Final = 1.0
"""Seconds between two looks."""


class LaunchWatch:
    """Follows the start of the appliance in a group of processes."""

    def __init__(
        self,
        group: int,
        clock: Callable[[], float] = time.monotonic,
        work: Callable[[int], float] | None = None,
    ) -> None:
        self._group = group
        self._clock = clock
        self._work = work or seconds_of_group
        self._looked = self._since = clock()
        self._before = self._most = 0.0

    def fault(self) -> str:
        """Why the start must be ended, as a part of a sentence; empty while it may go on."""
        now = self._clock()
        if now - self._looked < _EACH:
            return ""
        self._looked = now
        self._most = max(self._most, self._work(self._group))  # programs that have ended count no more
        if self._most > MOST_WORK:
            return f"it has used {self._most:.0f} s of a processor and is not ready"
        if self._most - self._before >= LEAST_WORK:
            self._before, self._since = self._most, now
        elif now - self._since > IDLE_SECONDS:
            return f"it has done almost nothing for {now - self._since:.0f} s"
        return ""


def seconds_of_group(group: int) -> float:
    """Seconds of a processor that the processes of a group have used, with their children that have ended."""
    ticks = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            # pid (name) state ppid pgrp …: the name may have spaces and parentheses (proc(5))
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[2]) == group:
                ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
        except (OSError, ValueError, IndexError):  # it has ended meanwhile
            continue
    return ticks / _TICKS
