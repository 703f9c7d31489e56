"""Describes a VM as a document."""

from __future__ import annotations

import pytest

from steps.model.machine import Controller, Disk, Firmware, Machine, Nic, NicModel, Power, Severity
from steps.providers import connect
from tests.real.providers.vmware.conftest import MakeAccess
from tests.unit.steps.providers.vmware.test_describe import MIB


def described(access: MakeAccess, vm: str) -> Machine:
    with connect(access()) as source:
        return source.describe(vm, None)


@pytest.fixture
def hardware(access: MakeAccess) -> Machine:
    return described(access, "hardware")


@pytest.mark.vcenter
def test_a_vm_is_described_with_all_properties(hardware: Machine) -> None:
    assert (hardware.vcpus, hardware.cores_per_socket, hardware.memory_mib) == (4, 2, 3072)
    assert hardware.firmware == Firmware(kind="efi", secure_boot=True, tpm=True, tpm_version="2.0")
    assert hardware.os == "debian12"
    assert (hardware.guest_id, hardware.notes) == ("debian12_64Guest", "first line\nsecond line")
    assert (hardware.power, hardware.tools_running) == (Power.OFF, False)
    assert hardware.uuid == "11111111-2222-4333-8444-555555555555"
    assert hardware.instance_uuid == "50111111-2222-4333-8444-555555555555"
    assert hardware.change_version


@pytest.mark.vcenter
def test_disks_keep_their_own_sizes_and_places(hardware: Machine) -> None:
    found = [
        (disk.id, disk.controller, disk.bus_number, disk.unit, disk.capacity // MIB)
        for disk in hardware.disks
    ]
    assert found == [
        ("disk-0", Controller.IDE, 0, 0, 8),
        ("disk-1", Controller.PVSCSI, 0, 0, 5),
        ("disk-2", Controller.PVSCSI, 0, 8, 9),
        ("disk-3", Controller.LSILOGIC, 1, 0, 10),
        ("disk-4", Controller.LSILOGIC_SAS, 2, 0, 11),
        ("disk-5", Controller.BUSLOGIC, 3, 0, 12),
        ("disk-6", Controller.SATA, 0, 0, 6),
        ("disk-7", Controller.NVME, 0, 0, 7),
    ]
    assert [disk.controller_key for disk in hardware.disks][-2:] == ["15000", "31000"]
    assert all(disk.uuid and disk.backing.endswith(".vmdk") and disk.label for disk in hardware.disks)


@pytest.mark.vcenter
def test_the_boot_order_is_read(hardware: Machine) -> None:
    things: list[Disk | Nic] = [*hardware.disks, *hardware.nics]
    order = {thing.boot_order: thing.id for thing in things if thing.boot_order}
    assert order == {1: "disk-7", 2: "nic-0", 3: "disk-1"}


@pytest.mark.vcenter
def test_all_nic_models_are_read(hardware: Machine) -> None:
    models = [nic.model for nic in hardware.nics]
    assert models == [
        NicModel.VMXNET3,
        NicModel.E1000,
        NicModel.E1000E,
        NicModel.VMXNET2,
        NicModel.VMXNET,
        NicModel.PCNET32,
        NicModel.SRIOV,
    ]
    first = hardware.nics[0]
    assert (first.mac, first.network, first.connected) == ("00:50:56:aa:bb:01", "prod-pg", True)
    assert first.network_id.startswith("dvportgroup-")
    assert {nic.network for nic in hardware.nics[1:]} == {"VM Network"}
    assert [nic.connected for nic in hardware.nics] == [True, True, False, True, True, True, True]


@pytest.mark.vcenter
@pytest.mark.parametrize(
    ("vm", "expected"),
    [
        ("hardware", {("warn", "sriov"), ("log", "vtpm"), ("log", "secure-boot")}),
        ("rdm", {("block", "rdm-physical"), ("warn", "rdm-virtual")}),
        ("shared-disk", {("warn", "shared-disk")}),
        ("independent", {("warn", "independent-disk")}),
        ("encrypted", {("block", "encrypted"), ("block", "encrypted-disk")}),
        ("snapshots", {("warn", "snapshots")}),
        ("passthrough", {("warn", "passthrough"), ("warn", "usb-device"), ("warn", "sriov")}),
        ("no-disks", {("block", "no-disks")}),
        ("plain", set()),
    ],
)
def test_concerns_of_each_vm(access: MakeAccess, vm: str, expected: set[tuple[str, str]]) -> None:
    found = described(access, vm).concerns
    assert {(concern.severity.value, concern.code) for concern in found} == expected
    assert all(concern.message and concern.remedy for concern in found if concern.severity is Severity.BLOCK)
