"""Disks by qemu-img."""

from __future__ import annotations

import subprocess
from pathlib import Path

from steps.disk import qemu
from steps.disk.land import Landed
from tests.unit.steps.disk.conftest import no_thread_outlives, quick

__all__ = ["no_thread_outlives", "quick"]


def front_vmdk(folder: Path, disk: bytes, name: str = "front") -> bytes:
    """The stream-optimized VMDK of a disk with its tables first, by qemu-img."""
    raw, made = folder / f"{name}.raw", folder / f"{name}.vmdk"
    raw.write_bytes(disk)
    argv = ["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"]
    subprocess.run(["qemu-img", *argv, raw, made], check=True)
    return made.read_bytes()


def holds(landed: Landed, disk: bytes, folder: Path) -> None:
    """Assert by qemu-img that a landed disk is valid and has the bytes of `disk`."""
    raw = folder / "expected.raw"
    raw.write_bytes(disk)
    if landed.format == "qcow2":
        assert (
            subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", landed.path], check=False).returncode
            == 0
        )
    else:
        assert landed.path.read_bytes() == disk
    assert qemu.info(landed.path, landed.format).virtual_size == len(disk)
    assert qemu.compare(landed.path, landed.format, raw, "raw")
    left = {path.name for path in landed.path.parent.glob(landed.path.name + "*")}
    assert left == {landed.path.name, landed.path.name + ".landed.json"}
