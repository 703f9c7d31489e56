"""The identity that a guest on vSphere reads: UUID, serial numbers, clock."""

from __future__ import annotations

from typing import Any, Final

import pytest
from pyVmomi import vim

from steps.model.machine import Clock
from steps.providers.vmware.identity import guest_uuid, serial
from tests.unit.steps.providers.vmware.test_describe import disk, made_of

API: Final = "421f245c-7fa8-60fa-6af6-a46351ced0eb"
GUEST: Final = "5c241f42-a87f-fa60-6af6-a46351ced0eb"
"""One VM's UUID from its API and from its guest (github.com/vmware/pyvmomi issue 688)."""
_option: Any = vim.option.OptionValue


@pytest.mark.parametrize(
    ("hardware", "system", "wanted"),
    [
        ("vmx-13", "debian12", GUEST),
        ("vmx-21", "rhel9", GUEST),
        ("vmx-11", "rhel7", ""),
        ("vmx-08", "", ""),
        ("vmx-11", "win2k8r2", GUEST),
        ("", "ubuntu", ""),
    ],
)
def test_the_byte_order_of_the_uuid_is_that_of_the_guest(hardware: str, system: str, wanted: str) -> None:
    assert guest_uuid(API, hardware, system) == wanted


@pytest.mark.parametrize("uuid", ["", "421f245c", "not-a-uuid"])
def test_a_vm_without_a_uuid_has_no_serial_number(uuid: str) -> None:
    assert (guest_uuid(uuid, "vmx-19", ""), serial(uuid)) == ("", "")


def test_the_serial_number_is_the_uuid_byte_by_byte() -> None:
    assert serial(API) == "VMware-42 1f 24 5c 7f a8 60 fa-6a f6 a4 63 51 ce d0 eb"


def test_uuid_and_serial_number_are_in_the_document() -> None:
    machine = made_of([disk()], **{"config.uuid": API, "config.version": "vmx-19"})
    assert (machine.uuid, machine.smbios_uuid) == (API, GUEST)
    assert machine.serial == serial(API)


@pytest.mark.parametrize(("enabled", "wanted"), [(True, "6000c29e8f51"), (False, "")])
def test_disk_serials_are_described_only_if_enabled(enabled: bool, wanted: str) -> None:
    backing: Any = vim.vm.device.VirtualDisk.FlatVer2BackingInfo
    made = disk(backing=backing(fileName="[ds] a/a.vmdk", diskMode="persistent", uuid="6000C29e-8f51"))
    (found,) = made_of([made], **{"config.flags.diskUuidEnabled": enabled}).disks
    assert found.serial == wanted


@pytest.mark.parametrize(
    ("value", "wanted"), [("3600", 3600), ("-7200", -7200), ("0", 0), ("", 0), ("soon", 0), ("9999999", 0)]
)
def test_the_clock_offset_is_read_from_the_options(value: str, wanted: int) -> None:
    options = [_option(key="RTC.diffFromUTC", value=value), _option(key="other", value=7)]
    assert made_of([disk()], **{"config.extraConfig": options}).clock == Clock(offset_seconds=wanted)
