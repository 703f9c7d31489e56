"""docs/reference/rights.md lists what the API server lists."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.real.chart.rights import Table, load
from tests.real.cluster.chart import Chart
from tests.real.cluster.rights import collect
from tests.real.standins.process import eventually


@pytest.fixture
def tenant(chart: Chart) -> Iterator[str]:
    yield chart.lab.make_namespace("rights")
    chart.lab.reset()


def test_the_documented_rights_are_those_of_the_api_server(chart: Chart, tenant: str) -> None:
    documented = load()["now"]
    found: Table = {}

    def agree() -> bool:
        found.update(collect(chart.lab.kubectl, chart.lab.release, tenant))
        return found == documented

    # The API server knows new bindings with a delay.
    with suppress(TimeoutError):
        eventually(agree, "the rights of new accounts", 30.0)
    assert found == documented
