"""Keeps a transfer at a source alive in a thread of its own; the end of the transfer stops the reading."""

from __future__ import annotations

import abc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

from steps.model.contract import Exit, NoAnswerError, StepError
from steps.runtime.stop import LinkedStop, Stop

JOIN_SECONDS: Final = 5.0
"""How long to wait for a running sign of life: on a dead network it would delay the end."""


class KeepAlive(abc.ABC):
    """A transfer for as long as a `with` block runs.

    If the transfer is lost, `stop` stops the body, and the loss replaces its error.
    """

    def __init__(self, parent: Stop, what: str, *, thread: str) -> None:
        """`parent` is the stop flag of the step, `what` the beginning of an error, `thread` a name."""
        self.stop = LinkedStop(parent)
        """The stop flag for the reading: also set when the transfer is lost."""
        self._parent = parent
        self._what = what
        self._ended = False
        self._wake = threading.Event()
        self._failure: StepError | None = None
        self._thread = threading.Thread(target=self._run, name=thread, daemon=True)

    def check_now(self) -> None:
        """Check at once whether the transfer is still alive: its stream has broken."""
        self._wake.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._ended = True
        self._wake.set()
        self._thread.join(JOIN_SECONDS)
        if error is None or self._failure is None or self._parent.is_set():
            return
        raise self._failure from error  # the lost transfer is the cause, the broken stream only its effect

    @abc.abstractmethod
    def _run(self) -> None:
        """Give signs of life until `_wait` returns False or the transfer is lost."""

    def _wait(self, seconds: float) -> bool:
        """Wait until the next sign of life is due or asked for; False once the body has ended."""
        self._wake.wait(seconds)
        self._wake.clear()
        return not self._ended

    def _set_lost(self, why: str) -> None:
        self._failure = lost_fault(self._what, why)
        self.stop.set()


def lost_fault(what: str, why: str) -> StepError:
    """The error of a transfer that ended too early: what landed is kept, a new one reads the rest."""
    return NoAnswerError(
        Exit.BROKEN_STREAM, what, why, "vmferry retries and resumes from the data that has landed"
    )


@contextmanager
def retry_if_refused(what: str) -> Iterator[None]:
    """A refused URL of a granted transfer means that the transfer has ended, not that a person must act.

    By then the source has accepted the account and granted the transfer; a new one has new URLs.
    """
    try:
        yield
    except StepError as error:
        if error.code in (Exit.DENIED, Exit.NOT_FOUND):
            raise lost_fault(what, error.what) from error
        raise
