"""Harvester's and KubeVirt's own webhooks in the lab; without them the tests are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real import lab_only
from tests.real.cluster.lab import Lab
from tests.real.harvester.install import Real
from tests.real.harvester.programs import NotBuiltError, Programs
from tests.real.standins.process import reserved

HERE = Path(__file__).parent


def _missing() -> str:
    try:
        Programs.found().check()
    except NotBuiltError as error:
        return f"NOT RUN: no Harvester; {error}"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lab_only.mark(items, HERE, _missing)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    found = Lab.start()
    with reserved(found.place):
        yield found


@pytest.fixture(scope="module")
def real(lab: Lab) -> Iterator[Real]:
    """Kinds, settings and webhooks; no controllers."""
    found = Real.of(lab.place, Programs.found())
    found.install()
    with found.webhooks():
        yield found
