"""Starts the lab once. Without Argo no test of this folder can run; they are skipped with a message."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.real import lab_only
from tests.real.argo import table
from tests.real.argo.ground import OPTIONS, PREPARED, Ground, attached, has_argo, prepared, up
from tests.real.argo.world import World, world
from tests.real.tenant import table as attempts

Make = Callable[..., World]


def _missing() -> str:
    return "" if has_argo() else "NOT RUN: no Argo given; set LAB_ARGO (tests/real/lab/README.md)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lab_only.mark(items, Path(__file__).parent, _missing)


def pytest_configure(config: pytest.Config) -> None:
    """Only the process that starts the xdist workers clears the table."""
    if not hasattr(config, "workerinput") and os.environ.get("VMFERRY_E2E"):
        table.forget()
        attempts.forget("lab")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("VMFERRY_E2E") and (text := table.written()):
        terminalreporter.write_sep("=", "the retry matrix")
        terminalreporter.write(text)
    if os.environ.get("VMFERRY_E2E") and (text := attempts.written()):
        terminalreporter.write_sep("=", "what a tenant attempted")
        terminalreporter.write(text)


@pytest.fixture(scope="session")
def ground() -> Iterator[Ground]:
    if os.environ.get(PREPARED):
        yield attached(up())
        return
    with prepared(*OPTIONS) as made:
        yield made


def namespace_of(test: str) -> str:
    """A namespace for one test only: parameters of tests that run in parallel may differ at the end alone."""
    words = re.sub(r"[^a-z0-9]+", "-", test.removeprefix("test_").lower())
    return f"it-{words[:40].strip('-')}-{hashlib.sha256(test.encode()).hexdigest()[:6]}"


@pytest.fixture
def make(ground: Ground, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Returns `make(vms)`, which makes the test's world."""
    space = namespace_of(request.node.name)
    with ExitStack() as stack:

        def made(vms: list[Any], **inventory: Any) -> World:
            return stack.enter_context(world(ground, tmp_path, vms, space, **inventory))

        yield made


@pytest.fixture
def settings(ground: Ground) -> Iterator[Callable[..., None]]:
    """Returns a function that changes the chart's values for one test."""
    yield ground.install
    ground.install()
