"""When and how the state of a landing is kept.

    position ──●────●────●─────●────■────●─── …     ● noted: in memory, once all before it is written
                                                    ■ kept: in the file, once all before it is on the disk

What was noted last is kept when the filesystem is full: there is no later chance.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from steps.disk.behind import Behind
from steps.disk.state import State, reserve

EVERY_BYTES: Final = 256 << 20
"""Of the source: as much is decoded again after a kill at most. Each checkpoint costs one fdatasync,
in the writing thread."""
EVERY_SECONDS: Final = 15.0
"""For slow sources: within a pod's grace of 30 s something was kept."""

NOTED_BYTES: Final = 8 << 20
"""Of the source, between two notes at least. Each one writes the qcow2 table that is being filled."""
_NOTED_PART: Final = 128
"""And this part of all that has come: what a full filesystem loses stays below 1 %."""
_ROOM: Final = 64 << 10
"""Bytes set aside for the state beyond twice its last size; it grows by some 50 for each 32 MiB of disk."""


class Checkpoints:
    """Keeps what `snapshot` returns in `path`, each time after everything it speaks of is on the disk."""

    def __init__(
        self,
        path: Path,
        behind: Behind,
        snapshot: Callable[[], State],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._behind = behind
        self._snapshot = snapshot
        self._clock = clock
        self._allowed = True
        self._noted: State | None = None
        self._due_bytes = 0
        self._due_note = 0
        self._due_time = 0.0
        self._plan(None)
        reserve(path, _ROOM)

    def _plan(self, position: int | None) -> None:
        self._due_bytes = -1 if position is None else position + EVERY_BYTES
        self._due_time = self._clock() + EVERY_SECONDS
        self._plan_note(position or 0)

    def _plan_note(self, position: int) -> None:
        self._due_note = position + max(NOTED_BYTES, position // _NOTED_PART)

    def tick(self, position: int) -> None:
        """To be called after every record; `position` is the source's. Raises OSError."""
        if self._due_bytes < 0:
            self._plan(position)
        if position >= self._due_bytes or self._clock() >= self._due_time:
            self._plan(position)
            self.save()
        elif position >= self._due_note:
            self._plan_note(position)
            self.note()

    def note(self) -> None:
        """Remember the state as it is at the stream's last mark, for `rescue`. Raises OSError."""
        if self._allowed:
            state = self._snapshot()
            self._behind.then(lambda: self._remember(state))

    def rescue(self) -> None:
        """Keep what was noted last, after a write for which there was no room."""
        self._behind.wait()
        if self._noted is not None and self._allowed:
            with contextlib.suppress(OSError):  # then the one before stays
                self._keep(self._noted)

    def save(self) -> None:
        """Keep the state as it is at the stream's last mark. Raises OSError."""
        if self._allowed:
            state = self._snapshot()
            self._behind.then(lambda: self._keep(state))

    def forbid(self) -> None:
        """From now on blocks come out of order: a checkpoint could not say what lies behind it."""
        if self._allowed:
            self._allowed = False
            self._behind.then(lambda: self._path.unlink(missing_ok=True))

    def sync(self) -> None:
        """Bring everything written to the disk; to be called in the writing thread. Raises OSError."""
        try:
            os.fdatasync(self._behind.file)
        except OSError:
            # The kernel tells of lost writes once (fsync(2)): a sync that succeeds later proves nothing.
            self._noted = None
            raise

    def _keep(self, state: State) -> None:
        self.sync()
        self._remember(state)
        state.save(self._path)
        reserve(self._path, _ROOM + 2 * self._path.stat().st_size)

    def _remember(self, state: State) -> None:
        self._noted = state
