"""The definitions of `v2v.kubevirt.io`: up to date in the chart, and as strict as those of their operator."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from workflows.api.crd_v2v import CHART_FILE, manifests, render

Json = dict[str, Any]
ROOT: Final = Path(__file__).parents[4]


def test_chart_file_is_generated_from_the_models() -> None:
    if os.environ.get("VMFERRY_GOLDEN") == "write":
        assert "CI" not in os.environ, "generated files are written by a person, who reads the diff"
        (ROOT / CHART_FILE).write_text(render(chart=True))
    assert (ROOT / CHART_FILE).read_text() == render(chart=True), "run: make golden"


def schema(kind: str, part: str) -> Json:
    definition = next(one for one in manifests() if one["spec"]["names"]["kind"] == kind)
    (version,) = definition["spec"]["versions"]
    found: Json = version["schema"]["openAPIV3Schema"]["properties"][part]
    return found


def nodes(node: Json) -> list[Json]:
    parts = [*node.get("properties", {}).values(), *([node["items"]] if "items" in node else [])]
    return [node, *(below for part in parts for below in nodes(part))]


def test_names() -> None:
    found = {one["metadata"]["name"]: one["spec"]["names"] for one in manifests()}
    assert list(found) == ["virtualmachineimports.v2v.kubevirt.io", "resourcemappings.v2v.kubevirt.io"]
    assert found["virtualmachineimports.v2v.kubevirt.io"]["shortNames"] == ["vmimports"]
    assert all(names["categories"] == ["all"] for names in found.values())


def test_the_required_fields_are_those_of_the_operator() -> None:
    spec = schema("VirtualMachineImport", "spec")
    assert spec["required"] == ["providerCredentialsSecret", "source"]
    properties = spec["properties"]
    assert properties["providerCredentialsSecret"]["required"] == ["name"]
    assert properties["targetVmName"]["maxLength"] == 63
    rows = properties["source"]["properties"]["vmware"]["properties"]["mappings"]["properties"]
    assert all(list_["items"]["required"] == ["source"] for list_ in rows.values())


def test_a_target_may_be_an_object_or_a_text() -> None:
    rows = schema("ResourceMapping", "spec")["properties"]["ovirt"]["properties"]
    target = rows["networkMappings"]["items"]["properties"]["target"]
    assert target["x-kubernetes-preserve-unknown-fields"] is True
    assert "type" not in target


def test_nothing_is_nullable_and_nothing_has_a_default() -> None:
    for kind in ("VirtualMachineImport", "ResourceMapping"):
        for part in ("spec", "status"):
            found = nodes(schema(kind, part))
            assert [node for node in found if {"nullable", "default", "enum", "pattern"} & node.keys()] == []
