"""docs/reference/rights.md lists what the chart grants."""

from __future__ import annotations

from tests.real.chart.rights import ACCOUNTS, NAME, granted, load
from tests.real.chart.test_chart import of_kind, without_helm

pytestmark = without_helm


def test_the_documented_rights_are_those_that_the_chart_grants() -> None:
    """If it fails: run `python -m tests.real.chart.rights --write` and `make golden`; read the diff."""
    assert load()["now"] == granted()


def test_the_rights_of_every_service_account_are_documented() -> None:
    assert {f"{NAME}-{account}" for account in ACCOUNTS} == set(of_kind("ServiceAccount"))
