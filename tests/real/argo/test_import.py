"""Imports by `kubectl apply` with the real Argo: the VM of the README and the cases of the QA plan."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.model.grants import ALLOWED
from steps.model.kinds import CLAIM, MACHINE, STORAGE_CLASS
from tests.real import scenario
from tests.real.argo.ground import Ground, eventually
from tests.real.argo.world import INVALID, RUNNING, World, a_vm, bytes_of, claims_of, images_of, world
from tests.real.guest import datadisk
from tests.real.standins import harvester_machines
from tests.real.standins.api import Api
from tests.real.standins.consoles import fresh_console, reported
from tests.real.standins.crds import LONGHORN_CLASS, V1_CLASS

pytestmark = pytest.mark.argo
Make = Callable[..., World]


@pytest.mark.smoke
def test_vm_of_the_readme_boots_with_its_data(ground: Ground, tmp_path: Path) -> None:
    scenario.guest_image()
    data = datadisk.make(tmp_path / "data.img", stay=True)
    (vm,) = scenario.inventory(data.path)["datacenters"][0]["vms"]
    with world(ground, tmp_path, [vm], "it-readme") as made:
        document = made.readme_manifest()
        console = fresh_console(ground.lab, made.namespace)
        ground.apply(*made.source(), document)
        imported = made.imported(scenario.VM)
        status = imported.until(RUNNING)
        report = scenario.proven(reported(console), data)
        assert [nic.mac for nic in report.nics] == list(scenario.MACS)
        assert made.simulator.vm(scenario.VM)["shutdowns"] == 1
        assert {row.integrity for row in status.disk_import_status} == {"sha512"}
        assert status.percent == 100
        reached = [
            "SourceReady",
            "DisksExported",
            "DiskImagesReady",
            "VirtualMachineCreated",
            "VirtualMachineRunning",
        ]
        assert set(reached) <= set(imported.events())
        log = ground.controller_log()
        for line in (
            "Running preflight checks ...",
            "Shutting down guest OS",
            "The VM was imported successfully",
        ):
            assert line in log


def test_several_imports_in_one_manifest_in_any_order(ground: Ground, make: Make, tmp_path: Path) -> None:
    vms = [
        a_vm(tmp_path, "three-disks", disks=3),
        a_vm(tmp_path, "three-nics", nics=3),
        a_vm(tmp_path, "was-off", power="off"),
    ]
    made = make(vms)
    imports = [made.manifest(vm["name"], source="it-sources") for vm in vms]
    ground.kubectl("create", "namespace", "it-sources")
    try:
        secret, source = made.source(namespace="it-sources")
        ground.apply(*imports, source, secret)
        every = [made.imported(vm["name"]) for vm in vms]
        for one in every:
            one.when(lambda seen: seen.summary.reason == "SourceNotPermitted", 60)
        assert made.simulator.tasks() == []
        source["metadata"]["annotations"] = {ALLOWED: made.namespace}
        ground.apply(source)
        for one in every:
            one.until(RUNNING)
        disks, nics, off = (one.machine() for one in every)
        assert disks is not None
        assert nics is not None
        assert off is not None
        assert len(claims_of(disks)) == 3
        assert len(nics["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"]) == 3
        assert made.simulator.vm("was-off")["shutdowns"] == made.simulator.vm("was-off")["powerOffs"] == 0
        assert [task for task in made.simulator.tasks() if task["error"]] == []
        wanted = [_sha256(Path(disk["file"])) for disk in vms[0]["disks"]]
        assert [bytes_of(ground, made.namespace, claim) for claim in claims_of(disks)] == wanted
        classes = {image["status"]["storageClassName"] for image in images_of(made)}
        parameters = [ground.cluster.get(STORAGE_CLASS, name) for name in classes]
        assert all(one and one["provisioner"] == "driver.longhorn.io" for one in parameters)  # the default
    finally:
        for one in every:
            one.delete()
        ground.kubectl("delete", "namespace", "it-sources")


def test_named_storage_class_is_used(ground: Ground, make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "on-disk")])
    imported = made.begin("on-disk", storageClass="disk")
    imported.until(RUNNING)
    (image,) = images_of(made)
    assert (image["spec"]["backend"], image["spec"]["targetStorageClassName"]) == ("cdi", "disk")
    machine = imported.machine()
    assert machine
    (claim,) = claims_of(machine)
    found = ground.cluster.get(CLAIM, claim, made.namespace)
    assert found
    assert found["spec"]["storageClassName"] == "disk"
    assert imported.status.disk_import_status[0].integrity == "transfer-only"


@pytest.mark.parametrize(("storage_class", "backend"), [(V1_CLASS, "backingimage"), (LONGHORN_CLASS, "cdi")])
def test_default_vsphere_vm_is_imported(make: Make, tmp_path: Path, storage_class: str, backend: str) -> None:
    """Four vCPUs with a socket each, and two disks; with Harvester's own controllers if they are built."""
    made = make([a_vm(tmp_path, "default-vm", disks=2, cpus=4, coresPerSocket=1)])
    imported = made.begin("default-vm", storageClass=storage_class)
    imported.until(RUNNING)
    machine = imported.machine()
    assert machine
    cpu = machine["spec"]["template"]["spec"]["domain"]["cpu"]
    assert (cpu["sockets"], cpu["cores"], cpu["maxSockets"]) == (1, 4, 1)
    assert {image["spec"]["backend"] for image in images_of(made)} == {backend}
    assert len(claims_of(machine)) == 2


