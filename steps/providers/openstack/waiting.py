"""Waiting for a status: OpenStack's long work shows no other progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, Final

import structlog

from steps.model.contract import Exit, StepError
from steps.providers.openstack.cloud import Cloud

log = structlog.get_logger()

POLL_SECONDS: Final = 2.0
CLOCK: Final = time.monotonic


def until(
    cloud: Cloud,
    what: str,
    look: Callable[[], Any],
    good: Collection[str],
    *,
    passing: Collection[str],
    seconds: float,
    pause: float = POLL_SECONDS,
    longer: str = "",
) -> Any:
    """The object, once its status is one of `good`.

    `look` returns the current object, or None if it was deleted; `longer` is the remedy if it takes too long.

    Raises:
        StepError: BUSY, if it was deleted or has a status neither good nor passing: it is created again;
            UNREACHABLE, if it is not ready after `seconds`.
        Stopped: a stop was requested.
    """
    end, told = CLOCK() + seconds, ""
    while True:
        found = look()
        status = str(found.status) if found is not None else "gone"
        if status in good:
            return found
        if status not in passing:
            raise StepError(
                Exit.BUSY, f"{what} is {status}", f"not {' or '.join(good)}", "vmferry makes it again"
            )
        if status != told:
            log.info(f"waiting: {what} is {status}")
            told = status
        if CLOCK() > end:
            raise StepError(Exit.UNREACHABLE, f"{what} is still {status} after {seconds:g} s", remedy=longer)
        cloud.stop.sleep(pause)
