"""Reads that are made again when the connection breaks. Never used around a call that changes something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import stamina

from steps.stop import Stop

ATTEMPTS: Final = 3
"""A blip is bridged here; a real outage is the business of the step's own retry, with longer pauses."""
LONGEST_PAUSE_SECONDS: Final = 2.0


def attempts(stop: Stop, is_transient: Callable[[Exception], bool]) -> Iterator[stamina.Attempt]:
    """Attempts at a read, each to be entered as a context; none follows once someone asked to stop.

    No arguments are handed to stamina: it would log them.
    """

    def worth_it(error: Exception) -> bool:
        return is_transient(error) and not stop.is_set()

    yield from stamina.retry_context(
        on=worth_it, attempts=ATTEMPTS, timeout=None, wait_initial=0.2, wait_max=LONGEST_PAUSE_SECONDS
    )
