"""Disks that land on plain volumes of Harvester, at the real API server with the chart's rights and policy.

One disk becomes an image and has scratch and a Service; the other one lands. The rights are those of the
value `harvester.allowVolumes`.
"""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from steps.admit import MixedFiles
from steps.model import names
from steps.model.contract import StepError
from steps.model.kinds import (
    CLAIM,
    CONFIG_MAP,
    PERSISTENT_VOLUME,
    POD,
    SERVICE,
    STORAGE_CLASS,
    Kind,
    Object,
)
from steps.model.landing import MixedDisk
from steps.model.mapping import shape
from steps.model.plan import DiskForm, DiskRule, DiskWay, ImportRef, Plan, ScratchPlan, TargetKind
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from steps.targets.cluster import markers
from steps.targets.cluster.run_objects import RunObjects
from steps.targets.harvester.plain_volumes import LVM, plain_storage
from steps.targets.landing.claims import LandingClaims
from steps.targets.landing.finished import finished_claim, is_finished
from steps.targets.landing.handover import HandOver
from tests.real.controller.apiserver import ApiServer, _write_kubeconfig
from tests.real.landing.conftest import RELEASE, TENANT, chart_objects, wait_for
from tests.real.landing.test_handover import Killed, KilledError
from tests.unit.builders import a_disk, a_machine, a_plan

_NUMBERS: Final = itertools.count()
PLAIN: Final = "disk-1"


