"""Reads that are made again when the connection breaks. Never used around a call that changes something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import stamina
import structlog
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from steps.runtime.stop import Stop

log = structlog.get_logger()

ATTEMPTS: Final = 3
"""A blip is bridged here; a real outage is the business of the step's own retry, with longer pauses."""
LONGEST_PAUSE_SECONDS: Final = 2.0
_LONGEST: Final = 300
"""Characters of what an error says: some servers send whole pages."""


def attempts(stop: Stop, is_transient: Callable[[Exception], bool]) -> Iterator[stamina.Attempt]:
    """Attempts at a read, each to be entered as a context; none follows once someone asked to stop."""

    def worth_it(error: Exception) -> bool:
        return is_transient(error) and not stop.is_set()

    yield from stamina.retry_context(
        on=worth_it, attempts=ATTEMPTS, timeout=None, wait_initial=0.2, wait_max=LONGEST_PAUSE_SECONDS
    )


def _tell(details: RetryDetails) -> None:
    """Say that a read is made again, and why; stamina's own hook would log the call's arguments too."""
    error = details.caused_by
    why = " ".join(str(error).split())[:_LONGEST] or type(error).__name__
    log.warning("the source did not answer; retrying", why=why, seconds=round(details.wait_for, 2))


set_on_retry_hooks([_tell])
