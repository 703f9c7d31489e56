"""Whole imports with the target kubevirt, into the real CDI and the real KubeVirt: the guest boots.

Nothing is played but the vCenter and oVirt's engine: Argo, CDI, KubeVirt, its exporter, OpenStack and
ovirt-imageio are the real ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from steps.model.kinds import CLAIM, DATA_VOLUME, MACHINE, Object
from steps.targets.cluster import markers
from steps.targets.cluster.published import Integrity
from steps.targets.cluster.vm_objects import attached_claims
from tests.real import scenario
from tests.real.argo.ground import Ground
from tests.real.argo.place import RUNNING, Imported, Place, assert_nothing_left
from tests.real.cluster.lab import Lab
from tests.real.e2e import harness
from tests.real.standins.process import eventually
from tests.real.virt import guests, sources
from tests.real.virt.cases import CASES, Case
from tests.real.virt.sources import Offered
from workflows.api.conditions import find

pytestmark = [pytest.mark.vm, pytest.mark.vcenter, pytest.mark.usefixtures("cdi")]

IMPORT_SECONDS: Final = 2400.0
"""An import takes one to two minutes in an idle lab; CDI's pods wait for the processor on a busy one."""
DELETE_SECONDS: Final = 400.0
"""A guest that ignores the power button is ended after its grace period."""
FILESYSTEM_CLASS: Final = "wffc"
"""It waits for its first consumer, and CDI does not know its modes."""
INTEGRITY: Final = {"pull": Integrity.SHA512, "land": Integrity.READ_BACK}


@dataclass(frozen=True)
class Desk:
    """Where a test imports, and from what."""

    lab: Lab
    namespace: str
    folder: Path
    case: Case
    offered: Offered
    import_: Object

    def embedded(self) -> None:
        """`vmferry run --to kubevirt`, to its end."""
        path = scenario.write(self.folder / "import.yaml", [*self.offered.documents, self.import_])
        environment = {"KUBECONFIG": str(self.lab.place.kubeconfig), "SVC_ADDRESS": self.lab.host}
        argv = ("run", "--to", "kubevirt", "-f", path, "--into", self.folder / "into")
        with harness.started(self.folder, *argv, **environment) as run:
            ended = run.wait(IMPORT_SECONDS)
        assert ended.code == 0, ended.err
        assert f"imported as VirtualMachine {self.namespace}/{self.case.name}" in ended.err

    def argo(self, ground: Ground) -> None:
        """`kubectl apply`; the target is not named, so the controller must find out that it is KubeVirt."""
        ground.install(kubevirt={"disks": self.case.disks})
        ground.apply(*self.offered.documents, self.import_)
        imported = Imported(ground, self.namespace, self.case.name)
        status = imported.until(RUNNING, seconds=IMPORT_SECONDS)
        assert {row.integrity for row in status.disk_import_status} == {INTEGRITY[self.case.disks]}
        found = find(status.import_conditions, "GuestInspected")
        if self.case.disks == "land":  # it is the default there
            assert found is not None
            assert (found.status, found.reason) == ("True", "Fits"), found.message
        else:
            assert found is None
        imported.delete()
        assert_nothing_left(Place(ground, self.namespace))

    def found(self, kind: object, name: str) -> Object:
        found = self.lab.get(kind, name, self.namespace)  # type: ignore[arg-type]
        assert found is not None, f"{kind} {name}"
        return found


@pytest.fixture(scope="module", autouse=True)
def _guest() -> None:
    scenario.guest_image()


@contextmanager
def offered(
    case: Case, lab: Lab, namespace: str, folder: Path, request: pytest.FixtureRequest
) -> Iterator[Offered]:
    """The guest at the source of the case."""
    if case.source == "kubevirt":
        with sources.kubevirt(case, folder, lab, namespace) as found:
            yield found
        return
    if case.source == "openstack":
        with sources.openstack(case, folder, request.getfixturevalue("project"), namespace) as found:
            yield found
        return
    make = {"vsphere": sources.vsphere, "ova": sources.ova, "ovirt": sources.ovirt}[case.source]
    with make(case, folder, lab.host, namespace) as found:
        yield found


@pytest.mark.parametrize("name", CASES)
def test_an_imported_vm_boots_with_its_data(
    lab: Lab, csi_class: str, namespace: str, tmp_path: Path, request: pytest.FixtureRequest, name: str
) -> None:
    case = CASES[name]
    storage_class = csi_class if case.mode == "Block" else FILESYSTEM_CLASS
    with offered(case, lab, namespace, tmp_path, request) as source:
        import_ = sources.import_of(case, source, namespace, storage_class)
        desk = Desk(lab, namespace, tmp_path, case, source, import_)
        if case.way == "embedded":
            desk.embedded()
        else:
            desk.argo(request.getfixturevalue("ground"))
        assert source.left() == []
        guest = guests.Guest(lab, namespace, case.name)
        report = scenario.proven(guest.reported(), source.data)
    assert report.firmware == case.firmware
    if case.source in ("vsphere", "kubevirt") and case.firmware == "uefi":
        assert (report.secureboot, report.tpm) == ("on", "2.0")
    # An inspection has found the drivers for virtio, whatever the bus at the source was.
    bus = "virtio" if case.disks == "land" else case.bus
    assert {report.root.bus, *(disk.bus for disk in report.disks)} == {bus}
    assert [nic.mac for nic in report.nics] == [scenario.MACS[0]]
    assert guest.screenshot() >= guests.SMALLEST_SCREEN
    assert_owned(desk)
    assert_disks_go_with_the_vm(desk)


def assert_owned(desk: Desk) -> None:
    """The VM owns its disks: the DataVolumes, which own their claims, or the claims on which disks landed."""
    vm = desk.found(MACHINE, desk.case.name)
    assert not vm["metadata"].get("ownerReferences")
    for name in attached_claims(vm).values():
        claim = desk.found(CLAIM, name)
        assert claim["spec"]["volumeMode"] == desk.case.mode
        owner = vm
        if desk.case.disks == "pull":
            owner = desk.found(DATA_VOLUME, name)
            assert owner["metadata"]["annotations"][markers.INTEGRITY] == "sha512"
            assert _owners(owner) == [vm["metadata"]["uid"]]
        assert _owners(claim) == [owner["metadata"]["uid"]]


def assert_disks_go_with_the_vm(desk: Desk) -> None:
    where = ("--namespace", desk.namespace)
    desk.lab.kubectl(*where, "delete", "vm", desk.case.name, "--wait=false")

    def gone() -> bool:
        kinds = ("vm", "datavolume", "pvc")
        return all(desk.lab.kubectl(*where, "get", kind, "-o", "name") == "" for kind in kinds)

    eventually(gone, f"deletion of {desk.case.name} with its disks", DELETE_SECONDS)


def _owners(thing: Object) -> list[str]:
    return [owner["uid"] for owner in thing["metadata"].get("ownerReferences") or []]
