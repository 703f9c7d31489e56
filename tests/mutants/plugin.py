"""A plug-in of pytest: programs that a test starts must not count calls for mutmut.

mutmut names its mode and the mutant in an environment variable. While it counts which test calls which
function, a program with that variable would look for mutmut's settings in its own folder, and fail. In this
process mutmut remembers the mode without the variable.
"""

from __future__ import annotations

import os

import pytest

_MODE = "MUTANT_UNDER_TEST"


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get(_MODE) == "stats":
        del os.environ[_MODE]
