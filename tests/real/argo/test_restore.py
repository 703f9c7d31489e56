"""A VM is started again at its source, and what was copied before is never used (decision 28)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.model.kinds import CLAIM, MACHINE, SECRET, Object
from tests.real.argo.ground import RELEASE, Ground, eventually
from tests.real.argo.test_retry import checked, no_room, seen_running_again
from tests.real.argo.world import FAILED, MIB, RUNNING, Imported, World, a_vm, bytes_of, claims_of
from workflows.api.conditions import find, holds
from workflows.status.restored import RESTORED, UNDONE

pytestmark = pytest.mark.argo
Make = Callable[..., World]


def starts(made: World) -> int:
    """How often vmferry has asked the vCenter to start a VM."""
    return len(made.simulator.calls("PowerOnMultiVM_Task"))


def until_restored(made: World, imported: Imported, vm: str) -> None:
    """Wait until the VM runs again at its source and the import reports it."""
    eventually(lambda: made.simulator.vm(vm)["power"] == "on", imported.describe)
    eventually(lambda: holds(imported.status.import_conditions, RESTORED), imported.describe)
    eventually(lambda: "SourcePowerRestored" in imported.events(), imported.describe)


def write(vm: Object) -> str:
    """What the guest writes: other bytes at the start of its first disk. Returns the SHA-256 of the disk."""
    path = Path(vm["disks"][0]["file"])
    with path.open("r+b") as file:
        file.write(os.urandom(MIB))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def imported_digest(ground: Ground, made: World, imported: Imported) -> str:
    """The SHA-256 of the first disk of the VM at the target."""
    machine = imported.machine()
    assert machine
    return bytes_of(ground, made.namespace, claims_of(machine)[0])


def test_a_failed_import_starts_the_source_and_only_a_new_run_helps(
    ground: Ground, make: Make, tmp_path: Path
) -> None:
    vm = a_vm(tmp_path, "restored")
    made = make([vm])
    imported = checked(made, "restored")
    imported.change(onFailure="restorePower")
    with no_room(ground, made.namespace) as give_room:
        imported.annotate(approve="poweroff")
        imported.until(FAILED)
        assert imported.summary.reason == "NoSpace"
        until_restored(made, imported, "restored")
        give_room()
    first = imported.workflow
    assert first
    ground.argo("retry", first["metadata"]["name"])
    seen_running_again(imported)
    imported.until(FAILED)
    assert imported.summary.reason == "Stale"
    assert "started it at" in imported.summary.message
    assert "off at its source" not in imported.summary.message
    assert len(imported.leaf("build", "Failed")) == 1, "it fails at once, without another attempt"
    assert imported.machine() is None
    written = write(vm)
    imported.annotate(retry="true", approve="poweroff")
    imported.leaves(FAILED)
    imported.until(RUNNING)
    assert imported.workflow
    assert imported.workflow["metadata"]["name"] != first["metadata"]["name"]
    assert imported_digest(ground, made, imported) == written
    assert made.simulator.vm("restored")["power"] == "off"
    assert made.simulator.vm("restored")["shutdowns"] == 2
    assert starts(made) == 1


def test_a_start_by_somebody_else_is_found_before_the_vm_starts(
    ground: Ground, make: Make, tmp_path: Path
) -> None:
    vm = a_vm(tmp_path, "touched")
    made = make([vm])
    imported = made.begin("touched", approvals=["start"])
    eventually(lambda: imported.status.step == "approve-start", imported.describe)
    made.simulator.set_power("touched", "on")
    written = write(vm)
    made.simulator.set_power("touched", "off")
    imported.annotate(approve="start")
    imported.until(FAILED)
    assert imported.summary.reason == "Stale"
    machine = imported.machine()
    assert machine
    assert machine["spec"]["runStrategy"] == "Halted"
    imported.annotate(retry="true", approve="start")
    imported.leaves(FAILED)
    imported.until(RUNNING)
    assert imported_digest(ground, made, imported) == written


def test_a_cancelled_import_starts_the_source(make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "unwanted")])
    made.simulator.faults(pauseAt=65536)
    imported = made.begin("unwanted", onFailure="restorePower")
    eventually(lambda: made.simulator.held(0), imported.describe)
    imported.change(cancel=True)
    imported.until(FAILED)
    assert imported.summary.reason == "Cancelled"
    until_restored(made, imported, "unwanted")
    assert starts(made) == 1
    assert made.simulator.leases() == []


def test_a_success_leaves_the_source_off(make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "moved")])
    imported = made.begin("moved", onFailure="restorePower")
    imported.until(RUNNING)
    assert made.simulator.vm("moved")["power"] == "off"
    assert starts(made) == 0


def test_undo_stops_the_target_then_starts_the_source(ground: Ground, make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "returned")])
    imported = made.begin("returned")
    imported.until(RUNNING)
    claims, run = claims_of(imported.machine() or {}), imported.run
    imported.annotate(undo="true")
    eventually(lambda: imported.summary.reason == UNDONE, imported.describe)
    assert made.simulator.vm("returned")["power"] == "on"
    assert starts(made) == 1
    machine = imported.machine()
    assert machine
    assert machine["spec"]["runStrategy"] == "Halted"
    remaining = {claim["metadata"]["name"] for claim in made.all(CLAIM)}
    assert remaining == set(claims)
    for name in claims:
        assert name in imported.summary.message
    assert find(imported.status.import_conditions, RESTORED)
    assert imported.workflow is None
    secrets = [found["metadata"]["name"] for found in ground.all(SECRET, RELEASE)]
    assert not [name for name in secrets if name.startswith(run)]
    (commands,) = [part for part in imported.summary.message.split(": ") if part.startswith("kubectl delete")]
    for command in commands.split(" && "):
        ground.kubectl(*command.removeprefix("kubectl ").split())
    assert made.all(MACHINE) == []
    eventually(lambda: made.all(CLAIM) == [], "the claims to be deleted", 60)
