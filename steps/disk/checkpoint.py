"""When and how the state of a landing is kept.

    position ──●────●────●─────●────■────●─── …     ● noted: in memory, once all before it is written
                                                    ■ kept: in the file, once all before it is on the disk

If the filesystem is full, the last note is kept: there is no later chance.
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
"""Bytes of the source: most data that is decoded again after a kill. Each checkpoint costs one fdatasync,
in the writing thread."""
EVERY_SECONDS: Final = 15.0
"""Seconds, for slow sources: something is kept within a pod's grace period of 30 s."""

NOTED_BYTES: Final = 8 << 20
"""Least bytes of the source between two notes. Each one writes the qcow2 table that is being filled."""
_NOTED_PART: Final = 128
"""And this part of all received data: a full filesystem loses less than 1 %."""
_ROOM: Final = 64 << 10
"""Bytes set aside for the state beyond twice its last size; it grows by some 50 for each 32 MiB of disk."""


class Checkpoints:
    """Stores the result of `snapshot` in `path`, always after the data that it describes is synced."""

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
        """Call it after every record; `position` is that in the source. Raises OSError."""
        if self._due_bytes < 0:
            self._plan(position)
        if position >= self._due_bytes or self._clock() >= self._due_time:
            self._plan(position)
            self.save()
        elif position >= self._due_note:
            self._plan_note(position)
            self.note()

    def note(self) -> None:
        """Note the state at the stream's last mark, for `rescue`. Raises OSError."""
        if self._allowed:
            state = self._snapshot()
            self._behind.then(lambda: self._remember(state))

    def rescue(self) -> None:
        """Keep the last note, after a write failed for lack of space."""
        self._behind.wait()
        if self._noted is not None and self._allowed:
            with contextlib.suppress(OSError):  # then the earlier one stays
                self._keep(self._noted)

    def save(self) -> None:
        """Keep the state at the stream's last mark. Raises OSError."""
        if self._allowed:
            state = self._snapshot()
            self._behind.then(lambda: self._keep(state))

    def forbid(self) -> None:
        """From now on blocks come out of order: a checkpoint could not describe the data after it."""
        if self._allowed:
            self._allowed = False
            self._behind.then(lambda: self._path.unlink(missing_ok=True))

    def sync(self) -> None:
        """Sync everything written to the disk; call it in the writing thread. Raises OSError."""
        try:
            os.fdatasync(self._behind.file)
        except OSError:
            # The kernel reports lost writes once (fsync(2)): a later successful sync proves nothing.
            self._noted = None
            raise

    def _keep(self, state: State) -> None:
        self.sync()
        self._remember(state)
        state.save(self._path)
        reserve(self._path, _ROOM + 2 * self._path.stat().st_size)

    def _remember(self, state: State) -> None:
        self._noted = state
