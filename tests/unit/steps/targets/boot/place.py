"""An import with a boot check, its guests, and the steps `build`, `start` and `check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from steps.model.booting import BootResult
from steps.model.kinds import DATA_VOLUME, MACHINE, Object
from steps.model.plan import BootCheckPlan
from steps.targets.cluster.boot.check import Aids, BootCheck
from tests.unit.steps.targets.boot.guests import Behaviour, Guests
from tests.unit.steps.targets.kubevirt.world import World

VM: Final = "web01"


@dataclass
class Kept:
    """What was kept, by the name of the boot."""

    found: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    def keep(self, name: str, console: str, picture: bytes) -> str:
        self.found[name] = (console, picture)
        return "ConfigMap vmferry/run-boot"


class Place:
    """An import into KubeVirt up to its VM, which is built. `behaviours`: of the guest, by its bus."""

    def __init__(self, behaviours: Mapping[str, Behaviour], *, disks: int = 1, **wanted: Any) -> None:
        self.world = World(disks=disks)
        self.use(**wanted)
        self.cluster, self.time = self.world.cluster, self.world.time
        self.guests = Guests(self.cluster, self.time, behaviours)
        self.kept = Kept()
        self.connects: Callable[[str, int], bool] = lambda _address, _port: False
        self.world.publish_all()
        self.world.build()

    def use(self, **wanted: Any) -> None:
        self.world.plan = self.world.plan.model_copy(update={"boot_check": BootCheckPlan(**wanted)})

    def start(self) -> None:
        self.world.start()

    def check(self) -> BootResult:
        """The step `check`, as a new process."""
        world = self.world
        aids = Aids(self.guests, self.kept, self.connects, self.time.clock)
        checked = BootCheck(world.plan, self.cluster, self.time, world.vm_objects(), aids)
        return checked.run(world.shape)

    def started_and_checked(self) -> BootResult:
        self.start()
        return self.check()

    # --- what is there

    @property
    def vm(self) -> Object:
        found = self.cluster.peek(MACHINE, VM, "default")
        assert found is not None
        return found

    def annotation(self, name: str) -> str | None:
        found: str | None = (self.vm["metadata"].get("annotations") or {}).get(name)
        return found

    def devices(self) -> tuple[set[str], set[str]]:
        """Buses of the disks and models of the NICs."""
        devices = self.vm["spec"]["template"]["spec"]["domain"]["devices"]
        buses = {disk["disk"]["bus"] for disk in devices["disks"]}
        return buses, {one["model"] for one in devices["interfaces"]}

    def owners(self) -> set[str]:
        """Who owns the VM and the objects of its disks."""
        owned = [self.vm, *self.cluster.all(DATA_VOLUME, "default")]
        return {owner["kind"] for one in owned for owner in one["metadata"].get("ownerReferences") or []}
