"""The contract of every target in a cluster, for any cluster for which there is a `Lab`.

`test_contract.py` runs it with the cluster in memory; a real one only needs its own `Lab`.
"""

from __future__ import annotations

from typing import Protocol

import pytest

from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, IMAGE, MACHINE, Object
from steps.model.names import LABEL_UID
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.targets.cluster.markers import DIGEST, INTEGRITY


class Lab(Protocol):
    """A cluster with an import that is ready to run; the VM has two disks."""

    @property
    def cluster(self) -> Cluster:
        """For reading, and for making objects of others."""

    @property
    def plan(self) -> Plan:
        """The import's plan."""

    def publish(self, disk: str) -> str:
        """Run `image`; returns the image's name."""

    def build(self) -> None:
        """Run `build`."""

    def start(self) -> None:
        """Run `start` to its end."""

    def delete_import(self) -> None:
        """Delete the import; returns when its objects are deleted."""

    def import_again(self) -> None:
        """An import of the same name and VM, with its own uid."""

    def change_bytes(self, disk: str) -> None:
        """The disk has other bytes from now on."""

    def settle(self) -> None:
        """Returns when garbage collection has nothing left to do."""


DISKS = ("disk-0", "disk-1")


def everything(lab: Lab) -> dict[str, list[str]]:
    """Names of the objects that this import has made, by kind."""
    labels = {LABEL_UID: lab.plan.import_.uid}
    namespace = lab.plan.target.namespace
    return {
        kind.kind: sorted(one["metadata"]["name"] for one in lab.cluster.find(kind, namespace, labels))
        for kind in (IMAGE, CLAIM, MACHINE)
    }


def the_vm(lab: Lab) -> Object:
    (name,) = everything(lab)[MACHINE.kind]
    found = lab.cluster.get(MACHINE, name, lab.plan.target.namespace)
    assert found is not None
    return found


def volumes(lab: Lab) -> list[Object]:
    """The claims of the VM, all of which exist."""
    spec = the_vm(lab)["spec"]["template"]["spec"]
    names = [one["persistentVolumeClaim"]["claimName"] for one in spec["volumes"]]
    found = [lab.cluster.get(CLAIM, name, lab.plan.target.namespace) for name in names]
    return [one for one in found if one is not None]


def carry_out(lab: Lab) -> None:
    for disk in DISKS:
        lab.publish(disk)
    lab.build()
    lab.start()


class TargetContract:
    """Inherit, and define the fixture `lab`."""

    reuses = True
    """Whether an image outlives its VM unchanged. CDI's do not: the VM runs on their volume."""

    def test_a_whole_import_succeeds(self, lab: Lab) -> None:
        carry_out(lab)
        assert len(everything(lab)[IMAGE.kind]) == 2
        assert the_vm(lab)["status"]["ready"]
        assert len(volumes(lab)) == 2

    def test_each_step_is_idempotent(self, lab: Lab) -> None:
        first = [lab.publish(disk) for disk in DISKS]
        assert [lab.publish(disk) for disk in DISKS] == first
        lab.build()
        uid = the_vm(lab)["metadata"]["uid"]
        lab.build()
        lab.start()
        lab.start()
        lab.build()
        assert the_vm(lab)["metadata"]["uid"] == uid
        assert the_vm(lab)["spec"]["runStrategy"] == "RerunOnFailure"
        assert len(everything(lab)[IMAGE.kind]) == len(volumes(lab)) == 2

    def test_an_image_is_stamped(self, lab: Lab) -> None:
        found = lab.cluster.get(IMAGE, lab.publish("disk-0"), lab.plan.target.namespace)
        assert found is not None
        annotations = found["metadata"]["annotations"]
        assert len(annotations[DIGEST]) == 128
        assert annotations[INTEGRITY] in ("sha512", "transfer-only")

    def test_build_leaves_the_vm_off(self, lab: Lab) -> None:
        for disk in DISKS:
            lab.publish(disk)
        lab.build()
        assert the_vm(lab)["spec"]["runStrategy"] == "Halted"

    def test_an_import_deleted_before_its_end_leaves_nothing(self, lab: Lab) -> None:
        for disk in DISKS:
            lab.publish(disk)
        lab.build()
        lab.delete_import()
        lab.settle()
        assert everything(lab) == {IMAGE.kind: [], CLAIM.kind: [], MACHINE.kind: []}

    def test_an_import_deleted_after_its_end_leaves_everything(self, lab: Lab) -> None:
        carry_out(lab)
        made = everything(lab)
        lab.delete_import()
        lab.settle()
        assert everything(lab) == made

    def test_equal_bytes_are_not_uploaded_twice(self, lab: Lab) -> None:
        carry_out(lab)
        first = everything(lab)[IMAGE.kind]
        self.forget_all_but_images(lab)
        lab.import_again()
        again = [lab.publish(disk) for disk in DISKS]
        assert set(again) & set(first) == (set(first) if self.reuses else set())

    def test_other_bytes_make_another_image(self, lab: Lab) -> None:
        carry_out(lab)
        first = everything(lab)[IMAGE.kind]
        self.forget_all_but_images(lab)
        lab.import_again()
        lab.change_bytes("disk-1")
        again = [lab.publish(disk) for disk in DISKS]
        assert (again[0] in first) is self.reuses
        assert again[1] not in first

    def test_a_vm_of_others_stays_unchanged(self, lab: Lab) -> None:
        for disk in DISKS:
            lab.publish(disk)
        spec = {"runStrategy": "Halted", "template": {"spec": {"domain": {"devices": {}}}}}
        metadata = {"name": "web01", "namespace": lab.plan.target.namespace}
        theirs = {"apiVersion": MACHINE.api_version, "kind": MACHINE.kind, "metadata": metadata, "spec": spec}
        before = lab.cluster.create(theirs)
        with pytest.raises(StepError) as caught:
            lab.build()
        assert caught.value.code is Exit.CONFLICT
        after = lab.cluster.get(MACHINE, "web01", lab.plan.target.namespace) or {}
        assert after["metadata"].get("labels") == before["metadata"].get("labels")
        assert everything(lab)[CLAIM.kind] == []

    def forget_all_but_images(self, lab: Lab) -> None:
        """As a user who deletes the import, the VM and its volumes."""
        namespace, made = lab.plan.target.namespace, everything(lab)
        lab.delete_import()
        for kind in (MACHINE, CLAIM):
            for name in made[kind.kind]:
                lab.cluster.delete(kind, name, namespace)
        lab.settle()
