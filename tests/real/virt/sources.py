"""The test guest in each kind of source, at an address of the host that the lab's pods reach.

The controllers of its disks are those that a VM of that source has, so the bus at the target is the one that
vmferry chooses for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from steps.model.kinds import API_VERSION, Object
from tests import demosources
from tests.real import scenario
from tests.real.argo.website import PASSWORD, USER, site
from tests.real.cluster.lab import Lab
from tests.real.e2e import harness
from tests.real.guest import datadisk
from tests.real.openstack import machines
from tests.real.openstack.cloud import Project
from tests.real.ovirt import guest
from tests.real.ovirt.inventory import Disk, Nic
from tests.real.ovirt.lab import Lab as Engine
from tests.real.simulator import Simulator
from tests.real.virt import exporting
from tests.real.virt.cases import Case
from tests.unit.steps.providers.ova.make import Flavour, build_ova

GIB: Final = 1 << 30
MEMORY_MIB: Final = 512
CONTROLLERS: Final = {"virtio": "nvme", "sata": "pvscsi"}
"""KubeVirt knows neither; see BUSES in steps/model/mapping.py."""
FLAVOURS: Final[dict[str, Flavour]] = {"virtio": "qemu", "sata": "virtualbox"}
NETWORK: Final = "VM Network"
SHUTDOWN_SECONDS: Final = 20
"""The guest ignores the power button, so KubeVirt ends it after this time."""


@dataclass(frozen=True)
class Offered:
    """The guest at a source, and the objects with which a user imports it."""

    documents: list[Object]
    """The Secret and the source."""
    reference: Object
    """spec.sourceCluster of the import."""
    data: datadisk.DataDisk
    left: Callable[[], list[Any]]
    """What the import left at the source: nothing, if all is well."""


@contextmanager
def vsphere(case: Case, folder: Path, host: str, namespace: str) -> Iterator[Offered]:
    """A simulated vCenter. With UEFI the VM has Secure Boot and a TPM as well."""
    data = datadisk.make(folder / "data.img", stay=True)
    controller = CONTROLLERS[case.bus]
    disks = [{"file": str(file), "controller": controller} for file in (scenario.GUEST, data.path)]
    vm: dict[str, Any] = {
        "disks": disks,
        "nics": [{"network": NETWORK, "mac": scenario.MACS[0]}],
        **({"firmware": "efi", "secureBoot": True, "tpm": True} if case.firmware == "uefi" else {}),
    }
    described = scenario.inventory(data.path, **vm)
    with Simulator.start(described, folder / "vcenter", listen=f"{host}:0") as simulator:
        secret, source, _ = scenario.manifests(simulator, namespace)

        def left() -> list[Any]:
            power = simulator.vm(scenario.VM)["power"]
            return [*harness.left(simulator), *([] if power == "off" else [f"the VM is {power}"])]

        yield Offered([secret, source], reference(source), data, left)


@contextmanager
def ova(case: Case, folder: Path, host: str, namespace: str) -> Iterator[Offered]:
    """An archive behind HTTPS with a login; of QEMU with qcow2 images, or of VirtualBox with VMDKs."""
    data = datadisk.make(folder / "data.img", stay=True)
    (folder / "files").mkdir()
    build_ova(
        folder / "files" / "guest.ova",
        [scenario.GUEST, data.path],
        FLAVOURS[case.bus],
        tables_last=False,
        name=scenario.VM,
        memory_mib=MEMORY_MIB,
        macs=scenario.MACS[:1],
        firmware="efi" if case.firmware == "uefi" else "bios",
    )
    with site(folder) as web:
        assert host in web.url
        values = {"username": USER, "password": PASSWORD, "ca.crt": web.certificate}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "login", "namespace": namespace},
            "stringData": values,
        }
        source = {
            "apiVersion": API_VERSION,
            "kind": "OvaSource",
            "metadata": {"name": "appliance", "namespace": namespace},
            "spec": {"url": f"{web.url}/guest.ova", "credentials": {"name": "login"}},
        }
        yield Offered([secret, source], reference(source), data, list)


@contextmanager
def ovirt(case: Case, folder: Path, host: str, namespace: str) -> Iterator[Offered]:
    """A stand-in of an engine, with the real ovirt-imageio."""
    data = datadisk.make(folder / "data.img", stay=True)
    disks = [
        Disk(file=file, alias=file.stem, bootable=file == scenario.GUEST, interface=case.bus)
        for file in (scenario.GUEST, data.path)
    ]
    vm: dict[str, Any] = {
        "disks": disks,
        "nics": [Nic(network=guest.NETWORKS[0], mac=scenario.MACS[0])],
        "bios_type": "q35_ovmf" if case.firmware == "uefi" else "q35_sea_bios",
    }
    described = guest.inventory(data.path, **vm)
    with Engine.start(described, folder / "engine", listen=f"{host}:0") as lab:
        documents = demosources.ovirt_source(lab, namespace)

        def left() -> list[Any]:
            status = lab.vm(scenario.VM)["status"]
            locked = [disk["alias"] for disk in lab.disks() if disk["status"] != "ok"]
            return [
                *lab.transfers(live=True),
                *locked,
                *([] if status == "down" else [f"the VM is {status}"]),
            ]

        yield Offered(documents, reference(documents[1]), data, left)


@contextmanager
def openstack(case: Case, folder: Path, project: Project, namespace: str) -> Iterator[Offered]:
    """A server of the real OpenStack; its volumes have whole GiB."""
    data = datadisk.make(folder / "data.img", size=GIB, stay=True)
    net = machines.network(project, NETWORK)
    machines.server(
        project,
        scenario.VM,
        [scenario.GUEST, data.path],
        nics=[machines.Nic(network=net, mac=scenario.MACS[0])],
        properties={
            "hw_firmware_type": case.firmware,
            "hw_machine_type": "q35",
            "hw_disk_bus": case.bus,
        },
        flavor=machines.new_flavor(project, cpus=2, memory=MEMORY_MIB),
    )
    documents = demosources.openstack_source(project, namespace)
    yield Offered(documents, reference(documents[1]), data, project.held)


@contextmanager
def kubevirt(case: Case, folder: Path, lab: Lab, namespace: str) -> Iterator[Offered]:
    """A VM that runs in another namespace of the lab. From the host only virt-exportproxy can be reached."""
    exporting.turn_on(lab)
    with exporting.running_guest(lab, case.bus, case.firmware, folder) as (guest, data):
        way = exporting.address(lab) if case.way == "embedded" else {}
        documents = exporting.documents(lab, guest.namespace, namespace, **way)
        yield Offered(documents, reference(documents[1]), data, lambda: exporting.left(guest))


def import_of(case: Case, offered: Offered, namespace: str, storage_class: str) -> Object:
    """The import; the NIC has no row in the mapping, so it is attached to the pod network."""
    return {
        "apiVersion": API_VERSION,
        "kind": "VirtualMachineImport",
        "metadata": {"name": case.name, "namespace": namespace},
        "spec": {
            "virtualMachineName": scenario.VM,
            "targetVirtualMachineName": case.name,
            "storageClass": storage_class,
            "networkMapping": [],
            "sourceCluster": offered.reference,
            **({"gracefulShutdownTimeoutSeconds": SHUTDOWN_SECONDS} if case.source == "kubevirt" else {}),
        },
    }


def reference(source: Object) -> Object:
    metadata = source["metadata"]
    return {
        "apiVersion": API_VERSION,
        "kind": source["kind"],
        "name": metadata["name"],
        "namespace": metadata["namespace"],
    }
