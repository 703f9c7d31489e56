"""Cancel, delete, approve, suspend and dry run in a real cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from steps.model import names
from steps.model.kinds import CLAIM, CONFIG_MAP, IMAGE, MACHINE
from tests.real.argo.faults import a_foreign_vm
from tests.real.argo.ground import RELEASE, Ground, eventually
from tests.real.argo.test_kill import kill_controller
from tests.real.argo.world import FAILED, RUNNING, World, a_vm, images_of
from workflows.api.conditions import find

pytestmark = pytest.mark.argo
Make = Callable[..., World]


def test_delete_after_the_image_was_created_leaves_nothing(make: Make, tmp_path: Path) -> None:
    """During the download or after it, in any case before the VM starts: that waits for an approval."""
    made = make([a_vm(tmp_path, "quick")])
    imported = made.begin("quick", approvals=["start"])
    eventually(lambda: bool(images_of(made)), imported.describe)
    imported.delete()
    eventually(lambda: not images_of(made), "the images to go", 60)
    assert made.all(CLAIM) == made.all(MACHINE) == []


@pytest.mark.smoke
def test_delete_while_the_disk_is_read_releases_the_lease(make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "reading")])
    made.simulator.faults(pauseAt=65536)
    imported = made.begin("reading")
    eventually(lambda: made.simulator.held(0), imported.describe)
    imported.delete()
    assert made.simulator.leases() == []
    ended = [lease["end"] for lease in made.simulator.leases(ended=True)]
    assert ended
    assert set(ended) <= {"aborted", "session"}
    assert images_of(made) == made.all(MACHINE) == []


def test_cancel_in_the_spec_and_resume(make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "undecided")])
    made.simulator.faults(pauseAt=65536)
    imported = made.begin("undecided")
    eventually(lambda: made.simulator.held(0), imported.describe)
    imported.change(cancel=True)
    imported.until(FAILED)
    assert imported.summary.reason == "Cancelled"
    eventually(lambda: not made.simulator.leases(), "the lease to be released", 60)
    imported.change(cancel=False)
    imported.leaves(FAILED)
    imported.until(RUNNING)
    assert made.simulator.vm("undecided")["shutdowns"] == 1


def test_approvals_and_suspension_hold_the_import(make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "careful")])
    imported = made.begin("careful", approvals=["poweroff", "start"])
    eventually(lambda: imported.summary.reason == "WaitingForApproval", imported.describe)
    assert made.simulator.vm("careful")["power"] == "on"
    imported.change(suspend=True)
    imported.annotate(approve="poweroff")
    eventually(lambda: imported.summary.reason == "Paused", imported.describe)
    assert made.simulator.vm("careful")["power"] == "on"
    imported.change(suspend=False)
    eventually(lambda: imported.status.step == "approve-start", imported.describe)
    machine = imported.machine()
    assert machine
    assert machine["spec"]["runStrategy"] == "Halted"
    imported.annotate(approve="start")
    imported.until(RUNNING)
    assert "Approved" in imported.events()


def test_dry_run_then_real_import(ground: Ground, make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "rehearsed")])
    imported = made.begin("rehearsed", dryRun=True)
    planned = eventually(lambda: find(imported.status.import_conditions, "Planned"), imported.describe)
    assert planned.status == "True"
    promised = imported.status.planned
    assert promised
    found = ground.cluster.get(CONFIG_MAP, promised.config_map.removeprefix(f"{RELEASE}/"), RELEASE)
    assert found
    assert "kind: VirtualMachine" in found["data"]["virtualmachine.yaml"]
    assert promised.hash == found["data"]["hash"]
    assert made.simulator.vm("rehearsed")["power"] == "on"
    assert imported.workflow is None
    imported.change(dryRun=False, cpus=3)
    imported.until(RUNNING)
    warned = find(imported.status.import_conditions, "Planned")
    assert warned
    assert (warned.status, warned.reason) == ("False", "PlanChanged")


def test_existing_vm_of_that_name_is_not_taken_over(ground: Ground, make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "taken")])
    ground.apply(a_foreign_vm(made.namespace, "taken"))
    imported = made.begin("taken")
    status = imported.until("virtualMachineImportInvalid")
    assert "already exists and does not belong to this import" in status.message
    assert made.simulator.vm("taken")["power"] == "on"
    ground.cluster.delete(MACHINE, "taken", made.namespace)
    imported.leaves("virtualMachineImportInvalid")  # it recovers by itself
    imported.until(RUNNING)
    assert imported.machine()
    assert names.LABEL_UID in imported.machine()["metadata"]["labels"]  # type: ignore[index]
    for image in images_of(made):
        assert image["metadata"].get("ownerReferences") is None
    assert len(made.all(IMAGE)) == 1


@pytest.mark.alone
def test_no_import_starts_while_vm_import_controller_runs(ground: Ground, make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "peaceful")])
    where = ("-n", "harvester-system")
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "harvester-vm-import-controller", "namespace": "harvester-system"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "vm-import"}},
            "template": {
                "metadata": {"labels": {"app": "vm-import"}},
                "spec": {"containers": [{"name": "c", "image": "lab.local/none:1"}]},
            },
        },
    }
    ground.apply(deployment)
    try:
        kill_controller(ground)  # after a restart the controller has no cached answer
        imported = made.begin("peaceful")
        eventually(lambda: imported.summary.reason == "OtherController", imported.describe)
        assert imported.workflow is None
        assert made.simulator.vm("peaceful")["power"] == "on"
        ground.kubectl("scale", "deployment", "harvester-vm-import-controller", *where, "--replicas=0")
        imported.until(RUNNING)
    finally:
        ground.kubectl("delete", "deployment", "harvester-vm-import-controller", *where, "--ignore-not-found")
