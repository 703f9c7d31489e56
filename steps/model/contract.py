"""The words that author, runner and step programs share: paths, exit codes, errors.

`docs/reference/step-contract.md` tells the same to a person. Nothing here touches the world.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Final

# Where a pod finds its things; the embedded runner gives folders of its own in their place.
SCRATCH: Final = Path("/scratch")
"""The disk's own claim: bulk data, written as `NAME.partial` and renamed when whole."""
REQUEST: Final = Path("/request")
"""What is to be done: `plan.json` and, once preflight has run, `machine.json`. Read-only for steps."""
CREDENTIALS: Final = Path("/run/source")
"""The source's credentials as files, one per key of the Secret. Never argv, environment or parameters."""
TARGET: Final = Path("/target")
"""The folder of the directory target."""
OUTPUTS: Final = Path("/tmp")  # noqa: S108 - Argo takes small results from here by `valueFrom.path`
"""Small results of a step, a file each."""
TERMINATION_LOG: Final = Path("/dev/termination-log")
"""Kubernetes shows what stands here as the container's message (4096 bytes at most)."""

PROGRESS_FILE_ENV: Final = "ARGO_PROGRESS_FILE"
"""Argo's executor reads `done/total` from the file this names (argo-workflows docs/progress.md)."""
TERMINATION_LOG_ENV: Final = "VMFERRY_TERMINATION_LOG"
"""Where the last words go when `/dev/termination-log` is not there, as outside a pod."""
LAST_WORDS_LIMIT: Final = 4096


class Exit(enum.IntEnum):
    """What an exit code means. 10-19: a person must act. 20: look at the sibling. Anything else: try again.

    64 and 65 belong to Argo's executor and are never used.
    """

    DONE = 0
    INVALID = 10
    """The request cannot be carried out as it is written."""
    DENIED = 11
    """The source refuses the credentials, or they lack a permission."""
    UNTRUSTED = 12
    """The source's certificate is not one we were told to trust."""
    NO_SPACE = 13
    """There is no room, or no quota, for the bytes."""
    NOT_FOUND = 14
    """The datacenter, machine or network is not there."""
    AMBIGUOUS = 15
    """The name fits more than one thing."""
    UNSUPPORTED = 16
    """The machine has something that no import can carry."""
    POWER = 17
    """The machine is on and cannot be shut down the way the request allows."""
    CORRUPT = 18
    """The bytes that lie there are not what they should be, and reading them again will not help."""
    CONFLICT = 19
    """Something that is not ours stands where the result belongs."""

    SIBLING = 20
    """This step is well; the step beside it failed. Retrying runs both."""

    UNREACHABLE = 30
    """The source or the target does not answer, or stopped answering. Tried again."""
    BUSY = 31
    """The source has no slot free at present (a lease, a lock). Tried again."""
    BROKEN_STREAM = 32
    """A transfer ended early or arrived damaged; what landed is kept. Tried again."""
    INTERNAL = 70
    """A fault in vmferry itself, with a traceback in the log, or a program it ran was killed. Tried again."""
    STOPPED = 143
    """SIGTERM: stopped at the next chunk, everything given back. Tried again."""

    @property
    def permanent(self) -> bool:
        """Whether trying again is pointless until a person has done something."""
        return Exit.INVALID <= self <= Exit.CONFLICT

    @property
    def word(self) -> str:
        """The name as a condition's reason: `NoSpace`."""
        return "".join(part.title() for part in self.name.split("_"))


def is_retryable(code: int) -> bool:
    """The one retry rule, for the embedded runner as for Argo: everything but done, 10-19 and 20."""
    return code != Exit.DONE and not Exit.INVALID <= code <= Exit.SIBLING


class StepError(Exception):
    """A failure that says what failed, why, and what to do, in one line.

    `str(error)` is `WHAT: WHY; REMEDY`: the line a person reads in the Argo UI and in the condition.
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
        # Names come from foreign files: a terminal must not obey them.
        return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words)

    @property
    def _parts(self) -> tuple[str, str, str]:
        return self.what, self.why, self.remedy


_MOST: Final = (400, 2200, 600)
"""Characters of an error's three parts: they fit into `LAST_WORDS_LIMIT`, whatever a foreign file says."""


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


class Stopped(Exception):  # noqa: N818 - it is an event, not a fault
    """Someone asked the step to stop (SIGTERM, SIGINT). Raised at the next chunk."""
