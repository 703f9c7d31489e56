"""Progress in bytes: `done/total` for Argo's executor, and JSON lines in the log."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TextIO

from steps.model.contract import PROGRESS_FILE_ENV

INTERVAL: Final = 0.5
"""Seconds between two reports: Argo's executor polls every 3 s, a terminal is updated twice a second."""


def note(text: str) -> None:
    """Write a note above the last line of the progress file; an empty one removes it.

    Argo's executor reads only the last line (argo-workflows workflow/executor/executor.go, monitorProgress);
    the embedded runner shows the note.
    """
    name = os.environ.get(PROGRESS_FILE_ENV)
    if name is None:
        return
    with contextlib.suppress(OSError):
        lines = Path(name).read_text().splitlines() if Path(name).exists() else []
        last = lines[-1] if lines else "0/1"  # Argo's default
        Path(name).write_text("".join(f"{line}\n" for line in (" ".join(text.split()), last) if line))


class Progress:
    """Counts bytes done of a total and reports it, at most every `INTERVAL` seconds and never backwards.

    `total` may be an estimate: if more is done, the total grows with it, as Argo accepts
    only 0 <= N <= M with M > 0 (argo-workflows docs/progress.md).
    """

    def __init__(
        self,
        total: int = 0,
        *,
        file: Path | None = None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.done = 0
        self.total = total
        self._file = file
        self._stream = stream
        self._clock = clock
        self._due = float("-inf")

    @classmethod
    def from_environment(cls, total: int = 0) -> Progress:
        """The progress of a step program: Argo's file, and lines on standard error."""
        name = os.environ.get(PROGRESS_FILE_ENV)
        return cls(total, file=Path(name) if name else None, stream=sys.stderr)

    def update(self, done: int, total: int | None = None) -> None:
        """Report `done` bytes of `total` (the last known total when None)."""
        self.done = max(self.done, done)
        if total is not None:
            self.total = total
        if self._clock() >= self._due:
            self._report()

    def finish(self) -> None:
        """Report completion; the total becomes the number of bytes done."""
        self.total = self.done = max(self.done, 1)
        self._report()

    def _report(self) -> None:
        self._due = self._clock() + INTERVAL
        total = max(self.done, self.total, 1)
        with contextlib.suppress(OSError):  # a full filesystem must not turn a report into the failure
            if self._file is not None:
                self._file.write_text(f"{self.done}/{total}\n")
            if self._stream is not None:
                line = {"event": "progress", "done": self.done, "total": total}
                print(json.dumps(line), file=self._stream, flush=True)
