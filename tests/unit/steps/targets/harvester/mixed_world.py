"""A whole import into Harvester of which some disks land on plain volumes, with the fake cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from steps.admit import MixedFiles
from steps.model import names
from steps.model.admission import Admission
from steps.model.kinds import CLAIM, CONFIG_MAP, POD, Object
from steps.model.landing import MixedDisk
from steps.model.plan import DiskForm, DiskRule, DiskWay, Plan
from steps.model.volumes import Volumes as Names
from steps.targets.cluster.run_objects import RunObjects
from steps.targets.harvester.admission_check import AdmissionCheck
from steps.targets.harvester.plain_volumes import plain_storage
from steps.targets.harvester.volume_names import choose_names
from steps.targets.landing.claims import LandingClaims
from steps.targets.landing.handover import HandOver
from tests.unit.steps.targets.harvester.stand_ins import a_class
from tests.unit.steps.targets.harvester.test_run import a_request
from tests.unit.steps.targets.harvester.world import World
from tests.unit.steps.targets.kubevirt.volumes import Volumes

RELEASE: Final = "vmferry"
TENANT: Final = "default"


class MixedWorld(World):
    """The disks with the numbers in `plain` land on plain volumes; the others become images."""

    def __init__(
        self,
        *,
        disks: int = 2,
        plain: tuple[int, ...] = (1,),
        release: str = RELEASE,
        **target: Any,
    ) -> None:
        self.release = release
        self.rows = tuple(DiskRule(disk=f"disk-{number}", form=DiskForm.VOLUME) for number in plain)
        super().__init__(disks=disks, **target)
        self.cluster.put(a_class("harvester-longhorn", default=True, parameters={"migratable": "true"}))
        self.volume_controller = Volumes(self.cluster)
        self.places: dict[str, MixedDisk] = {}
        self.workflow = self.plan.run

    def planned(self, uid: str = "6f1d", generation: int = 1, **target: Any) -> Plan:
        """A run of the import, with its request and the pod of `admit`."""
        given = {"way": DiskWay.MIXED, "disks": self.rows} | target
        made = super().planned(uid, generation, **given)
        request = a_request(made, f"request-{made.run}")
        request["metadata"]["namespace"] = self.release
        self.cluster.put(request)
        labels = {**names.run_labels(made), names.LABEL_STAGE: "admit"}
        self.cluster.put(
            {
                "apiVersion": POD.api_version,
                "kind": POD.kind,
                "metadata": {"name": f"{made.run}-admit-1", "namespace": self.release, "labels": labels},
                "spec": {"containers": [{"name": "main", "image": "vmferry/target:1"}]},
                "status": {"phase": "Running"},
            }
        )
        return made

    # --- the steps

    def files(self) -> MixedFiles:
        """What the step `admit` keeps and creates."""
        run_objects = RunObjects(self.plan, self.cluster, self.release)
        return MixedFiles(run_objects, self.plan, self.machine, self.workflow, self.landing_claims)

    def landing_claims(self, volumes: Names) -> LandingClaims:
        return LandingClaims(
            *(self.plan, self.machine, self.cluster, self.time),
            volumes=volumes,
            release=self.release,
            storage_of=plain_storage,
            clock=self.time.clock,
        )

    def admit(self) -> Admission:
        """As `steps.admit`."""
        files = self.files()
        scratch = files.scratch_needs()
        volumes = files.chosen_now() or choose_names(self.cluster, self.plan, self.shape, files.previous())
        admission = AdmissionCheck(self.plan, self.machine, self.cluster, volumes, scratch).run(self.shape)
        files.prepare(self.shape)
        files.save(volumes)
        rows = files.disks(self.shape, volumes)
        self.places = {row["disk"]: MixedDisk.model_validate(row) for row in rows}
        self.chosen[self.plan.run] = volumes
        return admission

    def export(self, disk: str) -> None:
        """What `export` and `convert` do: the disk is on its volume, or on scratch."""
        place = self.places[disk]
        if place.landed == "true":
            return
        for name in (place.claim, place.scratch):
            claim = self.cluster.peek(CLAIM, name, self.release)
            assert claim is not None
            assert claim["status"]["phase"] == "Bound", claim
        if place.way is DiskWay.LAND:
            volume = self.claim(place.claim, self.release)["spec"]["volumeName"]
            self.volume_controller.content[volume] = disk

    def give(self, disk: str) -> None:
        """`image` or `hand-over`, by the way of the disk."""
        if self.places[disk].way is DiskWay.LAND:
            self.hand_over(disk)
        else:
            self.publish(int(disk.rpartition("-")[2]), self.workflow)

    def hand_over(self, disk: str) -> str:
        return HandOver(
            *(self.plan, disk, self.cluster, self.time),
            volumes=self.volumes(),
            release=self.release,
            clock=self.time.clock,
        ).run()

    def delete_scratch(self) -> list[str]:
        return RunObjects(self.plan, self.cluster, self.release).delete_all()

    def steps(self) -> list[Callable[[], object]]:
        """The steps of the target, in order."""
        disks = [disk.id for disk in self.machine.disks]
        start = [self.start if self.plan.target.start else self.leave_off]
        return [
            self.admit,
            *(lambda disk=disk: self.export(disk) for disk in disks),
            *(lambda disk=disk: self.give(disk) for disk in disks),
            self.build,
            *start,
            self.delete_scratch,
        ]

    # --- current objects

    def claim(self, name: str = "web01-disk-1", namespace: str = TENANT) -> Object:
        found = self.cluster.peek(CLAIM, name, namespace)
        assert found is not None
        return found

    def landing_claim(self, disk: str = "disk-1") -> Object:
        return self.claim(names.claim(self.plan.run, disk), self.release)

    def attached(self) -> dict[str, Object]:
        """The claims of the VM by disk."""
        volumes = self.vm()["spec"]["template"]["spec"]["volumes"]
        return {one["name"]: self.claim(one["persistentVolumeClaim"]["claimName"]) for one in volumes}

    def requests(self) -> list[Object]:
        return self.cluster.all(CONFIG_MAP, self.release)
