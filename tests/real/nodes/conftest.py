"""The lab of tests/real/cluster with a second node. The stand-ins play Harvester and KubeVirt."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from steps.model.kinds import NODE
from tests.real import lab_only
from tests.real.cluster.chart import Chart
from tests.real.cluster.conftest import alone, chart, harvester, images, lab, vcenter, world
from tests.real.cluster.lab import SCRIPTS

__all__ = ["alone", "chart", "harvester", "images", "lab", "vcenter", "world"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lab_only.mark(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def nodes(chart: Chart) -> Iterator[tuple[str, str]]:
    """The names of the first and of the second node, which exists while the tests run. Disks may land."""
    subprocess.run([SCRIPTS / "node", "up"], check=True)
    try:
        chart.install(kubevirt={"disks": "land"})
        first, second = sorted(one["metadata"]["name"] for one in chart.lab.cluster.find(NODE))
        yield first, second
    finally:
        chart.install()
        subprocess.run([SCRIPTS / "node", "down"], check=True)
