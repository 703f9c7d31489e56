"""Stand-ins of oVirt's engine for the tests."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.real.ovirt.client import Client, until
from tests.real.ovirt.inventory import Inventory, Settings
from tests.real.ovirt.lab import Json, Lab
from tests.real.ovirt.layout import is_prepared

MIB: Final = 1 << 20

StartLab = Callable[[Mapping[str, Any] | Inventory], Lab]


@dataclass(frozen=True)
class Images:
    """Two files with the same bytes: a raw one, and a chain of two qcow2 files."""

    raw: Path
    chain: Path
    size: int


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartLab]:
    """Starts stand-ins that end with the tests of this module."""
    if not is_prepared():
        pytest.skip("ovirt-imageio is missing: tests/prepare.sh packages python ovirt builds it")
    with ExitStack() as stack:

        def start(inventory: Mapping[str, Any] | Inventory) -> Lab:
            return stack.enter_context(Lab.start(inventory, tmp_path_factory.mktemp("ovirt")))

        yield start


@pytest.fixture(scope="module")
def shared_lab(labs: StartLab, images: Images) -> Lab:
    """One stand-in for a module, with the VM `web`, which is down."""
    settings = {"finalizing_seconds": 0, "max_connections": 2}
    return labs({"vms": [machine(images, status="down")], "settings": settings})


@pytest.fixture
def lab(shared_lab: Lab) -> Iterator[Lab]:
    """The stand-in of the module; after each test it is as it was."""
    yield shared_lab
    shared_lab.clear()
    shared_lab.settings(**Settings(finalizing_seconds=0).model_dump())
    shared_lab.set_vm("web", status="down")
    client = Client(shared_lab)
    for transfer in shared_lab.transfers(live=True):
        client.post(f"/imagetransfers/{transfer['id']}/cancel")
    until(lambda: not shared_lab.transfers(live=True))
    for disk in shared_lab.disks():
        shared_lab.set_disk(disk["id"], "ok")
    shared_lab.forget_calls()


@pytest.fixture
def client(lab: Lab) -> Client:
    return Client(lab)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    folder = tmp_path_factory.mktemp("images")
    raw, base, top = folder / "disk.raw", folder / "base.qcow2", folder / "top.qcow2"
    with raw.open("wb") as file:
        file.truncate(32 * MIB)
        for at, length in ((0, 4096), (5 * MIB + 512, 3 * MIB), (32 * MIB - 512, 512)):
            file.seek(at)
            file.write(bytes((at + byte) % 251 for byte in range(length)))
    _qemu("convert", "-O", "qcow2", raw, base)
    _qemu("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top)
    _qemu_io(top, raw)
    return Images(raw, top, 32 * MIB)


def _qemu_io(top: Path, raw: Path) -> None:
    """The same write in both, so that the upper layer of the chain has something."""
    for file, kind in ((top, "qcow2"), (raw, "raw")):
        argv = ["qemu-io", "-f", kind, "-c", "write -P 7 16M 128k", "-c", "write -z 6M 64k", str(file)]
        subprocess.run(argv, check=True, capture_output=True)


def _qemu(*argv: str | Path) -> None:
    subprocess.run(["qemu-img", *argv], check=True, capture_output=True)


def machine(images: Images, **changes: Any) -> Json:
    """A VM with the raw disk and the chain."""
    return {
        "name": "web",
        "disks": [
            {"file": str(images.raw), "alias": "system", "bootable": True, "interface": "virtio"},
            {"file": str(images.chain), "alias": "data"},
        ],
        "nics": [{"network": "ovirtmgmt", "mac": "56:6f:00:00:00:01"}],
        "shutdown_seconds": 0.2,
        **changes,
    }
