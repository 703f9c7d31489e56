"""The WorkflowTemplates of VMs of which some disks land on plain volumes and others become images."""

from __future__ import annotations

import json
from typing import Final

import pytest

from steps.model.contract import SCRATCH, VOLUME
from steps.model.landing import LandingDisk, MixedDisk
from steps.model.plan import DiskWay
from steps.model.sources import SourceKind
from tests.unit.workflows.author.landed_rows import filled
from tests.unit.workflows.author.rendered import CHART, Json, keys, parse, spec, templates

MIXED: Final = {
    kind: parse((CHART / "files" / f"{kind.provider}-mixed.yaml").read_text())["spec"] for kind in SourceKind
}
TEMPLATES: Final = {one["name"]: one for one in MIXED[SourceKind.VMWARE]["templates"]}
DISK_TASKS: Final = {task["name"]: task for task in TEMPLATES["disks"]["dag"]["tasks"]}
SERVED: Final = MixedDisk.on_scratch("disk-0", "run-disk-0")


def landed(mode: str) -> MixedDisk:
    return MixedDisk.on_volume(LandingDisk.of("disk-1", "run-disk-1", mode, landed=False), "run-disk-1-notes")


def pod(stage: str, row: MixedDisk) -> Json:
    """The template of a stage with the inputs of a disk, after its patch, as Argo makes the pod.

    Lists merge by the names of containers and volumes, and by the paths of mounts.
    """
    made: Json = json.loads(filled(json.dumps(TEMPLATES[stage]), row))
    assert "inputs.parameters" not in json.dumps(made)
    patch = json.loads(made["podSpecPatch"])
    (main,) = patch["containers"]
    container = made["container"]
    for key, name in (("volumeMounts", "mountPath"), ("volumeDevices", "devicePath")):
        merged = {one[name]: one for one in (*container.get(key, []), *main.get(key, []))}
        container[key] = list(merged.values())
    merged = {one["name"]: one for one in (*made["volumes"], *patch["volumes"])}
    return made | {"volumes": list(merged.values())}


def mounts(made: Json, key: str = "volumeMounts") -> dict[str, str]:
    name = "mountPath" if key == "volumeMounts" else "devicePath"
    return {one["name"]: one[name] for one in made["container"][key]}


def claims(made: Json) -> dict[str, str]:
    found = ((one["name"], one.get("persistentVolumeClaim")) for one in made["volumes"])
    return {name: claim["claimName"] for name, claim in found if claim}


@pytest.mark.parametrize("stage", ["export", "convert"])
def test_a_disk_that_becomes_an_image_is_copied_to_scratch_alone(stage: str) -> None:
    """The patch repeats what the template says, so it changes nothing."""
    made = pod(stage, SERVED)
    plain = templates()[stage]
    assert claims(made) == {"scratch": "run-disk-0"}
    assert mounts(made) == {one["name"]: one["mountPath"] for one in plain["container"]["volumeMounts"]}
    assert mounts(made)["scratch"] == str(SCRATCH)
    assert mounts(made, "volumeDevices") == {}


@pytest.mark.parametrize("stage", ["export", "convert"])
@pytest.mark.parametrize(("mode", "key"), [("Block", "volumeDevices"), ("Filesystem", "volumeMounts")])
def test_a_disk_that_lands_has_its_volume_and_its_records(stage: str, mode: str, key: str) -> None:
    made = pod(stage, landed(mode))
    assert claims(made) == {"scratch": "run-disk-1-notes", "disk": "run-disk-1"}
    assert mounts(made, key)["disk"] == str(VOLUME)
    assert mounts(made)["scratch"] == str(SCRATCH)


def test_each_disk_has_the_stages_of_its_way() -> None:
    conditions = {name: task.get("when") for name, task in DISK_TASKS.items()}
    assert conditions == {
        "export": "{{inputs.parameters.landed}} == false",
        "convert": "{{inputs.parameters.landed}} == false",
        "serve": f"{{{{inputs.parameters.way}}}} == {DiskWay.PULL}",
        "image": f"{{{{inputs.parameters.way}}}} == {DiskWay.PULL}",
        "hand-over": f"{{{{inputs.parameters.way}}}} == {DiskWay.LAND}",
    }
    assert {DISK_TASKS[name]["depends"] for name in ("serve", "image")} == {"convert"}
    assert DISK_TASKS["hand-over"]["depends"] == "export"  # its program waits for convert


def test_a_disk_is_a_row_of_admit() -> None:
    (disks,) = [task for task in TEMPLATES["transfer"]["dag"]["tasks"] if task["name"] == "disks"]
    given = {one["name"]: one["value"] for one in disks["arguments"]["parameters"]}
    assert given == {name: f"{{{{item.{name}}}}}" for name in MixedDisk.model_fields}
    declared = [one["name"] for one in TEMPLATES["disks"]["inputs"]["parameters"]]
    assert sorted(declared) == sorted(MixedDisk.model_fields)


def test_all_pods_with_scratch_have_one_user_so_that_each_reads_what_the_others_wrote() -> None:
    users = {
        name: one.get("securityContext", MIXED[SourceKind.VMWARE]["securityContext"])["runAsUser"]
        for name, one in TEMPLATES.items()
        if any(mount["name"] == "scratch" for mount in one.get("container", {}).get("volumeMounts", []))
    }
    assert users == {"export": 107, "convert": 107, "serve": 107}


def test_a_mixed_template_has_no_field_that_the_other_has_not() -> None:
    assert set(keys(MIXED[SourceKind.VMWARE])) <= set(keys(spec())) | {"securityContext"}


@pytest.mark.parametrize("stage", ["preflight", "admit", "poweroff", "image", "build", "start", "halt"])
def test_the_other_stages_are_those_of_the_plain_template(stage: str) -> None:
    assert TEMPLATES[stage] == templates()[stage]


@pytest.mark.parametrize("kind", SourceKind)
def test_templates_differ_only_in_image_and_name_of_the_provider(kind: SourceKind) -> None:
    provider = json.dumps(MIXED[kind]).replace(f"vmferry/{kind.provider}:", "vmferry/vmware:")
    assert provider.replace(kind, "VmwareSource") == json.dumps(MIXED[SourceKind.VMWARE])
