"""The WorkflowTemplates of disks that land on their volumes, as they ship."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest

from steps.model.contract import VOLUME
from steps.model.landing import LandingDisk
from steps.model.plan import DiskWay
from steps.model.sources import SourceKind
from tests.unit.builders import a_plan
from tests.unit.workflows.author.landed_rows import filled
from tests.unit.workflows.author.rendered import CHART, Json, keys, parse, spec
from workflows.author.installation import Installation
from workflows.author.workflow import author
from workflows.mounts import FINAL_CLAIMS

LAND: Final = {
    kind: parse((CHART / "files" / f"{kind.provider}-land.yaml").read_text())["spec"] for kind in SourceKind
}
TEMPLATES: Final = {one["name"]: one for one in LAND[SourceKind.VMWARE]["templates"]}
DISK_TASKS: Final = {task["name"]: task for task in TEMPLATES["disks"]["dag"]["tasks"]}


def pod(stage: str, row: LandingDisk) -> Json:
    """The template of a stage with the inputs of a disk, its patch included, as Argo makes the pod."""
    made: Json = json.loads(filled(json.dumps(TEMPLATES[stage]), row))
    return made | {"patch": json.loads(made["podSpecPatch"])}


@pytest.mark.parametrize("stage", ["export", "convert"])
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("Block", {"volumeDevices": [{"name": "disk", "devicePath": str(VOLUME)}]}),
        ("Filesystem", {"volumeMounts": [{"name": "disk", "mountPath": str(VOLUME)}]}),
    ],
)
def test_a_pod_mounts_the_volume_by_its_mode(stage: str, mode: str, expected: dict[str, Any]) -> None:
    made = pod(stage, LandingDisk.of("disk-0", "run-disk-0", mode, landed=False))
    assert made["patch"]["containers"] == [{"name": "main", **expected}]
    volumes = {one["name"]: one for one in made["volumes"]}
    assert volumes["disk"]["persistentVolumeClaim"]["claimName"] == "run-disk-0"
    assert volumes["scratch"]["persistentVolumeClaim"]["claimName"].endswith("-disk-0-notes")
    assert "inputs.parameters" not in json.dumps(made)


@pytest.mark.parametrize("file", ["vmware-land", "vmware-mixed", "vmware-land-guest", "vmware-mixed-guest"])
def test_no_input_becomes_a_part_of_a_mount_without_a_check_of_its_form(file: str) -> None:
    """A person who may change the status of a Workflow changes the inputs. Names have the disk's id only."""
    for one in parse((CHART / "files" / f"{file}.yaml").read_text())["spec"]["templates"]:
        text = json.dumps(
            [
                one.get("podSpecPatch", ""),
                one.get("volumes", []),
                one.get("container", {}).get("volumeMounts"),
            ]
        )
        assert set(re.findall(r"\{\{inputs\.parameters\.([a-z]+)\}\}", text)) <= {"disk"}
        assert "{{inputs" not in one.get("podSpecPatch", "")


@pytest.mark.parametrize("stage", ["export", "convert"])
def test_the_owner_of_a_disk_is_the_user_of_kubevirt(stage: str) -> None:
    security = TEMPLATES[stage]["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (107, 107, 107)
    assert security["runAsNonRoot"] is True
    others = [name for name, one in TEMPLATES.items() if "securityContext" in one]
    assert set(others) == {"export", "convert"}


def test_what_was_handed_over_is_not_copied() -> None:
    assert DISK_TASKS["export"]["when"] == "{{inputs.parameters.landed}} == false"
    assert DISK_TASKS["convert"]["when"] == "{{inputs.parameters.landed}} == false"
    assert "when" not in DISK_TASKS["hand-over"]
    given = {one["name"]: one["value"] for one in DISK_TASKS["hand-over"]["arguments"]["parameters"]}
    assert given["landed"] == "{{inputs.parameters.landed}}"


def test_a_hand_over_begins_with_the_check_that_it_waits_for() -> None:
    """So its pod is ready when the check has succeeded, and the VM is off for a shorter time."""
    assert DISK_TASKS["hand-over"]["depends"] == DISK_TASKS["convert"]["depends"] == "export"
    assert "--workflow" in TEMPLATES["hand-over"]["container"]["args"]


def test_a_disk_is_a_row_of_admit() -> None:
    (disks,) = [task for task in TEMPLATES["transfer"]["dag"]["tasks"] if task["name"] == "disks"]
    given = {one["name"]: one["value"] for one in disks["arguments"]["parameters"]}
    assert given == {name: f"{{{{item.{name}}}}}" for name in LandingDisk.model_fields}
    declared = [one["name"] for one in TEMPLATES["disks"]["inputs"]["parameters"]]
    assert sorted(declared) == sorted(LandingDisk.model_fields)


@pytest.mark.parametrize(
    ("way", "namespace", "expected"),
    [
        (DiskWay.LAND, "shop", {"final-claims": "false"}),
        (DiskWay.MIXED, "shop", {"final-claims": "false"}),
        (DiskWay.LAND, "vmferry", {"final-claims": "true"}),
        (DiskWay.PULL, "vmferry", {}),
    ],
)
def test_a_workflow_says_in_its_spec_whether_claims_have_their_final_names(
    way: DiskWay, namespace: str, expected: dict[str, str]
) -> None:
    plan = a_plan(way=way)
    plan = plan.model_copy(update={"target": plan.target.model_copy(update={"namespace": namespace})})
    given = author(plan, Installation(namespace="vmferry"))["spec"]["arguments"]["parameters"]
    found = {one["name"]: one["value"] for one in given}
    assert {name: value for name, value in found.items() if name == FINAL_CLAIMS} == expected


def test_hand_over_mounts_no_disk() -> None:
    assert {one["name"] for one in TEMPLATES["hand-over"]["volumes"]} == {"request", "tmp"}
    assert TEMPLATES["hand-over"]["serviceAccountName"] == "vmferry-target"


def test_there_is_neither_serve_nor_image() -> None:
    assert not {"serve", "image"} & set(TEMPLATES)


def test_a_landing_template_has_no_field_that_the_other_has_not() -> None:
    assert set(keys(LAND[SourceKind.VMWARE])) <= set(keys(spec())) | {"securityContext"}


@pytest.mark.parametrize("kind", SourceKind)
def test_templates_differ_only_in_image_and_name_of_the_provider(kind: SourceKind) -> None:
    provider = json.dumps(LAND[kind]).replace(f"vmferry/{kind.provider}:", "vmferry/vmware:")
    assert provider.replace(kind, "VmwareSource") == json.dumps(LAND[SourceKind.VMWARE])
