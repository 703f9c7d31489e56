"""A MigrationPlan of 30 VMs with the real Argo, from one `kubectl apply`: four waves, a failure, a retry.

`VMFERRY_ARGO_PLAN_VMS` is the number of VMs. The test prints the time and the memory of the controller.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.kinds import API_VERSION, IMPORT, IMPORT_MAPPING, MACHINE, MIGRATION_PLAN, Object
from tests.real.argo.ground import Ground, eventually
from tests.real.argo.world import World, a_vm
from workflows.api.annotations import RETRY
from workflows.api.migration_plan import MigrationPlanStatus, PlannedVm

pytestmark = pytest.mark.argo
Make = Callable[..., World]

MANY: Final = int(os.environ.get("VMFERRY_ARGO_PLAN_VMS", "30"))
WAVES: Final = 4
NAME: Final = "move"
SECONDS: Final = 60.0 * MANY + 300


class Plan:
    """The plan in the cluster."""

    def __init__(self, made: World) -> None:
        self._made = made

    def manifest(self, **spec: Any) -> Object:
        where = {"kind": "VmwareSource", "name": "vcenter"}
        return {
            "apiVersion": API_VERSION,
            "kind": MIGRATION_PLAN.kind,
            "metadata": {"name": NAME, "namespace": self._made.namespace},
            "spec": {"sourceCluster": where, **spec},
        }

    @property
    def status(self) -> MigrationPlanStatus:
        found = self._made.ground.cluster.get(MIGRATION_PLAN, NAME, self._made.namespace)
        return MigrationPlanStatus.read((found or {}).get("status"))

    def annotate(self, **notes: str) -> None:
        marks = {f"migration.harvesterhci.io/{name}": value for name, value in notes.items()}
        change: Object = {"metadata": {"annotations": marks}}
        self._made.ground.cluster.patch(MIGRATION_PLAN, NAME, change, self._made.namespace)

    def until(self, *phases: str, seconds: float = SECONDS) -> MigrationPlanStatus:
        def look() -> MigrationPlanStatus | None:
            status = self.status
            return status if status.phase in phases else None

        return eventually(look, self.describe, seconds)

    def describe(self) -> str:
        status = self.status
        failed = "; ".join(f"{vm.import_}: {vm.message}" for vm in status.vms if vm.phase == "Failed")
        return f"{NAME}: {status.phase} {status.progress} {status.counts} {status.message} {failed}"

    def vm(self, name: str) -> PlannedVm:
        return next(vm for vm in self.status.vms if vm.import_ == f"{NAME}-{name}")


def mapping(made: World) -> Object:
    row = {"source": {"name": "VM Network"}, "destinationNetwork": "vlan1"}
    return {
        "apiVersion": API_VERSION,
        "kind": IMPORT_MAPPING.kind,
        "metadata": {"name": "networks", "namespace": made.namespace},
        "spec": {"networks": [row]},
    }


def memory(ground: Ground) -> str:
    """The most memory that the controller's process has had."""
    (pod,) = ground.controller_pods()
    metadata = pod["metadata"]
    read = "print(open('/proc/1/status').read())"
    words = ("exec", "-n", metadata["namespace"], metadata["name"], "--", "python", "-c", read)
    found = [line for line in ground.kubectl(*words).splitlines() if line.startswith("VmHWM")]
    return " ".join(found)


def test_thirty_vms_in_four_waves_with_a_failure_and_a_retry(
    ground: Ground, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"vm-{number:02}" for number in range(MANY)]
    tools = {names[0]: "notInstalled"}  # it runs and cannot be shut down: `preflight` refuses it
    vms = [a_vm(tmp_path, name, mib=8, tools=tools.get(name, "running")) for name in names]
    made = make([*vms, a_vm(tmp_path, "other", mib=8)])
    size = -(-MANY // WAVES)
    plan = Plan(made)
    spec: dict[str, Any] = {
        "vms": [{"name": names[0]}, {"name": "vm-*"}],
        # 30 VMs that run do not fit the lab's node.
        "template": {"importMapping": {"name": "networks"}, "startVirtualMachine": False},
        "waves": {"size": size},
        "limits": {"perHost": 6},
    }
    started = time.monotonic()
    ground.apply(*made.source(), mapping(made), plan.manifest(**spec))

    status = plan.until("Stopped")
    assert (status.counts.total, status.counts.failed, status.counts.succeeded) == (MANY, 1, size - 1)
    assert plan.vm(names[0]).message
    first = {one["metadata"]["name"]: one["metadata"]["uid"] for one in made.all(IMPORT)}
    assert len(first) == size, "the threshold stops the next wave"
    running = made.simulator.vm(names[0])
    assert (running["power"], running["shutdowns"]) == ("on", 0)

    row = {"name": names[0], "overrides": {"powerOffWithoutGuestTools": True}}
    spec["vms"] = [row, *spec["vms"][1:]]
    ground.apply(plan.manifest(**spec))
    plan.annotate(retry="true")
    most = 0

    def look() -> MigrationPlanStatus | None:
        nonlocal most
        status = plan.status
        most = max(most, status.counts.running + status.counts.waiting)
        return status if status.phase in ("Succeeded", "Failed") else None

    status = eventually(look, plan.describe, SECONDS)
    seconds = time.monotonic() - started
    assert (status.phase, status.progress) == ("Succeeded", f"{WAVES}/{WAVES}"), plan.describe()
    assert status.counts.succeeded == MANY
    assert most <= 6, "limits.perHost: the simulator has one host"
    after = {one["metadata"]["name"]: one for one in made.all(IMPORT)}
    assert len(after) == MANY
    assert {name: after[name]["metadata"]["uid"] for name in first} == first, "no import was made again"
    assert all(RETRY not in (one["metadata"].get("annotations") or {}) for one in after.values())
    assert {name: _stops(made, name) for name in names} == dict.fromkeys(names, 1)
    assert made.simulator.vm("other")["power"] == "on"
    assert len(made.all(MACHINE)) == MANY
    columns = ground.kubectl("get", MIGRATION_PLAN.resource, NAME, "-n", made.namespace)
    assert columns.splitlines()[1].split()[:5] == [NAME, "Succeeded", f"{WAVES}/{WAVES}", str(MANY), "0"]
    with capsys.disabled():
        print(f"\n{MANY} VMs in {WAVES} waves: {seconds:.0f} s, controller {memory(ground)}")  # noqa: T201

    ground.cluster.delete(MIGRATION_PLAN, NAME, made.namespace)
    eventually(lambda: not made.all(IMPORT), "the imports are deleted with their plan", 300)
    assert len(made.all(MACHINE)) == MANY, "the VMs stay"


def _stops(made: World, name: str) -> int:
    """How often a VM was shut down or powered off."""
    vm = made.simulator.vm(name)
    return int(vm["shutdowns"]) + int(vm["powerOffs"])
