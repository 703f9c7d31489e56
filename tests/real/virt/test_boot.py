"""The test guest boots in the real virt-launcher, from its volumes and with the VM that vmferry makes."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from steps.model.machine import Controller, Firmware
from tests.real import scenario
from tests.real.cluster.lab import Lab
from tests.real.guest import datadisk
from tests.real.virt import guests

pytestmark = pytest.mark.vm


@dataclass(frozen=True)
class Hardware:
    """A VM at its source, and what the guest must report after the boot."""

    controller: Controller
    firmware: Firmware
    bus: str
    reported: tuple[str, str, str]
    """Firmware, secure boot, TPM."""


CASES: Final = {
    "bios": Hardware(Controller.VIRTIO, Firmware(), "virtio", ("bios", "unsupported", "none")),
    "uefi": Hardware(
        Controller.SATA, Firmware(kind="efi", secure_boot=True, tpm=True), "sata", ("uefi", "on", "2.0")
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_guest_boots_from_block_volumes(lab: Lab, namespace: str, tmp_path: Path, case: str) -> None:
    wanted = CASES[case]
    system, data = scenario.guest_image(), datadisk.make(tmp_path / "data.img", stay=True)
    found = guests.machine(f"guest-{case}", wanted.controller, wanted.firmware, data)
    tag = f"boot-{secrets.token_hex(3)}"
    with (
        guests.backing(lab, f"{tag}-0", system) as first,
        guests.backing(lab, f"{tag}-1", data.path) as second,
    ):
        claims = {}
        for disk, name in zip(found.disks, (first, second), strict=True):
            lab.apply(guests.claim(disk.id, namespace, name, disk.capacity))
            claims[disk.id] = disk.id
        guest = guests.start(lab, namespace, found, claims)
        report = scenario.proven(guest.reported(), data)
    assert (report.firmware, report.secureboot, report.tpm) == wanted.reported
    assert report.root.bus == wanted.bus
    assert [disk.size for disk in report.disks] == [disk.capacity for disk in found.disks]
    assert [nic.mac for nic in report.nics] == [scenario.MACS[0]]
    assert guest.stored()["status"]["printableStatus"] == "Running"
    assert guest.screenshot() >= guests.SMALLEST_SCREEN
