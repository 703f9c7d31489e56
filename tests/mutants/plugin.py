"""A plug-in of pytest for the runs of mutmut."""

from __future__ import annotations

import os

import pytest

_MODE = "MUTANT_UNDER_TEST"


def pytest_configure(config: pytest.Config) -> None:
    """Programs that a test starts must not count calls for mutmut.

    mutmut names its mode and the mutant in an environment variable. While it counts which test calls which
    function, a program with that variable would look for mutmut's settings in its own folder, and fail. In
    this process mutmut remembers the mode without the variable.
    """
    if os.environ.get(_MODE) == "stats":
        del os.environ[_MODE]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that build a program with Go: they would build it again in each copy."""
    left_out = [item for item in items if any(map(_needs_go, item.iter_markers("skipif")))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _needs_go(mark: pytest.Mark) -> bool:
    return str(mark.kwargs.get("reason", "")).startswith("Go builds")
