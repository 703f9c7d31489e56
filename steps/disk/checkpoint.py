"""When and how the state of a landing is kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from steps.disk.behind import Behind
from steps.disk.state import State

EVERY_BYTES: Final = 256 << 20
"""Of the source: as much is decoded again after a kill at most. Each checkpoint costs one fdatasync,
in the writing thread."""
EVERY_SECONDS: Final = 15.0
"""For slow sources: within a pod's grace of 30 s something was kept."""


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
        self._due_bytes = 0
        self._due_time = 0.0
        self._plan(None)

    def _plan(self, position: int | None) -> None:
        self._due_bytes = -1 if position is None else position + EVERY_BYTES
        self._due_time = self._clock() + EVERY_SECONDS

    def tick(self, position: int) -> None:
        """To be called after every record; `position` is the source's. Raises OSError."""
        if self._due_bytes < 0:
            self._plan(position)
        if position >= self._due_bytes or self._clock() >= self._due_time:
            self._plan(position)
            self.save()

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

    def _keep(self, state: State) -> None:
        os.fdatasync(self._behind.file)
        state.save(self._path)
