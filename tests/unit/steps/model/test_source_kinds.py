"""Every place outside the row of a kind of source knows that kind."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from pathlib import Path
from typing import Final

import pytest

from steps.model.kinds import SOURCES
from steps.model.sources import SourceKind
from workflows.api.sources import RESOURCES

ROOT: Final = Path(__file__).parents[4]
ANY_KIND: Final = pytest.mark.parametrize("kind", list(SourceKind))


def test_each_kind_has_one_resource() -> None:
    assert list(RESOURCES) == list(SourceKind)


@ANY_KIND
def test_a_kind_has_a_provider(kind: SourceKind) -> None:
    assert importlib.util.find_spec(f"steps.providers.{kind.provider}") is not None


@ANY_KIND
def test_a_kind_has_an_extra(kind: SourceKind) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert kind.provider in extras
    assert any(
        f"vmferry[{kind.provider}" in given or f",{kind.provider}" in given for given in extras["local"]
    )


@ANY_KIND
def test_the_requirements_of_a_kind_are_compiled(kind: SourceKind) -> None:
    script = (ROOT / "requirements" / "compile.sh").read_text()
    assert f" {kind.provider} " in script
    assert (ROOT / "requirements" / f"{kind.provider}.txt").is_file()


@ANY_KIND
def test_values_may_name_a_kind_and_its_image(kind: SourceKind) -> None:
    schema = json.loads((ROOT / "charts/vmferry/values.schema.json").read_text())["properties"]
    assert kind.provider in schema["images"]["properties"]["digests"]["properties"]
    row = schema["limits"]["properties"]["perSource"]["items"]
    assert str(kind) in row["properties"]["kind"]["enum"]


@ANY_KIND
def test_tenants_may_write_and_read_a_kind(kind: SourceKind) -> None:
    rights = (ROOT / "charts/vmferry/templates/rbac-tenants.yaml").read_text()
    assert rights.count(SOURCES[kind].plural) == 2


@ANY_KIND
def test_a_kind_has_an_image(kind: SourceKind) -> None:
    assert f"FROM python AS {kind.provider}\n" in (ROOT / "images" / "Containerfile").read_text()


@ANY_KIND
def test_the_controller_may_read_a_kind_and_write_its_status(kind: SourceKind) -> None:
    rights = (ROOT / "charts/vmferry/templates/rbac-controller.yaml").read_text()
    assert f"{SOURCES[kind].plural}," in rights or f"{SOURCES[kind].plural}]" in rights
    assert f"{SOURCES[kind].plural}/status" in rights


@ANY_KIND
def test_a_message_can_name_the_vm_to_power_on(kind: SourceKind) -> None:
    assert kind.power_on.format(id="vm-1").count("{") == 0
    assert kind.runs_vms is bool(kind.power_on)