class Import:
    """An import of a VM with two disks, between `preflight` and `build`."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.admin = server.connect()
        self.number = next(_NUMBERS)
        self.storage_class = f"lvm-{self.number}"
        rows = (DiskRule(disk=PLAIN, form=DiskForm.VOLUME, storage_class=self.storage_class),)
        made = a_plan(kind=TargetKind.HARVESTER, way=DiskWay.MIXED, namespace=TENANT, disks=rows)
        self.plan: Plan = made.model_copy(
            update={
                "run": f"vmi-shop-{self.number:08x}-g1",
                "import_": ImportRef(name="shop", namespace=TENANT, uid=f"uid-shop-{self.number}"),
                "scratch": ScratchPlan(storage_class=f"scratch-{self.number}"),
            }
        )
        self.machine = a_machine(disks=(a_disk(0), a_disk(1)))
        vm = f"shop{self.number}"
        self.volumes = Volumes(vm=vm, names={disk.id: f"{vm}-{disk.id}" for disk in self.machine.disks})
        self.final = self.volumes.names[PLAIN]
        self.rows: dict[str, MixedDisk] = {}
        self._prepare()

    def _prepare(self) -> None:
        self._create(STORAGE_CLASS, self.storage_class, provisioner=LVM)
        self._create(STORAGE_CLASS, f"scratch-{self.number}", provisioner="example.com/scratch")
        self._volume(self.storage_class, "Block")
        self._volume(f"scratch-{self.number}", "Filesystem")
        self._create(CONFIG_MAP, names.request(self.plan.run), RELEASE)

    def _volume(self, storage_class: str, mode: str) -> None:
        spec = {
            "capacity": {"storage": "2Gi"},
            "accessModes": ["ReadWriteOnce"],
            "volumeMode": mode,
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": storage_class,
            "csi": {"driver": "csi.example.com", "volumeHandle": storage_class},
        }
        self._create(PERSISTENT_VOLUME, f"pv-{storage_class}", spec=spec)

    def _create(self, kind: Kind, name: str, namespace: str = "", **fields: Any) -> Object:
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        return self.admin.create(
            {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **fields}
        )

    def client(self, stage: str) -> Cluster:
        """The API with the token of a pod of the run."""
        pod = f"{self.plan.run}-{stage}-{next(_NUMBERS) + 1000}"
        containers = [{"name": "main", "image": "vmferry/target"}]
        spec = {"serviceAccountName": "vmferry-target", "containers": containers}
        self._create(POD, pod, RELEASE, spec=spec)
        bound = ("--bound-object-kind", "Pod", "--bound-object-name", pod)
        token = self.server.kubectl("create", "token", "vmferry-target", "-n", RELEASE, *bound).strip()
        return self.server.connect(Path(_write_kubeconfig(self.server.folder / f"{pod}.kubeconfig", token)))

    # --- the steps

    def admit(self, cluster: Any) -> None:
        """What `admit` creates after the target has accepted the VM."""

        def claims(volumes: Volumes) -> LandingClaims:
            return LandingClaims(
                *(self.plan, self.machine, cluster, Stop()),
                volumes=volumes,
                release=RELEASE,
                storage_of=plain_storage,
            )

        run_objects = RunObjects(self.plan, cluster, RELEASE)
        files = MixedFiles(run_objects, self.plan, self.machine, self.plan.run, claims)
        files.prepare(shape(self.plan, self.machine))
        files.save(self.volumes)
        rows = files.disks(shape(self.plan, self.machine), self.volumes)
        self.rows = {row["disk"]: MixedDisk.model_validate(row) for row in rows}

    def hand_over(self, cluster: Any) -> None:
        HandOver(self.plan, PLAIN, cluster, Stop(), volumes=self.volumes, release=RELEASE).run()

    def carry_out(self, admit: Any, hand_over: Any) -> None:
        """As Argo runs both steps: what fails for a temporary cause runs again."""
        for step, cluster in ((self.admit, admit), (self.hand_over, hand_over)):
            wait_for(partial(self._is_done, step, cluster), "the step does not end")

    def _is_done(self, step: Any, cluster: Any) -> bool:
        try:
            step(cluster)
        except StepError as error:
            if error.code.permanent:
                raise
            return False
        return True

    # --- the result

    def is_as_meant(self) -> bool:
        claim = finished_claim(self.admin, self.plan, PLAIN)
        assert claim["metadata"]["name"] == self.final
        assert is_finished(claim, self.plan, PLAIN)
        volume = self.admin.get(PERSISTENT_VOLUME, f"pv-{self.storage_class}")
        assert volume is not None
        assert volume["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]
        assert volume["status"]["phase"] == "Bound"
        run = self.plan.run
        assert (self.rows[PLAIN].way, self.rows["disk-0"].way) == (DiskWay.LAND, DiskWay.PULL)
        wait_for(lambda: self._claims() == {f"{run}-disk-0", f"{run}-disk-1-notes"}, "claims differ")
        scratch = self.admin.get(CLAIM, f"{run}-disk-0", RELEASE)
        assert scratch is not None
        assert markers.UNFINISHED not in (scratch["metadata"].get("annotations") or {})
        assert self.admin.get(SERVICE, f"{run}-disk-0", RELEASE) is not None
        assert self.admin.get(SERVICE, f"{run}-disk-1", RELEASE) is None
        return True

    def _claims(self) -> set[str]:
        found = self.admin.find(CLAIM, RELEASE, {names.LABEL_RUN: self.plan.run})
        return {one["metadata"]["name"] for one in found}


def test_either_value_of_the_chart_gives_the_same_rights() -> None:
    assert chart_objects("harvester.allowVolumes=true") == chart_objects("kubevirt.disks=land")


def test_one_disk_lands_and_the_other_gets_scratch_with_the_rights_of_the_chart(server: ApiServer) -> None:
    made = Import(server)
    clients = made.client("admit"), made.client("hand-over")
    made.carry_out(*clients)
    assert made.is_as_meant()
    made.carry_out(*clients)  # another attempt finds it done
    assert made.is_as_meant()
    assert made.rows[PLAIN].landed == "true"


PARTS: Final = 3
"""Tests that share the requests, so that each of them ends in time on a slow machine."""


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("answer_only", [False, True], ids=["request lost", "answer lost"])
def test_a_kill_at_every_request_has_the_same_result(
    server: ApiServer, *, answer_only: bool, part: int
) -> None:
    for at in itertools.count(part, PARTS):
        made = Import(server)
        admit, hand_over = made.client("admit"), made.client("hand-over")
        killed = Killed(admit, at, answer_only=answer_only)
        try:
            made.admit(killed)
        except KilledError:
            made.carry_out(admit, hand_over)
        else:
            assert at > 15
            return
        assert made.is_as_meant(), f"killed at request {at}"
