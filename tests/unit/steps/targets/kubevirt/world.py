"""A whole import into KubeVirt with the fake cluster: plan, VM, stand-ins, and the steps at the target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from steps.model.admission import Admission
from steps.model.kinds import CLAIM, CSI_DRIVER, DATA_VOLUME, IMAGE, MACHINE, STORAGE_PROFILE, Object
from steps.model.machine import Machine
from steps.model.mapping import Shape, shape
from steps.model.plan import DiskFormat, ImportRef, Plan, TargetKind
from steps.model.volumes import Volumes
from steps.targets.cluster.completion import WorkflowRef
from steps.targets.cluster.vm_objects import VmObjects
from steps.targets.kubevirt.admission_check import AdmissionCheck
from steps.targets.kubevirt.disk_volumes import DataVolumes
from steps.targets.kubevirt.publishing import VolumePublication
from steps.targets.kubevirt.volume_names import choose_names
from tests.unit.builders import a_disk, a_machine, a_nic, a_plan
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster, an_import
from tests.unit.steps.targets.harvester.harvester_rules import a_network
from tests.unit.steps.targets.harvester.stand_ins import FakeServing, FakeTime, KubeVirt, a_class
from tests.unit.steps.targets.kubevirt.cdi import Cdi
from tests.unit.steps.targets.surroundings import furnish
from tests.unit.steps.targets.vm_steps import VmSteps

GIB = 1 << 30


class World(VmSteps):
    """Everything around one import of a VM with `disks` disks."""

    def __init__(
        self, *, disks: int = 1, uid: str = "6f1d", cluster: FakeCluster | None = None, **target: Any
    ) -> None:
        self.time = FakeTime()
        self.serving = FakeServing(format=DiskFormat.QCOW2)
        self.cluster = cluster or FakeCluster()
        self.cluster.kinds.discard(IMAGE)
        self.cdi = Cdi(self.cluster, self.serving)
        self.kubevirt = KubeVirt(self.cluster)
        self.machine: Machine = a_machine(
            disks=tuple(a_disk(number, label=f"Hard disk {number + 1}") for number in range(disks)),
            nics=(a_nic(),),
        )
        self.chosen: dict[str, Volumes] = {}
        self.reports: list[tuple[int, int]] = []
        self.cluster.put(a_class("ceph", "rbd.csi.ceph.com", default=True))
        self.cluster.put(a_profile("ceph"))
        furnish(self.cluster, "ceph")
        self.plan = self.planned(uid, **target)
        for rule in self.plan.target.networks:
            namespace, _, name = rule.destination.partition("/")
            self.cluster.put(a_network(name, namespace))

    def planned(self, uid: str = "6f1d", generation: int = 1, **target: Any) -> Plan:
        """Use an import of that uid, as after it was deleted and made again."""
        made = a_plan(kind=TargetKind.KUBEVIRT, **target)
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

    def volumes(self) -> Volumes:
        """The names that `admit` chose for this run; called once per run, as in a Workflow."""
        if self.plan.run not in self.chosen:
            self.chosen[self.plan.run] = choose_names(self.cluster, self.plan, self.shape)
        return self.chosen[self.plan.run]

    def admit(self) -> Admission:
        return AdmissionCheck(self.plan, self.machine, self.cluster, self.volumes()).run(self.shape)

    def publish(self, disk: int = 0, workflow: str = "") -> Object:
        publication = VolumePublication(
            *(self.plan, self.machine.disks[disk], self.cluster, self.serving, self.time),
            volumes=self.volumes(),
            workflow=WorkflowRef(workflow, "vmferry"),
            clock=self.time.clock,
        )
        return publication.run(lambda done, total: self.reports.append((done, total)))

    def publish_all(self) -> list[Object]:
        return [self.publish(number) for number in range(len(self.machine.disks))]

    def vm_objects(self) -> VmObjects:
        volumes = DataVolumes(self.plan, self.cluster)
        return VmObjects(self.plan, self.cluster, self.time, volumes, clock=self.time.clock)

    def steps(self) -> list[Callable[[], object]]:
        """The steps of the target, in order."""
        start = [self.start if self.plan.target.start else self.leave_off]
        return [*(lambda n=n: self.publish(n) for n in range(len(self.machine.disks))), self.build, *start]

    # --- current objects

    def data_volumes(self) -> list[Object]:
        return self.cluster.all(DATA_VOLUME, "default")

    def claims(self) -> list[Object]:
        return self.cluster.all(CLAIM, "default")

    def vms(self) -> list[Object]:
        return self.cluster.all(MACHINE, "default")

    def vm(self) -> Object:
        (found,) = self.vms()
        return found


def a_profile(
    name: str, access_mode: str = "ReadWriteMany", volume_mode: str = "Block", **more: Any
) -> Object:
    """The StorageProfile of a class; without an access mode CDI does not know the class."""
    sets = [{"accessModes": [access_mode], "volumeMode": volume_mode}] if access_mode else []
    return {
        "apiVersion": STORAGE_PROFILE.api_version,
        "kind": STORAGE_PROFILE.kind,
        "metadata": {"name": name, **more},
        "status": {"claimPropertySets": sets},
    }


def a_csi_driver(name: str) -> Object:
    """The driver of a provisioner; where there is one CDI uses its populator."""
    return {"apiVersion": CSI_DRIVER.api_version, "kind": CSI_DRIVER.kind, "metadata": {"name": name}}
