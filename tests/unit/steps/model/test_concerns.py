"""What KubeVirt cannot represent, for any source; each warning is tested with its result."""

from __future__ import annotations

from typing import Any, Final

import pytest

from steps.model.concerns import about, merged, warn
from steps.model.machine import MOST_DEVICES, Clock, Firmware, Machine, Severity
from steps.model.manifest import virtual_machine
from steps.model.mapping import Shape, shape
from tests.unit.builders import a_disk, a_machine, a_nic, a_plan

UUID: Final = "4210d2f7-6b1c-4c7f-9a53-6f0c2b0c9e11"


def codes(machine: Machine) -> list[tuple[str, str]]:
    return [(str(concern.severity), concern.code) for concern in about(machine)]


def made(machine: Machine) -> tuple[Shape, dict[str, Any]]:
    """The shape, and the domain of its manifest."""
    result = shape(a_plan(), machine)
    built = virtual_machine(result, {disk.id: disk.id for disk in machine.disks})
    domain: dict[str, Any] = built["spec"]["template"]["spec"]["domain"]
    return result, domain


def test_an_ordinary_vm_causes_no_concern() -> None:
    machine = a_machine(nics=(a_nic(),), uuid=UUID, serial="VMware-42 10", disks=(a_disk(serial="6000c29e"),))
    assert codes(machine) == []


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"disks": ()}, [("block", "no-disks")]),
        ({"disks": tuple(a_disk(n) for n in range(MOST_DEVICES + 1))}, [("block", "too-many-devices")]),
        (
            {"nics": tuple(a_nic(0, id=f"nic-{n}", mac=None) for n in range(MOST_DEVICES + 1))},
            [("block", "too-many-devices")],
        ),
        ({"nics": (a_nic(connected=False),)}, [("log", "nic-disconnected")]),
        ({"firmware": Firmware(kind="efi")}, [("log", "efi-variables")]),
        ({"firmware": Firmware(secure_boot=True)}, [("warn", "secure-boot-bios")]),
        ({"firmware": Firmware(tpm=True, tpm_version="1.2")}, [("warn", "tpm-version")]),
        ({"firmware": Firmware(tpm=True, tpm_version="2.0")}, []),
        ({"clock": Clock(base="localtime")}, [("warn", "clock-localtime")]),
        ({"clock": Clock(base="localtime", timezone="Europe/Berlin")}, []),
        ({"clock": Clock(offset_seconds=3600)}, []),
    ],
)
def test_every_change_or_loss_causes_a_concern(given: dict[str, Any], wanted: list[tuple[str, str]]) -> None:
    assert codes(a_machine(**given)) == wanted


@pytest.mark.parametrize("uuid", ["4210", "{" + UUID + "}", UUID + "\n", "not-a-uuid"])
def test_an_invalid_uuid_is_left_to_kubevirt(uuid: str) -> None:
    machine = a_machine(uuid=uuid)
    assert codes(machine) == [("warn", "uuid-unusable")]
    assert "firmware" not in made(machine)[1]


@pytest.mark.parametrize("serial", ["line\nbreak", "ü", "x" * 257])
def test_an_invalid_serial_number_is_left_out(serial: str) -> None:
    machine = a_machine(serial=serial)
    assert codes(machine) == [("warn", "serial-unusable")]
    assert "firmware" not in made(machine)[1]


@pytest.mark.parametrize("serial", ["with space", "a/b", "x" * 257])
def test_an_invalid_disk_serial_number_is_left_out(serial: str) -> None:
    machine = a_machine(disks=(a_disk(serial=serial),))
    assert codes(machine) == [("warn", "serial-unusable")]
    assert "serial" not in made(machine)[1]["devices"]["disks"][0]


@pytest.mark.parametrize("mac", ["01:00:5e:00:00:01", "00:00:00:00:00:00", "02:00:00:00:00:00"])
def test_an_invalid_mac_is_left_to_kubevirt(mac: str) -> None:
    machine = a_machine(nics=(a_nic(mac=mac),))
    assert codes(machine) == [("warn", "mac-unusable")]
    assert "macAddress" not in made(machine)[1]["devices"]["interfaces"][0]


def test_a_disconnected_nic_has_its_link_down() -> None:
    (interface,) = made(a_machine(nics=(a_nic(connected=False),)))[1]["devices"]["interfaces"]
    assert interface["state"] == "down"


def test_equal_concerns_are_merged() -> None:
    machine = a_machine(vcpus=1, disks=(), concerns=about(a_machine(disks=())))
    assert [concern.code for concern in made(machine)[0].concerns] == ["no-disks"]


def test_concerns_about_different_objects_are_not_merged() -> None:
    one, other = warn("serial-unusable", "disk-0"), warn("serial-unusable", "disk-1")
    assert merged([one], [other, one]) == (one, other)


def test_a_blocking_concern_names_a_remedy_or_is_final() -> None:
    blocks = [concern for concern in about(a_machine(disks=())) if concern.severity is Severity.BLOCK]
    assert [str(concern) for concern in blocks] == ["the VM has no disks; there is nothing to import"]


def test_nics_with_one_mac_address_cause_a_warning_that_names_them() -> None:
    first, second, third = (a_nic(n, id=f"nic-{n}", mac="52:54:00:00:00:01") for n in range(3))
    other = a_nic(7, id="nic-7", mac="52:54:00:00:00:07")
    (concern,) = about(a_machine(nics=(first, other, second, third)))
    assert (concern.severity, concern.code) == (Severity.WARN, "mac-twice")
    assert "nic-0, nic-1, nic-2 have the same MAC address 52:54:00:00:00:01" in concern.message


@pytest.mark.parametrize("mac", [None, "00:00:00:00:00:00", "01:00:5e:00:00:01"])
def test_nics_that_get_new_mac_addresses_share_none(mac: str | None) -> None:
    nics = tuple(a_nic(n, id=f"nic-{n}", mac=mac) for n in range(2))
    assert "mac-twice" not in {code for _, code in codes(a_machine(nics=nics))}
