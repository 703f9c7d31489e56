"""Puts the guest into each kind of source, for the demo and for the tests that compare the sources."""

from __future__ import annotations

import enum
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from steps.model.kinds import API_VERSION
from tests.real import scenario
from tests.real.guest import datadisk

GIB: Final = 1 << 30
VMDKS: Final = scenario.ROOT / ".cache" / "demo-vcenter"
NAME: Final = scenario.VM
NETWORKS: Final = ("VM Network", "prod-pg")


class Kind(enum.StrEnum):
    """The values of `make demo SOURCE=`."""

    VMWARE = "vmware"
    OPENSTACK = "openstack"
    OVA = "ova"
    OVIRT = "ovirt"


@dataclass(frozen=True)
class Stage:
    """A source that has the guest."""

    where: str
    """A description of the source for the user."""
    manifests: Path
    data: datadisk.DataDisk
    left: Callable[[], str]
    """What the import left at the source."""


def default() -> Kind:
    """The simulated vCenter is a Go program: without Go the OVA is used."""
    return Kind.VMWARE if shutil.which("go") else Kind.OVA


def at(kind: Kind, folder: Path, seed: bytes | None = None) -> AbstractContextManager[Stage]:
    """The source, while the body runs; the same `seed` gives the same data on the data disk."""
    sources = {Kind.VMWARE: _vmware, Kind.OPENSTACK: _openstack, Kind.OVA: _ova, Kind.OVIRT: _ovirt}
    return sources[kind](folder, seed)


@contextmanager
def _vmware(folder: Path, seed: bytes | None) -> Iterator[Stage]:
    with scenario.running(folder / "vcenter", vmdks=VMDKS, seed=seed) as vcenter:
        simulator = vcenter.simulator

        def left() -> str:
            power, leases = simulator.vm(NAME)["power"], len(simulator.leases())
            return f"{NAME} is {power}, {leases} leases and {len(simulator.sessions())} sessions left"

        where = f"A simulated vCenter runs at {simulator.url}, with the VM\n{scenario.FOLDER}/{NAME}"
        yield Stage(where, vcenter.manifests, vcenter.data, left)


@contextmanager
def _ova(folder: Path, seed: bytes | None) -> Iterator[Stage]:
    from tests.unit.steps.providers.ova.make import build_ova  # noqa: PLC0415 - no other source needs it

    place = folder / "ova"
    place.mkdir(parents=True)
    data = datadisk.make(place / "data.img", seed=seed)
    archive = place / f"{NAME}.ova"
    disks = [scenario.GUEST, data.path]
    macs = scenario.MACS
    build_ova(archive, disks, tables_last=False, name=NAME, memory_mib=512, macs=macs, firmware="efi")
    source = {
        "apiVersion": API_VERSION,
        "kind": "OvaSource",
        "metadata": {"name": "appliance", "namespace": "default"},
        "spec": {"url": str(archive.absolute())},
    }
    documents = [source, import_of("OvaSource", "appliance")]
    path = scenario.write(place / "manifests.yaml", documents)
    yield Stage(f"{archive} contains the VM", path, data, lambda: "the archive is as it was")


@contextmanager
def _ovirt(folder: Path, seed: bytes | None) -> Iterator[Stage]:
    # the daemon is installed only for this source
    from tests.real.ovirt import guest  # noqa: PLC0415
    from tests.real.ovirt.lab import Lab  # noqa: PLC0415

    place = folder / "ovirt"
    place.mkdir(parents=True)
    data = datadisk.make(place / "data.img", seed=seed)
    with Lab.start(guest.inventory(data.path), place / "engine") as lab:

        def left() -> str:
            vm, live = lab.vm(NAME), len(lab.transfers(live=True))
            return f"{NAME} is {vm['status']}, stopped {vm['shutdowns']} time, {live} image transfers left"

        documents = [*ovirt_source(lab), import_of("OvirtSource", "engine", networks=guest.NETWORKS)]
        path = scenario.write(place / "manifests.yaml", documents)
        where = (
            f"A stand-in of oVirt's engine with the real ovirt-imageio runs at {lab.url}, with the VM\n{NAME}"
        )
        yield Stage(where, path, data, left)


