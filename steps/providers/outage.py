"""A step outlasts a source that does not answer: it waits, then resumes from what has landed.

A vCenter that is patched is away for many minutes; the gateway of a cloud answers 503 for as long. A step
that waits keeps its pod, and with it the slots of its source. No attempt of the step is counted.

A stop ends the wait at once, and so does every other error: a wrong password is never repeated here.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import structlog

from steps.model.contract import Exit, NoAnswerError, StepError
from steps.providers import Access, Provider, connect
from steps.runtime import progress
from steps.runtime.program import MACHINE, Context

log = structlog.get_logger()
T = TypeVar("T")

FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 60.0
STEADY_SECONDS: Final = 600.0
"""After so long with an open source, an error begins a new outage: the repeated requests of one call without
an answer take less (`steps.runtime.retry`)."""
CLOCK: Final = time.monotonic
_TIME: Final = "%H:%M:%S UTC"


def with_source(
    context: Context, step: str, use: Callable[[Provider], T], *, done: Callable[[], int] = lambda: 0
) -> T:
    """The result of `use` with the open source; repeated while the source does not answer.

    A source that has never answered is not waited for, as its address may be wrong: neither has the
    controller verified it, nor has preflight found the VM. One that asks to wait (Retry-After) has answered.

    Args:
        context: of the step.
        step: the connecting step and disk, such as `export-disk-0` (`Access.step`).
        use: may run several times, as a step may.
        done: bytes that have landed. A source that sends bytes is not away.

    Raises:
        StepError: of `connect` and `use`; NoAnswerError after `SourcePlan.wait_seconds` without an answer.
        Stopped: a stop was requested.
    """
    plan = context.plan()
    machine = context.machine() if (context.request / MACHINE).exists() else None
    has_answered = plan.source.verified or machine is not None
    wait_seconds = plan.source.wait_seconds
    outage = Outage(wait_seconds if has_answered else 0, done, asked_wait_seconds=wait_seconds)
    access = Access(
        plan=plan.source,
        credentials=context.credentials,
        stop=context.stop,
        run=plan.run,
        step=step,
        state_folder=context.scratch,
        machine=machine,
    )
    while True:
        try:
            with ExitStack() as opened:
                provider = _connect(access, opened)
                outage.note_connection()
                return use(provider)
        except NoAnswerError as error:
            context.stop.check()
            pause = outage.next_pause(error)
        context.stop.sleep(pause)


def _connect(access: Access, opened: ExitStack) -> Provider:
    """Open the source. One that cannot be reached does not answer, whatever the reason."""
    try:
        return opened.enter_context(connect(access))
    except StepError as error:
        if error.code is not Exit.UNREACHABLE or isinstance(error, NoAnswerError):
            raise
        raise NoAnswerError(error.code, error.what, error.why, error.remedy) from error


class Outage:
    """Since when the source does not answer, and for how long the step still waits."""

    def __init__(
        self, wait_seconds: float, done: Callable[[], int], *, asked_wait_seconds: float = 0
    ) -> None:
        """`asked_wait_seconds`: how long a source that asks to wait is waited for."""
        self._wait_seconds = wait_seconds
        self._asked_wait_seconds = max(wait_seconds, asked_wait_seconds)
        self._done = done
        self._failures = 0
        self._since = 0.0
        self._done_before = 0
        self._connected_at: float | None = None

    def note_connection(self) -> None:
        """Note that the source accepts a connection; whether it does more, its use shows."""
        self._connected_at = CLOCK()
        if self._failures:
            log.info("the source answers again", seconds=round(self._connected_at - self._since))
            progress.note("")

    def next_pause(self, error: NoAnswerError) -> float:
        """Seconds until the next attempt, after one that ended with `error`.

        Raises:
            NoAnswerError: the time is up.
        """
        now = CLOCK()
        if not self._failures or self._has_worked(now):
            self._failures, self._since, self._done_before = 0, now, self._done()
        self._connected_at = None
        limit = self._wait_seconds if error.retry_after is None else self._asked_wait_seconds
        left = self._since + limit - now
        if not limit:
            raise error
        if left <= 0:
            raise _with_duration(error, _wall_clock(self._since - now)) from error
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**self._failures)
        spread = random.uniform(0.5, 1)  # noqa: S311 - spreads the attempts of many imports
        asked = (error.retry_after or 0.0) * (1.5 - spread / 2)  # never less than it asks for
        pause = min(left, max(longest * spread, asked))
        self._failures += 1
        since, until = _wall_clock(self._since - now), _wall_clock(left)
        log.warning(
            "the source does not answer; waiting for it",
            why=str(error),
            since=since,
            until=until,
            next_attempt_seconds=round(pause, 1),
        )
        progress.note(f"waits for the source since {since}, until {until} at most: {error}")
        return pause

    def _has_worked(self, now: float) -> bool:
        """Whether the source worked between the last error and this one.

        Once bytes have landed, only more bytes count: a source that always breaks off at the same one would
        otherwise be waited for without end.
        """
        if self._done():
            return self._done() > self._done_before
        return self._connected_at is not None and now - self._connected_at > STEADY_SECONDS


def _with_duration(error: NoAnswerError, since: str) -> NoAnswerError:
    why = f"{error.why}; no answer since {since}" if error.why else f"no answer since {since}"
    return NoAnswerError(error.code, error.what, why, error.remedy)


def _wall_clock(seconds: float) -> str:
    """The time of day so many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime(_TIME)
