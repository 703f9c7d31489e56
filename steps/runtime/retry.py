"""Reads that are repeated when the connection breaks. Never used for a call that changes something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import stamina
import structlog
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from steps.runtime.stop import Stop

log = structlog.get_logger()

ATTEMPTS: Final = 3
"""Attempts for a short interruption; for a longer one the step itself is retried, with longer pauses."""
LONGEST_PAUSE_SECONDS: Final = 2.0
_MAX_ERROR_CHARS: Final = 300
"""Most characters of an error's text: some servers send whole pages."""


def attempts(stop: Stop, is_transient: Callable[[Exception], bool]) -> Iterator[stamina.Attempt]:
    """Attempts at a read, each a context manager; none follows after a stop was requested."""

    def is_retryable(error: Exception) -> bool:
        return is_transient(error) and not stop.is_set()

    yield from stamina.retry_context(
        on=is_retryable, attempts=ATTEMPTS, timeout=None, wait_initial=0.2, wait_max=LONGEST_PAUSE_SECONDS
    )


def _log_retry(details: RetryDetails) -> None:
    """Log that a read is repeated, and why; stamina's own hook would also log the call's arguments."""
    error = details.caused_by
    why = " ".join(str(error).split())[:_MAX_ERROR_CHARS] or type(error).__name__
    log.warning("the source did not answer; retrying", why=why, seconds=round(details.wait_for, 2))


set_on_retry_hooks([_log_retry])
