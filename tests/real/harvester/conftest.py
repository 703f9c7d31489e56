"""Harvester's and KubeVirt's own webhooks in the lab; without them the tests are skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.cluster.lab import Lab
from tests.real.harvester.install import Real
from tests.real.harvester.programs import NotBuiltError, Programs
from tests.real.standins.process import reserved

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These need the lab and a large program. They are part of `make e2e`, not of `make test`."""
    try:
        Programs.found().check()
        missing = ""
    except NotBuiltError as error:
        missing = str(error)
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue
        item.add_marker(pytest.mark.lab)
        if not os.environ.get("VMFERRY_E2E"):
            item.add_marker(pytest.mark.skip(reason="NOT RUN HERE: it needs the lab; run `make e2e`"))
        elif missing:
            item.add_marker(pytest.mark.skip(reason=f"NOT RUN: no Harvester; {missing}"))


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
