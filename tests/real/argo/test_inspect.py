"""Imports whose disks are looked into, by the real Argo: one pod mounts all disks, in the image `guest`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model import names
from steps.model.guest import Guest
from steps.model.guest_output import GUEST_OUTPUT, from_output
from steps.model.kinds import POD, Object
from steps.model.workflow_nodes import output_of
from tests.real import scenario
from tests.real.argo.ground import ARGO, RELEASE, Ground, eventually, keep
from tests.real.argo.test_retry import no_room, seen_running_again, started
from tests.real.argo.world import FAILED, INVALID, RUNNING, Imported, World, a_vm, claims_of, world
from tests.real.guest import datadisk
from workflows.api.conditions import find

pytestmark = pytest.mark.argo
Make = Callable[..., World]
SECONDS: Final = 900.0
"""An emulated appliance needs 20 to 40 seconds of a processor that others use, too."""
ASKED: Final[dict[str, Any]] = {"guest": {"inspect": True}}


def inspecting(imported: Imported) -> Object:
    """The pod of `inspect`, once it exists."""
    labels = {names.LABEL_STAGE: "inspect", names.LABEL_RUN: imported.run}
    found: list[Object] = []

    def look() -> bool:
        found[:] = imported.ground.all(POD, RELEASE, **labels)
        return bool(found)

    eventually(look, imported.describe, SECONDS)
    return found[-1]


def guest_of(imported: Imported) -> Guest:
    """What `inspect` has found, as its Workflow has it."""
    (leaf,) = imported.seen().leaf("inspect", "Succeeded")
    text = output_of(leaf, GUEST_OUTPUT)
    assert text
    keep("inspect-seconds.json", json.dumps({"guest": _seconds(leaf)}))
    return from_output(text)


def _seconds(node: Object) -> float:
    started_at, finished_at = (datetime.fromisoformat(node[key]) for key in ("startedAt", "finishedAt"))
    return (finished_at - started_at).total_seconds()


def condition(imported: Imported) -> tuple[str, str, str]:
    found = find(imported.status.import_conditions, "GuestInspected")
    assert found is not None
    return found.status, found.reason, found.message


def buses(imported: Imported) -> set[str]:
    machine = imported.machine()
    assert machine
    disks = machine["spec"]["template"]["spec"]["domain"]["devices"]["disks"]
    return {disk["disk"]["bus"] for disk in disks}


def test_a_real_guest_gets_the_bus_for_which_it_has_drivers(ground: Ground, tmp_path: Path) -> None:
    """Its disks are on PVSCSI at the source, for which the table says sata."""
    scenario.guest_image()
    data = datadisk.make(tmp_path / "data.img", stay=True)
    (vm,) = scenario.inventory(data.path)["datacenters"][0]["vms"]
    with world(ground, tmp_path, [vm], "it-inspect") as made:
        document = made.readme_manifest(**ASKED)
        ground.apply(*made.source(), document)
        imported = made.imported(scenario.VM)
        eventually(lambda: imported.status.workflow is not None, imported.describe, 120)
        pod = inspecting(imported)
        assert_confined(pod, disks=len(vm["disks"]))
        imported.until(RUNNING, seconds=SECONDS)
        guest = guest_of(imported)
        assert guest.system is not None
        assert guest.system.family == "linux"
        assert [disk.name for disk in guest.disks] == [f"disk-{n}" for n in range(len(vm["disks"]))]
        status, reason, message = condition(imported)
        assert (status, reason) == ("True", "Fits"), message
        assert guest.disk_buses[0].name == "virtio"
        assert buses(imported) == {"virtio"}
        assert {row.bus_type for row in imported.status.disk_import_status} == {"virtio"}
        assert "GuestInspected" in imported.events()
        machine = imported.machine()
        assert machine
        assert len(claims_of(machine)) == len(vm["disks"])


def assert_confined(pod: Object, *, disks: int) -> None:
    """All disks of the run, read-only; no right, no token for the program, no device of the node."""
    spec = pod["spec"]
    (main,) = [one for one in spec["containers"] if one["name"] == "main"]
    claims = [one for one in spec["volumes"] if "persistentVolumeClaim" in one]
    mounts = {one["name"]: one for one in main["volumeMounts"]}
    assert len(claims) == disks
    assert all(mounts[one["name"]]["readOnly"] for one in claims)
    assert spec["serviceAccountName"] == "vmferry-guest"
    assert "api-access" not in mounts
    assert not [one for one in spec["volumes"] if "hostPath" in one]
    assert "devices.kubevirt.io/kvm" not in json.dumps(main["resources"])
    assert main["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert main["securityContext"]["readOnlyRootFilesystem"] is True


def test_disks_without_a_system_are_left_alone_and_imported(make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "no-system", disks=2)])
    imported = made.begin("no-system", **ASKED)
    imported.until(RUNNING, seconds=SECONDS)
    status, reason, message = condition(imported)
    assert (status, reason) == ("True", "LeftAlone")
    assert "no operating system was found" in message


def test_a_retry_of_what_comes_after_it_does_not_look_again(
    ground: Ground, make: Make, tmp_path: Path
) -> None:
    """The two fan-outs in a retry of Argo: groups that had ended must not stay Running."""
    made = make([a_vm(tmp_path, "inspected-once", disks=2)])
    imported = made.begin("inspected-once", approvals=["poweroff"], **ASKED)
    eventually(lambda: imported.summary.reason == "WaitingForApproval", imported.describe)
    with no_room(ground, made.namespace) as give_room:
        imported.annotate(approve="poweroff")
        imported.until(FAILED, seconds=SECONDS)
        before = started(imported)
        give_room()
    workflow = imported.workflow
    assert workflow
    ground.argo("retry", workflow["metadata"]["name"])
    seen_running_again(imported)
    imported.until(RUNNING, seconds=SECONDS)
    after = started(imported)
    kept = {
        name: at
        for name, at in before.items()
        if any(f"{one}(" in name for one in ("inspect", "export", "convert"))
    }
    assert len(kept) == 5
    assert {name: after[name] for name in kept} == kept
    eventually(lambda: (imported.workflow or {})["status"]["phase"] == "Succeeded", imported.describe, 240)
    ended = imported.workflow
    assert ended
    assert {node["phase"] for node in ended["status"]["nodes"].values()} <= {
        "Succeeded",
        "Skipped",
        "Omitted",
    }


def test_a_killed_inspection_is_repeated_and_a_retry_of_it_continues(
    ground: Ground, make: Make, tmp_path: Path
) -> None:
    made = make([a_vm(tmp_path, "killed", disks=2)])
    imported = made.begin("killed", **ASKED)
    eventually(lambda: imported.status.workflow is not None, imported.describe, 120)
    imported.at("inspect", SECONDS)
    pod = inspecting(imported)
    ground.kubectl("delete", "pod", pod["metadata"]["name"], "-n", RELEASE, "--grace-period=0", "--force")
    imported.until(RUNNING, seconds=SECONDS)
    assert made.simulator.vm("killed")["shutdowns"] == 1


@pytest.mark.alone
def test_without_the_controller_the_vm_is_not_shut_down_and_nobody_else_names_the_claims(
    ground: Ground, make: Make, tmp_path: Path
) -> None:
    made = make([a_vm(tmp_path, "no-controller", disks=2)])
    imported = made.begin("no-controller", **ASKED)
    eventually(lambda: imported.status.workflow is not None, imported.describe, 120)
    scale = ("scale", "deployment/vmferry-controller", "-n", RELEASE)
    ground.kubectl(*scale, "--replicas=0")
    try:
        eventually(lambda: not ground.controller_pods(), "the end of the controller", 120)
        imported.when(lambda seen: _waits_for_claims(seen.nodes), SECONDS, "name-claims")
        run = imported.status.workflow
        assert run is not None
        ended = subprocess.run(
            [str(ARGO / "argo"), "-n", RELEASE, "resume", run.name],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **ground.environment},
        )
        assert ended.returncode != 0
        assert "claims" in ended.stderr
        assert made.simulator.vm("no-controller")["power"] == "on"
    finally:
        ground.kubectl(*scale, "--replicas=1")
    imported.until(RUNNING, seconds=SECONDS)


def _waits_for_claims(nodes: list[Object]) -> bool:
    return any((node["templateName"], node["phase"]) == ("name-claims", "Running") for node in nodes)


@pytest.mark.alone
def test_an_installation_without_the_image_refuses_it(
    make: Make, settings: Callable[..., None], tmp_path: Path
) -> None:
    settings(guest={"enabled": False})
    made = make([a_vm(tmp_path, "no-image")])
    imported = made.begin("no-image", **ASKED)
    assert "guest.enabled" in imported.until(INVALID).message
    assert made.simulator.vm("no-image")["power"] == "on"
    imported.change(guest={"inspect": False})
    imported.leaves(INVALID)
    imported.until(RUNNING, seconds=SECONDS)
