"""The boot check at every target, and over disks that landed: who owns what before and after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from steps.model.booting import Verdict
from steps.model.kinds import CLAIM, DATA_VOLUME, IMAGE, IMPORT, MACHINE, POD, Object
from steps.model.plan import BootCheckPlan
from steps.targets.cluster.boot.check import Aids, BootCheck
from tests.unit.steps.targets.boot.guests import BOOTS, IN_SHELL, Behaviour, Guests
from tests.unit.steps.targets.boot.place import Kept
from tests.unit.steps.targets.harvester.world import World as HarvesterWorld
from tests.unit.steps.targets.kubevirt.landing_world import LandingWorld
from tests.unit.steps.targets.kubevirt.world import World as KubeVirtWorld

World = HarvesterWorld | KubeVirtWorld | LandingWorld
WORLDS: Final[dict[str, Callable[..., World]]] = {
    "harvester": HarvesterWorld,
    "kubevirt": KubeVirtWorld,
    "landed": LandingWorld,
}
ALLOWED: Final = {
    ("get", "virtualmachines.kubevirt.io"),
    ("patch", "virtualmachines.kubevirt.io"),
    ("get", "virtualmachineinstances.kubevirt.io"),
    ("list", "pods"),
    ("get", "pods/log"),
    ("get", "virtualmachineinstances/vnc.subresources.kubevirt.io"),
    *((verb, kind.resource) for kind in (CLAIM, DATA_VOLUME, IMAGE) for verb in ("get", "list", "patch")),
}
"""The rights of vmferry-boot in the namespaces for imports (charts/vmferry/templates/boot-check.yaml)."""


class Import:
    """A started import of a VM with two disks."""

    def __init__(self, world: World, behaviours: dict[str, Behaviour]) -> None:
        self.world = world
        world.plan = world.plan.model_copy(update={"boot_check": BootCheckPlan()})
        self.guests = Guests(world.cluster, world.time, behaviours)
        for step in world.steps():
            step()
        self.first = len(world.cluster.calls)

    def check(self) -> Any:
        world = self.world
        aids = Aids(self.guests, Kept(), clock=world.time.clock)
        return BootCheck(world.plan, world.cluster, world.time, world.vm_objects(), aids).run(world.shape)

    def owners(self, *kinds: Any) -> set[str]:
        found = [one for kind in kinds for one in self.world.cluster.all(kind, "default")]
        return {owner["kind"] for one in found for owner in one["metadata"].get("ownerReferences") or []}

    @property
    def vm(self) -> Object:
        return self.world.vm()


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    return WORLDS[request.param](disks=2)


def test_a_guest_that_boots_from_sata_gets_its_owner_at_the_end(world: World) -> None:
    made = Import(world, {"virtio": IN_SHELL, "scsi": IN_SHELL, "sata": BOOTS})
    assert "VirtualMachineImport" in made.owners(MACHINE, CLAIM, DATA_VOLUME, IMAGE)
    before = made.vm["spec"]["template"]["spec"]["volumes"]
    result = made.check()
    assert (result.verdict, result.fell_back) == (Verdict.BOOTED, True)
    assert "VirtualMachineImport" not in made.owners(MACHINE, CLAIM, DATA_VOLUME, IMAGE)
    assert made.vm["spec"]["template"]["spec"]["volumes"] == before
    if not isinstance(world, HarvesterWorld):
        assert "VirtualMachine" in made.owners(CLAIM, DATA_VOLUME), "its disks go with the VM"


def test_a_guest_that_does_not_boot_stays_with_its_import(world: World) -> None:
    stuck = {"virtio": IN_SHELL, "scsi": IN_SHELL, "sata": IN_SHELL}
    made = Import(world, stuck)
    assert made.check().verdict is Verdict.STUCK
    assert made.owners(MACHINE) == {"VirtualMachineImport"}
    assert made.vm["spec"]["runStrategy"] == "Halted"
    world.cluster.drop(IMPORT, world.plan.import_.name, world.plan.import_.namespace)
    assert world.cluster.all(MACHINE, "default") == [], "deleting the import leaves no VM"


def test_the_identity_of_the_check_is_enough(world: World) -> None:
    made = Import(world, {"virtio": IN_SHELL, "scsi": IN_SHELL, "sata": BOOTS})
    made.check()
    used = {(call.verb, call.kind.resource) for call in world.cluster.calls[made.first :]}
    assert used <= ALLOWED
    assert ("list", POD.resource) in used
