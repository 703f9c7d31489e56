"""Settings for all tests."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

LAB: Final = ("argo", "cluster", "harvester", "standins", "lab", "tenant", "virt")
"""Folders of tests that wait for pods or a controller: `eventually` finds a hang long before this limit."""
LAB_SECONDS: Final = 3600
FUZZ_SECONDS: Final = float(os.environ.get("VMFERRY_FUZZ_SECONDS", "0"))

# Tests that a shell starts in the background ignore SIGINT, and so do all programs they start (programs that
# a test interrupts must behave as at a terminal).
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time, however slow the host: a failure is then a defect, not chance.
settings.register_profile("vmferry", max_examples=40, deadline=None, derandomize=True, database=None)
settings.load_profile("vmferry")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """More time than `timeout` in pyproject.toml for the tests that need it."""
    here = Path(__file__).parent
    for item in items:
        parts = item.path.relative_to(here).parts if here in item.path.parents else ("",)
        folder = parts[1] if parts[0] == "real" else parts[0]
        if folder in LAB:
            item.add_marker(pytest.mark.timeout(LAB_SECONDS))
        elif folder == "fuzz" and FUZZ_SECONDS:
            item.add_marker(pytest.mark.timeout(2 * FUZZ_SECONDS + 900))
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Guests take longest. At the end one worker would boot them while the others have nothing to do.
        items.sort(key=lambda item: item.get_closest_marker("vm") is None)


def pytest_collection_finish() -> None:
    """What was imported and collected stays: no garbage collection needs to visit it again."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
