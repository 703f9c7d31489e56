"""A typical VM: the guest with a fresh data disk, in a simulated vCenter, and its manifests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from ruamel.yaml import YAML

from steps.model.kinds import API_VERSION
from tests.real.guest import datadisk, report
from tests.real.simulator import Simulator

ROOT: Final = Path(__file__).parents[2]
GUEST: Final = ROOT / ".cache" / "guest" / "guest.img"
VM: Final = "web-01"
FOLDER: Final = "prod/web"
MACS: Final = ("00:50:56:12:34:01", "00:50:56:12:34:02")

Json = dict[str, Any]


class Login(Protocol):
    """What a user must know of a source."""

    @property
    def url(self) -> str: ...

    @property
    def ca(self) -> Path: ...

    @property
    def username(self) -> str: ...

    @property
    def password(self) -> str: ...


@dataclass(frozen=True)
class Scenario:
    """A running simulated vCenter with the guest in it."""

    simulator: Simulator
    data: datadisk.DataDisk
    manifests: Path


def guest_image() -> Path:
    """The guest's system disk; it is built if needed."""
    subprocess.run([ROOT / "tests" / "real" / "guest" / "build.sh", GUEST.parent], check=True)
    return GUEST


def inventory(data: Path, **vm: Any) -> Json:
    """The vCenter: one running VM with two disks on two kinds of controller and two NICs."""
    machine: Json = {
        "name": VM,
        "folder": FOLDER,
        "cpus": 2,
        "coresPerSocket": 2,
        "memoryMiB": 512,
        "power": "on",
        "annotation": "The shop's front end",
        "disks": [
            {"file": str(GUEST), "controller": "pvscsi"},
            {"file": str(data), "controller": "nvme"},
        ],
        "nics": [
            {"network": "VM Network", "mac": MACS[0], "type": "vmxnet3"},
            {"network": "prod-pg", "mac": MACS[1], "type": "e1000e"},
        ],
        **vm,
    }
    networks = [{"name": "VM Network"}, {"name": "prod-pg", "kind": "distributed"}]
    # "many": the disks are exported in parallel, as if a VM's exports did not exclude each other
    return {"leases": "many", "datacenters": [{"name": "DC0", "networks": networks, "vms": [machine]}]}


def manifests(simulator: Simulator, namespace: str = "default", **spec: Any) -> list[Json]:
    """The manifests with which a user imports the VM by `kubectl apply`."""
    reference = {"name": "vcenter", "namespace": namespace}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "vcenter-credentials", "namespace": namespace},
        "stringData": {
            "username": simulator.username,
            "password": simulator.password,
            "caCert": simulator.ca.read_text(),
        },
    }
    source = {
        "apiVersion": API_VERSION,
        "kind": "VmwareSource",
        "metadata": reference,
        "spec": {
            "endpoint": simulator.url,
            "dc": "DC0",
            "credentials": {"name": "vcenter-credentials", "namespace": namespace},
        },
    }
    wanted = {
        "virtualMachineName": VM,
        "folder": FOLDER,
        "networkMapping": [
            {"sourceNetwork": "VM Network", "destinationNetwork": f"{namespace}/vlan1"},
            {"sourceNetwork": "prod-pg", "destinationNetwork": f"{namespace}/vlan2"},
        ],
        "sourceCluster": {"apiVersion": API_VERSION, "kind": "VmwareSource", **reference},
    }
    import_ = {
        "apiVersion": API_VERSION,
        "kind": "VirtualMachineImport",
        "metadata": {"name": VM, "namespace": namespace},
        "spec": wanted | spec,
    }
    return [secret, source, import_]


def v2v_login(source: Login, password: str = "") -> str:
    """The text of a Secret of `v2v.kubevirt.io` with the login of a simulated vCenter or an oVirt engine."""
    authority = source.ca.read_text().replace("\n", "\n  ")
    values = {"apiUrl": source.url, "username": source.username, "password": password or source.password}
    return (
        "".join(f"{name}: {json.dumps(value)}\n" for name, value in values.items())
        + f"caCert: |\n  {authority}\n"
    )


def write(path: Path, documents: list[Json]) -> Path:
    """Documents as one YAML file that only its owner may read, as it contains a password."""
    path.touch(mode=0o600)
    with path.open("w") as file:
        yaml = YAML()
        yaml.explicit_start = True
        yaml.dump_all(documents, file)
    return path


@contextmanager
def running(
    folder: Path,
    *,
    vmdks: Path | None = None,
    vm: Mapping[str, Any] | None = None,
    seed: bytes | None = None,
) -> Iterator[Scenario]:
    """The scenario, while the body runs; `vmdks` keeps what the vCenter serves for the next time.

    The same `seed` gives the same data on the data disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = datadisk.make(folder / "data.img", seed=seed)
    described = inventory(data.path, **(vm or {}))
    with Simulator.start(described, vmdks or folder / "vcenter") as simulator:
        path = write(folder / "manifests.yaml", manifests(simulator))
        yield Scenario(simulator, data, path)


def proven(console: str, data: datadisk.DataDisk) -> report.GuestReport:
    """The report of the imported VM, after its data was compared with the original.

    Raises:
        AssertionError: with what differs.
    """
    found = report.parse(console)
    assert found.data is not None, "the VM did not find its data disk"
    assert found.data.nonce == data.nonce, f"nonce {found.data.nonce} is not {data.nonce}"
    assert found.data.sha256 == data.sha256, f"SHA-256 {found.data.sha256} is not {data.sha256}"
    facts = json.loads(GUEST.with_suffix(".json").read_text())
    assert found.root_sha256 == facts["root_sha256"], "the system disk's files differ"
    return found
