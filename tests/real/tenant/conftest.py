"""The ground of the attempts, made once, and their table at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.real.controller import apiserver, crowd
from tests.real.tenant import table
from tests.real.tenant.ground import Ground, prepared
from tests.real.tenant.table import Row

Attempt = Callable[[str, str], AbstractContextManager[Row]]
HERE = Path(__file__).parent


def _why_not() -> str:
    """Why these tests cannot run here; empty if they can."""
    if not apiserver.PROGRAM.exists():
        return f"NOT RUN: {apiserver.PROGRAM} is missing; tests/real/lab/build builds it, or set LAB_KUBE"
    if os.geteuid() != 0:
        return "NOT RUN: a network namespace needs root"
    if shutil.which(crowd.HELM) is None:
        return "NOT RUN: no helm; set HELM to its path"
    if shutil.which("go") is None:
        return "NOT RUN: Go builds the simulated vCenter"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = _why_not()
    for item in items:
        if item.path.is_relative_to(HERE) and reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if text := table.written():
        terminalreporter.write_sep("=", "what a tenant attempted")
        terminalreporter.write(text)


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    table.forget(Ground.name)
    with prepared(tmp_path_factory.mktemp("ground")) as made:
        yield made


@pytest.fixture
def attempt(ground: Ground) -> Attempt:
    """The row of an attempt, and afterwards a controller that still runs."""
    return partial(table.attempt, ground=ground.name)
