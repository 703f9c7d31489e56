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

from steps.disk.state import LandingState, reserve_space
from steps.disk.writer import BackgroundWriter

SAVE_EVERY_BYTES: Final = 256 << 20
"""Bytes of the source: most data that is decoded again after a kill. Each checkpoint costs one fdatasync,
in the writing thread."""
SAVE_EVERY_SECONDS: Final = 15.0
"""Seconds, for slow sources: something is kept within a pod's grace period of 30 s."""

NOTE_EVERY_BYTES: Final = 8 << 20
"""Least bytes of the source between two notes. Each one writes the qcow2 table that is being filled."""
_NOTE_EVERY_PART: Final = 128
"""And this part of all received data: a full filesystem loses less than 1 %."""
_RESERVED_BYTES: Final = 64 << 10
"""Bytes set aside for the state beyond twice its last size; it grows by some 50 for each 32 MiB of disk."""


class Checkpoints:
    """Stores the result of `snapshot` in `path`, always after the data that it describes is synced."""

    def __init__(
        self,
        path: Path,
        writer: BackgroundWriter,
        snapshot: Callable[[], LandingState],
        clock: Callable[[], float] = time.monotonic,
        sync_sink: Callable[[], None] = lambda: None,
    ) -> None:
        """`sync_sink` stores durably what the sink keeps outside of the disk's file."""
        self._path = path
        self._sync_sink = sync_sink
        self._writer = writer
        self._snapshot = snapshot
        self._clock = clock
        self._enabled = True
        self._last_note: LandingState | None = None
        self._due_bytes = 0
        self._due_note = 0
        self._due_time = 0.0
        self._schedule(None)
        reserve_space(path, _RESERVED_BYTES)

    def _schedule(self, position: int | None) -> None:
        self._due_bytes = -1 if position is None else position + SAVE_EVERY_BYTES
        self._due_time = self._clock() + SAVE_EVERY_SECONDS
        self._schedule_note(position or 0)

    def _schedule_note(self, position: int) -> None:
        self._due_note = position + max(NOTE_EVERY_BYTES, position // _NOTE_EVERY_PART)

    def tick(self, position: int) -> None:
        """Call it after every record; `position` is that in the source. Raises OSError."""
        if self._due_bytes < 0:
            self._schedule(position)
        if position >= self._due_bytes or self._clock() >= self._due_time:
            self._schedule(position)
            self.save()
        elif position >= self._due_note:
            self._schedule_note(position)
            self.note()

    def note(self) -> None:
        """Note the state at the stream's last mark, for `save_note`. Raises OSError."""
        if self._enabled:
            state = self._snapshot()
            self._writer.run_after_writes(lambda: self._set_note(state))

    def save_note(self) -> None:
        """Keep the last note, after a write failed for lack of space."""
        self._writer.wait_idle()
        if self._last_note is not None and self._enabled:
            with contextlib.suppress(OSError):  # then the earlier one stays
                self._write(self._last_note)

    def save(self) -> None:
        """Keep the state at the stream's last mark. Raises OSError."""
        if self._enabled:
            state = self._snapshot()
            self._writer.run_after_writes(lambda: self._write(state))

    def disable(self) -> None:
        """From now on blocks come out of order: a checkpoint could not describe the data after it."""
        if self._enabled:
            self._enabled = False
            self._writer.run_after_writes(lambda: self._path.unlink(missing_ok=True))

    def sync(self) -> None:
        """Sync everything written to the disk; call it in the writing thread. Raises OSError."""
        try:
            os.fdatasync(self._writer.file)
            self._sync_sink()
        except OSError:
            # The kernel reports lost writes once (fsync(2)): a later successful sync proves nothing.
            self._last_note = None
            raise

    def _write(self, state: LandingState) -> None:
        self.sync()
        self._set_note(state)
        state.save(self._path)
        reserve_space(self._path, _RESERVED_BYTES + 2 * self._path.stat().st_size)

    def _set_note(self, state: LandingState) -> None:
        self._last_note = state