def ovirt_source(lab: Any, namespace: str = "default") -> list[scenario.Json]:
    """The Secret and the source for a stand-in of an engine."""
    values = {"username": lab.username, "password": lab.password, "caCert": lab.ca.read_text()}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "engine-login", "namespace": namespace},
        "stringData": values,
    }
    source = {
        "apiVersion": API_VERSION,
        "kind": "OvirtSource",
        "metadata": {"name": "engine", "namespace": namespace},
        "spec": {
            "endpoint": lab.url,
            "credentials": {"name": "engine-login", "namespace": namespace},
            "imageDaemonPort": lab.daemon,
            "imageProxyPort": lab.daemon,
        },
    }
    return [secret, source]


@contextmanager
def _openstack(folder: Path, seed: bytes | None) -> Iterator[Stage]:
    # these services run only for this source
    from tests.real.openstack.cloud import Cloud, running  # noqa: PLC0415
    from tests.real.openstack.stack import operate  # noqa: PLC0415

    ours = running() is None
    cloud = Cloud.up()
    try:
        with cloud.project() as project:
            yield openstack_stage(project, folder, seed=seed)
    finally:
        if ours:
            operate.down(cloud.layout.state)


def openstack_stage(
    project: Any, folder: Path, namespace: str = "default", *, seed: bytes | None = None, stay: bool = False
) -> Stage:
    """The guest as a server of that project; with `stay` it keeps running after its report."""
    from tests.real.openstack import machines  # noqa: PLC0415

    place = folder / "openstack"
    place.mkdir(parents=True)
    data = datadisk.make(place / "data.img", size=GIB, seed=seed, stay=stay)  # volumes have whole GiB
    nets = [machines.network(project, name) for name in NETWORKS]
    nics = [machines.Nic(network=net, mac=mac) for net, mac in zip(nets, scenario.MACS, strict=True)]
    server = machines.server(
        project,
        NAME,
        [scenario.GUEST, data.path],
        nics=nics,
        properties={"hw_firmware_type": "uefi", "hw_machine_type": "q35", "hw_disk_bus": "virtio"},
        description="The shop's front end",
        flavor=machines.new_flavor(project, cpus=2, memory=512),
    )

    def left() -> str:
        status = project.connection.compute.get_server(server.id).status
        held = project.held() or ["no snapshot, volume or image"]
        return f"{NAME} is {status}, stopped {project.stops(server.id)} time, {', '.join(held)} left"

    documents = [*openstack_source(project, namespace), import_of("OpenstackSource", "cloud", namespace)]
    path = scenario.write(place / "manifests.yaml", documents)
    where = f"OpenStack's services run at {project.cloud.auth_url}, with the server\n{NAME}"
    return Stage(where, path, data, left)


def openstack_source(project: Any, namespace: str) -> list[scenario.Json]:
    """The Secret and the source for a project."""
    who = project.credentials
    values = {
        "username": who.username,
        "password": who.password,
        "user_domain_name": who.user_domain,
        "project_name": who.project,
        "project_domain_name": who.project_domain,
        **({"ca_cert": who.cacert.read_text()} if who.cacert else {}),
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "cloud-login", "namespace": namespace},
        "stringData": values,
    }
    spec = {"endpoint": who.auth_url, "region": who.region, "credentials": {"name": "cloud-login"}}
    source = {
        "apiVersion": API_VERSION,
        "kind": "OpenstackSource",
        "metadata": {"name": "cloud", "namespace": namespace},
        "spec": spec,
    }
    return [secret, source]


def import_of(
    kind: str, source: str, namespace: str = "default", *, networks: Sequence[str] = NETWORKS
) -> scenario.Json:
    """The import of the guest from a source of that kind; `networks` are those of its NICs."""
    return {
        "apiVersion": API_VERSION,
        "kind": "VirtualMachineImport",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {
            "virtualMachineName": NAME,
            "networkMapping": [
                {"sourceNetwork": network, "destinationNetwork": f"{namespace}/vlan{number}"}
                for number, network in enumerate(networks[: 1 if kind == "OvaSource" else 2], 1)
            ],
            "sourceCluster": {
                "apiVersion": API_VERSION,
                "kind": kind,
                "name": source,
                "namespace": namespace,
            },
        },
    }
