"""Finds the server of a name in Nova's list, which it filters by name."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from openstack import exceptions as sdk

from steps.model.contract import Exit, StepError
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from steps.providers.openstack import find
from steps.providers.openstack.cloud import Cloud
from steps.runtime.stop import Stop
from tests.unit.steps.providers.openstack.documents import SERVER, a_server

OTHER = "9d5e6c5e-0000-4000-8000-000000000001"


class Compute:
    """Nova's two calls: a server by ID; servers whose names match a regular expression."""

    def __init__(self, *servers: Any) -> None:
        self._servers = servers

    def get_server(self, wanted: str) -> Any:
        for one in self._servers:
            if one.id == wanted:
                return one
        raise sdk.NotFoundException("no such server", response=cast("Any", SimpleNamespace(**_GONE)))

    def servers(self, *, details: bool, name: str) -> list[Any]:
        assert not details
        return [one for one in self._servers if re.search(name, one.name)]


_GONE = {"status_code": 404, "headers": {}, "request": None}


def cloud(*servers: Any) -> Cloud:
    plan = SourcePlan(kind=SourceKind.OPENSTACK, name="c", endpoint="https://k:5000/v3", region="R1")
    connection = SimpleNamespace(compute=Compute(*servers))
    return Cloud(plan=plan, connection=connection, tls=None, stop=Stop())


def test_a_server_is_found_by_name_and_by_uuid() -> None:
    there = cloud(a_server(), a_server(id=OTHER, name="web01-old"))
    assert find.server(there, "web01").id == SERVER
    assert find.server(there, OTHER).name == "web01-old"


def test_a_server_that_is_listed_twice_is_one() -> None:
    """A page may repeat entries of the page before."""
    there = cloud(a_server(), a_server())
    assert find.server(there, "web01").id == SERVER


def test_a_server_may_have_a_uuid_as_its_name() -> None:
    there = cloud(a_server(name=OTHER))
    assert find.server(there, OTHER).id == SERVER


@pytest.mark.parametrize("name", ["web (1)", "a.b*", "größe", "[x", "tab\tname", "web01\\"])
def test_a_name_is_not_a_regular_expression(name: str) -> None:
    there = cloud(a_server(name=name), a_server(id=OTHER, name="web"))
    assert find.server(there, name).id == SERVER


def test_an_ambiguous_name_is_refused_with_all_servers() -> None:
    with pytest.raises(StepError) as caught:
        find.server(cloud(a_server(), a_server(id=OTHER)), "web01")
    assert caught.value.code is Exit.AMBIGUOUS
    assert SERVER in str(caught.value)
    assert OTHER in str(caught.value)


@pytest.mark.parametrize("name", ["web", "web011", "WEB01", ""])
def test_a_part_of_a_name_does_not_match(name: str) -> None:
    with pytest.raises(StepError, match="in region R1; check its name") as caught:
        find.server(cloud(a_server()), name)
    assert caught.value.code is Exit.NOT_FOUND
