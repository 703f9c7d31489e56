"""Tests that need the lab: part of `make e2e`, not of `make test`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import pytest


def mark(
    items: Iterable[pytest.Item],
    folder: Path,
    missing: Callable[[], str] = lambda: "",
    *,
    pure: Collection[str] = (),
) -> None:
    """Give the tests of `folder` the marker `lab`, and skip them where they cannot run.

    `missing` says what the lab lacks for them, or ""; `pure` are files of the folder that need no lab.
    """
    ours = [item for item in items if item.path.is_relative_to(folder) and item.path.name not in pure]
    if not ours:
        return
    reason = "NOT RUN HERE: it needs the lab; run `make e2e`"
    if os.environ.get("VMFERRY_E2E"):
        reason = missing()
    for item in ours:
        item.add_marker(pytest.mark.lab)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))
