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


def await_status(
    cloud: Cloud,
    what: str,
    read: Callable[[], Any],
    expected: Collection[str],
    *,
    transitional: Collection[str],
    seconds: float,
    pause: float = POLL_SECONDS,
    remedy: str = "",
) -> Any:
    """The object, once its status is one of `expected`.

    `read` returns the current object, or None if it was deleted; `remedy` is the remedy if it takes too long.

    Raises:
        StepError: BUSY, if it was deleted or has a status neither expected nor transitional: it is created
            again; UNREACHABLE, if it is not ready after `seconds`.
        Stopped: a stop was requested.
    """
    end, logged = CLOCK() + seconds, ""
    while True:
        current = read()
        status = str(current.status) if current is not None else "gone"
        if status in expected:
            return current
        if status not in transitional:
            raise StepError(
                Exit.BUSY, f"{what} is {status}", f"not {' or '.join(expected)}", "vmferry makes it again"
            )
        if status != logged:
            log.info(f"waiting: {what} is {status}")
            logged = status
        if CLOCK() > end:
            raise StepError(Exit.UNREACHABLE, f"{what} is still {status} after {seconds:g} s", remedy=remedy)
        cloud.stop.sleep(pause)
