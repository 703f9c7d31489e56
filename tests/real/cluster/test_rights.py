"""docs/reference/rights.md lists what the API server lists."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.real.chart.rights import load
from tests.real.cluster.chart import Chart
from tests.real.cluster.rights import collect


@pytest.fixture
def tenant(chart: Chart) -> Iterator[str]:
    yield chart.lab.make_namespace("rights")
    chart.lab.reset()


def test_the_documented_rights_are_those_of_the_api_server(chart: Chart, tenant: str) -> None:
    assert load()["now"] == collect(chart.lab.kubectl, chart.lab.release, tenant)
