"""Metadata and tags of a server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from steps.model.contract import Exit, StepError
from steps.model.machine import Tag
from steps.providers.openstack.facts import read_tags
from tests.unit.builders import a_machine
from tests.unit.steps.providers.openstack.documents import a_server
from tests.unit.steps.providers.openstack.test_quotas import Cinder, cloud


def tags(server: Any) -> tuple[Tag, ...]:
    compute = SimpleNamespace(get_server=lambda _: server)
    return read_tags(cloud(Cinder(), compute), a_machine())


def test_metadata_has_values_and_tags_have_none() -> None:
    server = a_server(metadata={"env": "live"}, tags=["backup"])
    assert tags(server) == (Tag(name="backup", value="true"), Tag(name="env", value="live"))


def test_a_cloud_without_tags_has_metadata_only() -> None:
    assert tags(a_server(metadata={"env": "live"}, tags=None)) == (Tag(name="env", value="live"),)


def test_a_server_that_was_deleted_is_an_error() -> None:
    with pytest.raises(StepError, match="it was deleted") as caught:
        tags(None)
    assert caught.value.code is Exit.NOT_FOUND
