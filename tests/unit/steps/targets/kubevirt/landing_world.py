"""A whole import whose disks land on their volumes, with the fake cluster. CDI is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from steps.model import names
from steps.model.admission import Admission
from steps.model.kinds import (
    CDI_CONFIG,
    CLAIM,
    CONFIG_MAP,
    DATA_VOLUME,
    IMAGE,
    MACHINE,
    POD,
    STORAGE_PROFILE,
    Object,
)
from steps.model.landing import LandingDisk
from steps.model.machine import Machine
from steps.model.mapping import Shape, shape
from steps.model.plan import DiskFormat, DiskWay, ImportRef, Plan, TargetKind
from steps.model.volumes import Volumes as Names
from steps.targets.cluster.run_objects import RunObjects
from steps.targets.cluster.vm_objects import VmObjects
from steps.targets.kubevirt.admission_check import AdmissionCheck
from steps.targets.kubevirt.landed_volumes import LandedVolumes
from steps.targets.kubevirt.volume_names import choose_names
from steps.targets.landing.claims import LandingClaims
from steps.targets.landing.handover import HandOver
from steps.targets.landing.storage import storage_of
from tests.unit.builders import a_disk, a_machine, a_nic, a_plan
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster, an_import
from tests.unit.steps.targets.harvester.harvester_rules import a_network
from tests.unit.steps.targets.harvester.stand_ins import FakeTime, KubeVirt, a_class
from tests.unit.steps.targets.kubevirt.volumes import Volumes
from tests.unit.steps.targets.kubevirt.world import a_profile
from tests.unit.steps.targets.surroundings import furnish
from tests.unit.steps.targets.vm_steps import VmSteps

RELEASE: Final = "vmferry"
TENANT: Final = "default"


class LandingWorld(VmSteps):
    """Everything around one import. With `release` equal to the tenant's namespace, both are one."""

    def __init__(
        self,
        *,
        disks: int = 1,
        release: str = RELEASE,
        cdi: bool = False,
        mode: str = "Block",
        waits: bool = False,
        **target: Any,
    ) -> None:
        self.release = release
        self.time = FakeTime()
        self.cluster = FakeCluster()
        self.cluster.kinds -= {IMAGE} if cdi else {IMAGE, DATA_VOLUME, STORAGE_PROFILE, CDI_CONFIG}
        self.volumes = Volumes(self.cluster)
        self.kubevirt = KubeVirt(self.cluster)
        self.machine: Machine = a_machine(
            disks=tuple(a_disk(number, label=f"Hard disk {number + 1}") for number in range(disks)),
            nics=(a_nic(),),
        )
        ceph = a_class("ceph", "rbd.csi.ceph.com", default=True)
        self.cluster.put(ceph | ({"volumeBindingMode": "WaitForFirstConsumer"} if waits else {}))
        if cdi:
            self.cluster.put(a_profile("ceph", volume_mode=mode))
        furnish(self.cluster, "ceph")
        self.chosen: Names | None = None
        self.places: list[LandingDisk] = []
        self.plan = self.planned(**target)
        for rule in self.plan.target.networks:
            namespace, _, name = rule.destination.partition("/")
            self.cluster.put(a_network(name, namespace))

    def planned(self, uid: str = "6f1d", generation: int = 1, **target: Any) -> Plan:
        """A run of the import, with its request and the pod of `admit`."""
        made = a_plan(kind=TargetKind.KUBEVIRT, way=DiskWay.LAND, format=DiskFormat.RAW, **target)
        run = f"vmi-web-{uid}-g{generation}"
        self.plan = made.model_copy(
            update={"run": run, "import_": ImportRef(name="web", namespace=TENANT, uid=uid)}
        )
        self.cluster.put(an_import(uid=uid))
        self.chosen = None
        labels = names.run_labels(self.plan)
        self.cluster.put(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": names.request(run),
                    "namespace": self.release,
                    "labels": labels,
                    "uid": f"request-{run}",
                },
            }
        )
        self.cluster.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{run}-admit-1",
                    "namespace": self.release,
                    "labels": {**labels, names.LABEL_STAGE: "admit"},
                },
                "spec": {"containers": [{"name": "main", "image": "vmferry/target:1"}]},
                "status": {"phase": "Running"},
            }
        )
        return self.plan

    @property
    def shape(self) -> Shape:
        return shape(self.plan, self.machine)

    # --- the steps

    def admit(self) -> Admission:
        previous, self.chosen = self.chosen, None
        self.chosen = choose_names(self.cluster, self.plan, self.shape, previous)
        admission = AdmissionCheck(self.plan, self.machine, self.cluster, self.chosen).run(self.shape)
        self.places = self.landing_claims().ensure(self.shape)
        return admission

    def landing_claims(self) -> LandingClaims:
        assert self.chosen is not None
        return LandingClaims(
            *(self.plan, self.machine, self.cluster, self.time),
            volumes=self.chosen,
            release=self.release,
            storage_of=storage_of,
            clock=self.time.clock,
        )

    def export(self, number: int = 0) -> None:
        """What `export` and `convert` do: the disk is on its volume. A lost claim cannot be mounted."""
        place = self.places[number]
        if place.landed == "true":
            return
        claim = self.cluster.peek(CLAIM, place.claim, self.release)
        assert claim is not None
        assert claim["status"]["phase"] == "Bound", claim
        self.volumes.content[claim["spec"]["volumeName"]] = place.disk

    def hand_over(self, number: int = 0) -> str:
        assert self.chosen is not None
        return HandOver(
            *(self.plan, f"disk-{number}", self.cluster, self.time),
            volumes=self.chosen,
            release=self.release,
            clock=self.time.clock,
        ).run()

    def vm_objects(self) -> VmObjects:
        volumes = LandedVolumes(self.plan, self.cluster, self.chosen or Names())
        return VmObjects(self.plan, self.cluster, self.time, volumes, clock=self.time.clock)

    def delete_scratch(self) -> list[str]:
        return RunObjects(self.plan, self.cluster, self.release).delete_all()

    def steps(self) -> list[Callable[[], object]]:
        """The steps of the target, in order."""
        count = range(len(self.machine.disks))
        start = [self.start if self.plan.target.start else self.leave_off]
        return [
            self.admit,
            self.build,
            *(lambda n=n: self.export(n) for n in count),
            *(lambda n=n: self.hand_over(n) for n in count),
            *start,
            self.delete_scratch,
        ]

    # --- current objects

    def claims(self, namespace: str = TENANT) -> list[Object]:
        return self.cluster.all(CLAIM, namespace)

    def claim(self, name: str = "web01-disk-0", namespace: str = TENANT) -> Object:
        found = self.cluster.peek(CLAIM, name, namespace)
        assert found is not None
        return found

    def landing_claim(self, number: int = 0) -> Object:
        return self.claim(names.claim(self.plan.run, f"disk-{number}"), self.release)

    def vm(self) -> Object:
        (found,) = self.cluster.all(MACHINE, TENANT)
        return found

    def pods(self) -> list[Object]:
        return [pod for pod in self.cluster.all(POD) if pod["metadata"]["name"].endswith("-placement")]

    def requests(self) -> list[Object]:
        return self.cluster.all(CONFIG_MAP, self.release)
