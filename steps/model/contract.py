"""The contract between author, runner and step programs: paths, exit codes, errors.

`docs/reference/step-contract.md` tells the same to a person. Nothing here touches the world.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Final

from steps.model.printable import printable

# Paths in a pod; the embedded runner uses folders of its own instead.
SCRATCH: Final = Path("/scratch")
"""The disk's own claim: bulk data, written as `NAME.partial` and renamed when complete."""
VOLUME: Final = Path("/disk")
"""The volume on which a disk lands: a folder, or a block device. `SCRATCH` has its records then."""
EVERY_VOLUME: Final = Path("/volumes")
"""For a stage with all disks: the volumes by the ids of their disks. `SCRATCH` has a folder for each then."""
REQUEST: Final = Path("/request")
"""The request: `plan.json` and, after preflight, `machine.json`. Read-only for steps."""
CREDENTIALS: Final = Path("/run/source")
"""The source's credentials as files, one per key of the Secret. Never argv, environment or parameters."""
TARGET: Final = Path("/target")
"""The folder of the directory target."""
OUTPUTS: Final = Path("/tmp")  # noqa: S108 - Argo takes small results from here by `valueFrom.path`
"""Small results of a step, one file each."""
TERMINATION_LOG: Final = Path("/dev/termination-log")
"""Kubernetes shows the content of this file as the container's message (4096 bytes at most)."""

PROGRESS_FILE_ENV: Final = "ARGO_PROGRESS_FILE"
"""Names the file from which Argo's executor reads `done/total` (argo-workflows docs/progress.md)."""
TERMINATION_LOG_ENV: Final = "VMFERRY_TERMINATION_LOG"
"""Replaces `/dev/termination-log` where that does not exist, as outside a pod."""
LAST_WORDS_LIMIT: Final = 4096


class Exit(enum.IntEnum):
    """The exit codes. 10-19 and 21: a person must act. 20: see the sibling step. Any other: retryable.

    64 and 65 belong to Argo's executor and are never used.
    """

    DONE = 0
    INVALID = 10
    """The request is not valid."""
    DENIED = 11
    """The source rejects the credentials, or they lack a permission."""
    UNTRUSTED = 12
    """The source's certificate is not trusted."""
    NO_SPACE = 13
    """There is not enough space, or not enough quota."""
    NOT_FOUND = 14
    """The datacenter, VM or network does not exist."""
    AMBIGUOUS = 15
    """The name matches more than one object."""
    UNSUPPORTED = 16
    """The VM has a feature that cannot be imported."""
    POWER = 17
    """The VM is on and cannot be shut down in the way that the request allows."""
    CORRUPT = 18
    """The data is corrupt; a retry does not help."""
    CONFLICT = 19
    """An object that vmferry did not create has the name of the result."""

    SIBLING = 20
    """This step succeeded; the parallel step for the same disk failed. A retry runs both."""
    STALE = 21
    """The VM was started at its source after its disks were copied. Only a new run from preflight helps."""

    UNREACHABLE = 30
    """The source or the target does not answer, or stopped answering. Retried."""
    BUSY = 31
    """The source is busy (a lease, a lock). Retried."""
    BROKEN_STREAM = 32
    """A transfer ended early or the data is damaged; what landed is kept. Retried."""
    INTERNAL = 70
    """An internal error with a traceback in the log, or a program that vmferry ran was killed. Retried."""
    STOPPED = 143
    """SIGTERM: stopped at the next chunk, everything released. Retried."""

    @property
    def permanent(self) -> bool:
        """Whether a retry is useless until a person acts."""
        return Exit.INVALID <= self <= Exit.CONFLICT or self is Exit.STALE

    @property
    def word(self) -> str:
        """The name as a condition's reason: `NoSpace`."""
        return "".join(part.title() for part in self.name.split("_"))


def is_retryable(code: int) -> bool:
    """The retry rule for the embedded runner and for Argo: everything except 0 and 10-21."""
    return code != Exit.DONE and not Exit.INVALID <= code <= Exit.STALE


class StepError(Exception):
    """A failure: what failed, why, and what to do, in one line.

    `str(error)` is `WHAT: WHY; REMEDY`: the line in the Argo UI and in the condition.
    """

    def __init__(self, code: Exit, what: str, why: str = "", remedy: str = "") -> None:
        self.code = code
        self.what = what
        self.why = why
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        what, why, remedy = (_clipped(part, most) for part, most in zip(self._parts, _MOST, strict=True))
        line = ": ".join(part for part in (what, why) if part)
        words = " ".join("; ".join(part for part in (line, remedy) if part).split())
        # Names come from untrusted files: they must not control a terminal.
        return printable(words)

    @property
    def _parts(self) -> tuple[str, str, str]:
        return self.what, self.why, self.remedy


class NoAnswerError(StepError):
    """The source does not answer, or has stopped answering: a step waits for it (`steps.providers.outage`).

    Where waiting does not help, such as for a status that never comes, the error is a plain StepError.
    """

    def __init__(
        self, code: Exit, what: str, why: str = "", remedy: str = "", *, retry_after: float | None = None
    ) -> None:
        super().__init__(code, what, why, remedy)
        self.retry_after = retry_after
        """Seconds that the source asks to wait (`steps.runtime.retry_after`); None if it does not ask."""


_MOST: Final = (400, 2200, 600)
"""Most characters of an error's three parts: together they fit into `LAST_WORDS_LIMIT`."""


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


class Stopped(Exception):  # noqa: N818 - it is an event, not a fault
    """The step was asked to stop (SIGTERM, SIGINT). Raised at the next chunk."""
