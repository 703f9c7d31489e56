"""A deadline for a program that asks a source for one answer, from the environment.

The program ends by itself, so that its last message says why. A timer in a thread works also while the main
thread waits in a library or in the name resolution.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from steps.model.contract import TERMINATION_LOG, TERMINATION_LOG_ENV, Exit, StepError

SECONDS_ENV: Final = "VMFERRY_ANSWER_SECONDS"
"""Seconds within which the source must have answered everything; no deadline without it."""


def start(environment: Mapping[str, str] = os.environ) -> None:
    """End this process at the deadline, if there is one.

    Raises:
        StepError: INVALID, for a text that is not a number of seconds.
    """
    text = environment.get(SECONDS_ENV, "")
    if not text:
        return
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise StepError(Exit.INVALID, f"{SECONDS_ENV} is not a number of seconds", repr(text))
    timer = threading.Timer(seconds, _end, (seconds,))
    timer.daemon = True
    timer.start()


def message(seconds: float) -> str:
    """The last message of a program whose source did not answer in time."""
    error = StepError(
        Exit.UNREACHABLE,
        f"the source did not answer within {seconds:g} s",
        remedy="check that the cluster can reach its address",
    )
    return str(error)


def _end(seconds: float) -> None:
    """End without the cleanup of the main thread, which may not react."""
    path = Path(os.environ.get(TERMINATION_LOG_ENV, TERMINATION_LOG))
    try:
        path.write_text(message(seconds) + "\n", encoding="utf-8")
    finally:
        os._exit(Exit.UNREACHABLE)
