"""Stand-ins of oVirt's engine for the tests."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.real.ovirt.lab import Json, Lab
from tests.real.ovirt.layout import is_prepared

MIB: Final = 1 << 20

StartLab = Callable[[Mapping[str, Any]], Lab]


@dataclass(frozen=True)
class Images:
    """Two files with the same bytes: a raw one, and a chain of two qcow2 files."""

    raw: Path
    chain: Path
    size: int


@pytest.fixture
def start_lab(tmp_path: Path) -> Iterator[StartLab]:
    """Starts stand-ins for one test; they end with it."""
    if not is_prepared():
        pytest.skip("ovirt-imageio is missing: tests/prepare.sh packages python ovirt builds it")
    with ExitStack() as stack:
        started: list[Lab] = []

        def start(inventory: Mapping[str, Any]) -> Lab:
            started.append(stack.enter_context(Lab.start(inventory, tmp_path / f"ovirt-{len(started)}")))
            return started[-1]

        yield start


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