def test_one_disk_comes_by_an_image_and_another_lands_on_its_volume(
    ground: Ground, make: Make, tmp_path: Path
) -> None:
    """A whole VM with both; with Harvester's own controllers if they are built."""
    vm = a_vm(tmp_path, "mixed", disks=2)
    made = make([vm])
    imported = made.begin("mixed", diskMapping=[{"sourceDisk": "disk-1", "as": "volume"}])
    status = imported.until(RUNNING)
    machine = imported.machine()
    assert machine
    by_image, landed = claims_of(machine)
    assert len(images_of(made)) == 1
    wanted = [_sha256(Path(disk["file"])) for disk in vm["disks"]]
    assert [bytes_of(ground, made.namespace, claim) for claim in (by_image, landed)] == wanted
    assert [row.integrity for row in status.disk_import_status] == ["sha512", "read-back"]
    named = [ground.cluster.get(CLAIM, claim, made.namespace) for claim in (by_image, landed)]
    marks = ["harvesterhci.io/imageId" in (one or {})["metadata"].get("annotations", {}) for one in named]
    assert marks == [True, False]
    assert all(not (one or {})["metadata"].get("ownerReferences") for one in named), "a disk has an owner"


def test_unknown_network_and_camel_case_name_are_accepted_by_default(make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "testFocalCamelCase")])
    bogus = [{"sourceNetwork": "no such network", "destinationNetwork": "vlan1"}]
    imported = made.begin("testFocalCamelCase", name="focal", networkMapping=bogus)
    status = imported.until(RUNNING)
    assert status.imported_virtual_machine_name == "testfocalcamelcase"
    machine = imported.machine("testfocalcamelcase")
    assert machine
    (nic,) = machine["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"]
    (network,) = machine["spec"]["template"]["spec"]["networks"]
    assert (nic["model"], nic["masquerade"], network["pod"]) == ("virtio", {}, {})


@pytest.mark.alone
def test_unknown_network_and_camel_case_name_are_refused_if_strict(
    ground: Ground, make: Make, settings: Callable[..., None], tmp_path: Path
) -> None:
    settings(**{"import": {"networkPolicy": "strict", "namePolicy": "strict"}})
    made = make([a_vm(tmp_path, "testFocalCamelCase"), a_vm(tmp_path, "plain")])
    bogus = [{"sourceNetwork": "no such network", "destinationNetwork": "vlan1"}]
    named = made.begin("testFocalCamelCase", name="focal-bad-name")
    networked = made.begin("plain", networkMapping=bogus)
    assert "no such network" in networked.until(INVALID).message
    assert "is not RFC 1123 compliant" in named.until(INVALID).message
    log = ground.controller_log()
    where = f"focal-bad-name in namespace {made.namespace}"
    assert f"vm migration target testFocalCamelCase in VM {where} is not RFC 1123 compliant" in log
    assert f"vm {where} has an invalid spec" in log
    assert made.simulator.vm("plain")["power"] == made.simulator.vm("testFocalCamelCase")["power"] == "on"
    named.change(targetVirtualMachineName="focal")  # an invalid import recovers
    named.leaves(INVALID)
    named.until("virtualMachineImportValid", "sourceReady", "disksExported", RUNNING)


def test_deleting_a_finished_import_keeps_the_vm_and_its_image(
    ground: Ground, make: Make, tmp_path: Path
) -> None:
    made = make([a_vm(tmp_path, "again", disks=2)])
    imported = made.begin("again")
    imported.until(RUNNING)
    images = {image["metadata"]["uid"] for image in images_of(made)}
    imported.delete()
    assert imported.machine() is not None
    assert {image["metadata"]["uid"] for image in images_of(made)} == images
    assert len(made.all(CLAIM)) == 2
    api = Api(ground.lab.kubeconfig)
    harvester_machines.remove(api, made.namespace, "again", ["disk-0", "disk-1"])
    eventually(
        lambda: not made.all(MACHINE) and not made.all(CLAIM), "the VM and its volumes to be deleted", 60
    )
    assert {image["metadata"]["uid"] for image in images_of(made)} == images
    made.begin("again").until(RUNNING)
    assert {image["metadata"]["uid"] for image in images_of(made)} == images  # nothing was uploaded again


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
