"""VMs in a simulated vCenter, and their imports in a namespace of the lab, for the duration of a test."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from steps.model.kinds import API_VERSION, Object
from tests.real import scenario
from tests.real.argo.ground import HOST, Ground, eventually
from tests.real.argo.place import (
    FAILED,
    INVALID,
    MIB,
    RUNNING,
    Imported,
    Place,
    assert_nothing_left,
    bytes_of,
    claims_of,
    images_of,
    namespace,
    remove,
)
from tests.real.simulator import Simulator

__all__ = [
    "FAILED",
    "INVALID",
    "MIB",
    "RUNNING",
    "Imported",
    "World",
    "a_disk",
    "a_vm",
    "bytes_of",
    "claims_of",
    "images_of",
    "world",
]
PASSWORD: Final = "secret"  # noqa: S105 - the simulator's


@dataclass
class World(Place):
    """A vCenter, a namespace, and the source that joins them."""

    simulator: Simulator
    disks: Path

    def source(self, *, password: str = "", namespace: str = "", name: str = "vcenter") -> list[Object]:
        """The Secret and the VmwareSource."""
        where = namespace or self.namespace
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"{name}-credentials", "namespace": where},
            "stringData": {
                "username": self.simulator.username,
                "password": password or self.simulator.password,
                "caCert": self.simulator.ca.read_text(),
            },
        }
        spec = {
            "endpoint": self.simulator.url,
            "dc": "DC0",
            "credentials": {"name": f"{name}-credentials", "namespace": where},
        }
        metadata = {"name": name, "namespace": where}
        return [
            secret,
            {"apiVersion": API_VERSION, "kind": "VmwareSource", "metadata": metadata, "spec": spec},
        ]

    def manifest(self, vm: str, *, name: str = "", source: str = "", **spec: Any) -> Object:
        """The VirtualMachineImport of a VM."""
        where = {"kind": "VmwareSource", "name": "vcenter", "namespace": source or self.namespace}
        mapping = [{"sourceNetwork": "VM Network", "destinationNetwork": "vlan1"}]
        return self.document(vm, where, name=name, **{"networkMapping": mapping, **spec})

    def readme_manifest(self, **spec: Any) -> Object:
        """The import of the VM that the README shows, with both of its networks."""
        networks = {"VM Network": "vlan1", "prod-pg": "vlan2"}
        rows = [{"sourceNetwork": name, "destinationNetwork": to} for name, to in networks.items()]
        return self.manifest(scenario.VM, folder=scenario.FOLDER, networkMapping=rows, **spec)

    def begin(self, vm: str, **more: Any) -> Imported:
        """Apply an import, with its source."""
        document = self.manifest(vm, **more)
        self.ground.apply(*self.source(), document)
        return self.imported(document["metadata"]["name"])


@contextlib.contextmanager
def world(ground: Ground, folder: Path, vms: list[Object], name: str, **inventory: Any) -> Iterator[World]:
    """A vCenter with these VMs and a namespace; both are removed afterwards, with all runs."""
    datacenter = {
        "name": "DC0",
        "networks": [{"name": "VM Network"}, {"name": "prod-pg", "kind": "distributed"}],
        "vms": vms,
    }
    described = {"leases": "many", "datacenters": [datacenter], **inventory}
    with Simulator.start(described, folder / "vcenter", listen=f"{HOST}:0") as simulator:
        namespace(ground, name)
        made = World(ground, name, simulator, folder)
        try:
            yield made
        finally:
            remove(ground, name)
        assert_nothing_left(made)
        eventually(lambda: not simulator.leases(), "leases of the source", 30)
        eventually(lambda: not simulator.sessions(), "sessions at the source", 60)


def a_disk(folder: Path, number: int, mib: int = 24, **more: Any) -> Object:
    """A disk with data, a hole, and data up to its last byte."""
    path = folder / f"disk-{number}-{mib}.img"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(hashlib.shake_256(b"%d" % number).digest(min(8, mib // 3) * MIB))
            file.seek(mib * MIB - 4096)
            file.write(hashlib.shake_256(b"end %d" % number).digest(4096))
    return {"file": str(path), **more}


def a_vm(folder: Path, name: str, *, disks: int = 1, nics: int = 1, mib: int = 24, **more: Any) -> Object:
    """A VM with small disks. It has nothing to boot, which does not matter here."""
    number = int(hashlib.sha256(name.encode()).hexdigest()[:4], 16)
    return {
        "name": name,
        "cpus": 1,
        "memoryMiB": 128,
        "power": "on",
        "disks": [a_disk(folder, number + index, mib) for index in range(disks)],
        "nics": [{"network": "VM Network", "mac": _mac(folder, name, index)} for index in range(nics)],
        **more,
    }


def _mac(folder: Path, name: str, index: int) -> str:
    """A MAC for one test only: Harvester refuses a MAC that a VM in another namespace has."""
    digest = hashlib.sha256(f"{folder} {name} {index}".encode()).hexdigest()
    return f"00:50:56:8{digest[0]}:{digest[1:3]}:{digest[3:5]}"
