"""What follows from facts that the real libguestfs (1.48.6) gave about disks of tests/real/inspection."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.model.guest import Guest
from steps.model.guest_facts import Facts
from steps.model.guest_judge import judged

FOLDER = Path(__file__).parent / "recorded_guests"


def of(name: str) -> Guest:
    return judged(Facts.model_validate_json((FOLDER / f"{name}.json").read_text()))


@pytest.mark.parametrize(
    ("name", "answer", "reason", "buses", "nics"),
    [
        ("debian", "fits", "", ["virtio", "scsi", "sata"], ["virtio", "e1000e", "e1000"]),
        ("lvm", "leave", "guest-full", ["sata"], ["e1000e"]),
        ("windows", "fits", "", ["virtio", "sata"], ["virtio", "e1000e"]),
        ("luks", "leave", "guest-locked", [], []),
        ("two", "leave", "guest-several", [], []),
    ],
)
def test_the_verdict_of_a_recorded_guest(
    name: str, answer: str, reason: str, buses: list[str], nics: list[str]
) -> None:
    guest = of(name)
    assert (guest.verdict.answer, guest.verdict.reason) == (answer, reason)
    assert [bus.name for bus in guest.disk_buses] == buses
    assert [model.name for model in guest.nic_models] == nics


def test_a_small_lvm_guest_keeps_its_other_concerns() -> None:
    assert [concern.code for concern in of("lvm").concerns] == [
        "guest-full",
        "guest-no-virtio",
        "guest-addresses",
        "guest-no-agent",
        "guest-vmware-tools",
    ]


def test_the_boot_disk_of_each() -> None:
    systems = {name: of(name).system for name in ("debian", "lvm", "windows")}
    assert {
        name: system.boot_disk for name, system in systems.items() if system is not None
    } == dict.fromkeys(systems, "/dev/sda")


def test_a_guest_that_boots_with_both_firmwares() -> None:
    firmware = of("debian").firmware
    assert (firmware.bios, firmware.efi, firmware.fallback_loader) == (True, True, True)
