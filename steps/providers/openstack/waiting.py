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
    """The thing once its status is one of `good`.

    `look` gives the thing as it is now, or None when it is gone; `longer` is what to do when it takes long.

    Raises:
        StepError: BUSY, when it is gone or in a status neither good nor passing: it is made anew;
            UNREACHABLE, when it is not there after `seconds`.
        Stopped: someone asked to stop.
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
