"""A whole import with the fake cluster: plan, VM, stand-ins, and the steps of the cluster side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from steps.model.kinds import CLAIM, IMAGE, MACHINE, Object
from steps.model.machine import Machine
from steps.model.mapping import Shape, shape
from steps.model.plan import ImportRef, Plan, TargetKind
from steps.model.volumes import Volumes
from steps.targets.cluster.completion import WorkflowRef
from steps.targets.cluster.markers import PUBLISHED
from steps.targets.cluster.vm_objects import VmObjects
from steps.targets.harvester.disk_volumes import HarvesterVolumes
from steps.targets.harvester.publishing import ImagePublication
from steps.targets.harvester.volume_names import choose_names
from tests.unit.builders import a_disk, a_machine, a_nic, a_plan
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster, an_import
from tests.unit.steps.targets.harvester.harvester_rules import HarvesterRules, a_network
from tests.unit.steps.targets.harvester.stand_ins import FakeServing, FakeTime, Harvester, KubeVirt, a_class
from tests.unit.steps.targets.surroundings import furnish
from tests.unit.steps.targets.vm_steps import VmSteps

GIB = 1 << 30


class World(VmSteps):
    """Everything around one import of a VM with `disks` disks."""

    def __init__(
        self, *, disks: int = 1, uid: str = "6f1d", cluster: FakeCluster | None = None, **target: Any
    ) -> None:
        self.time = FakeTime()
        self.serving = FakeServing()
        self.cluster = cluster or FakeCluster()
        self.harvester = Harvester(self.cluster, self.serving)
        self.rules = HarvesterRules(self.cluster)
        self.kubevirt = KubeVirt(self.cluster)
        self.machine: Machine = a_machine(
            disks=tuple(a_disk(number, label=f"Hard disk {number + 1}") for number in range(disks)),
            nics=(a_nic(),),
        )
        self.chosen: dict[str, Volumes] = {}
        self.reports: list[tuple[int, int]] = []
        self.cluster.put(a_class("harvester-longhorn", default=True))
        furnish(self.cluster, "slow")
        self.plan = self.planned(uid, **target)
        self.make_networks()

    def make_networks(self) -> None:
        """The networks that the plan's rows name."""
        for rule in self.plan.target.networks:
            namespace, _, name = rule.destination.partition("/")
            self.cluster.put(a_network(name, namespace))

    def planned(self, uid: str = "6f1d", generation: int = 1, **target: Any) -> Plan:
        """Use an import of that uid, as after it was deleted and made again."""
        made = a_plan(kind=TargetKind.HARVESTER, **target)
        self.plan = made.model_copy(
            update={
                "run": f"vmi-web-{uid}-g{generation}",
                "import_": ImportRef(name="web", namespace="default", uid=uid),
            }
        )
        self.cluster.put(an_import(uid=uid))
        return self.plan

    @property
    def shape(self) -> Shape:
        return shape(self.plan, self.machine)

    def publishing(self, disk: int = 0, workflow: str = "") -> ImagePublication:
        return ImagePublication(
            *(self.plan, self.machine.disks[disk], self.cluster, self.serving, self.time),
            volumes=self.volumes(),
            workflow=WorkflowRef(workflow, "vmferry"),
            clock=self.time.clock,
        )

    def publish(self, disk: int = 0, workflow: str = "") -> Object:
        return self.publishing(disk, workflow).run(lambda done, total: self.reports.append((done, total)))

    def publish_all(self) -> list[Object]:
        return [self.publish(number) for number in range(len(self.machine.disks))]

    def vm_objects(self) -> VmObjects:
        volumes = HarvesterVolumes(self.plan, self.cluster, self.volumes())
        return VmObjects(self.plan, self.cluster, self.time, volumes, clock=self.time.clock)

    def volumes(self) -> Volumes:
        """The names that `admit` chose for this run; called once per run, as in a Workflow."""
        if self.plan.run not in self.chosen:
            self.chosen[self.plan.run] = choose_names(self.cluster, self.plan, self.shape)
        return self.chosen[self.plan.run]

    def steps(self) -> list[Callable[[], object]]:
        """The steps of the target, in order."""
        start = [self.start if self.plan.target.start else self.leave_off]
        return [*(lambda n=n: self.publish(n) for n in range(len(self.machine.disks))), self.build, *start]

    def served_url(self, disk: str = "disk-0") -> str:
        """Where the disk is served now."""
        served_disk = self.serving.served_disk(disk)
        assert served_disk is not None
        return self.serving.url(disk, served_disk)

    # --- current objects

    def images(self) -> list[Object]:
        return self.cluster.all(IMAGE, "default")

    def published(self) -> list[Object]:
        return [one for one in self.images() if PUBLISHED in one["metadata"].get("annotations", {})]

    def claims(self) -> list[Object]:
        return self.cluster.all(CLAIM, "default")

    def vms(self) -> list[Object]:
        return self.cluster.all(MACHINE, "default")

    def vm(self) -> Object:
        (found,) = self.vms()
        return found
