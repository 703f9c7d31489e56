"""Describes a VM as a document."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pyVmomi import vim

from steps.model.contract import Exit, StepError
from steps.model.machine import Controller, Disk, Firmware, Machine, Nic, NicModel, Power, Severity
from steps.providers import connect
from steps.providers.vmware import describe
from steps.providers.vmware.collector import Row
from steps.providers.vmware.devices import Hardware, allocated_bytes, boot_order, disks
from steps.providers.vmware.find import InventoryVm
from steps.providers.vmware.networks import NamedNetwork, Networks, attachment, index_by_key
from tests.providers.vmware.conftest import MakeAccess

device: Any = vim.vm.device
MIB = 1 << 20


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


# Devices and states that the simulator does not support, made by hand.


def backing(**more: Any) -> Any:
    return device.VirtualDisk.FlatVer2BackingInfo(fileName="[ds] a/a.vmdk", diskMode="persistent", **more)


def disk(key: int = 2000, **more: Any) -> Any:
    size = {"capacityInBytes": MIB, "capacityInKB": 1024}
    place = {"controllerKey": 1000, "unitNumber": 0, "backing": backing()}
    return device.VirtualDisk(key=key, **{**size, **place, **more})


def codes(devices: list[Any], **facts: Any) -> set[tuple[str, str]]:
    return {(each.severity.value, each.code) for each in made_of(devices, **facts).concerns}


def made_of(devices: list[Any], **facts: Any) -> Machine:
    hardware: Any = vim.vm.VirtualHardware
    return from_facts({"config.hardware": hardware(device=devices), **facts})


def from_facts(facts: dict[str, Any]) -> Machine:
    reference: Any = vim.VirtualMachine
    row = Row(reference("vm-1"), facts)
    return describe.machine(InventoryVm(row, ("DC0", "vm", "a")), row, Networks())


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"runtime.powerState": "suspended"}, ("block", "suspended")),
        ({"runtime.faultToleranceState": "running"}, ("block", "fault-tolerance")),
        ({"runtime.consolidationNeeded": True}, ("warn", "consolidation-needed")),
        ({"config.keyId": object(), "summary.config.tpmPresent": True}, ("warn", "encrypted-home")),
    ],
)
def test_unsupported_states_block_the_import(facts: dict[str, Any], expected: tuple[str, str]) -> None:
    assert expected in codes([disk()], **facts)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (disk(backing=backing(parent=backing())), ("log", "linked-clone")),
        (
            disk(backing=device.VirtualDisk.LocalPMemBackingInfo(fileName="", diskMode="")),
            ("block", "disk-backing"),
        ),
        (disk(backing=None), ("block", "disk-backing")),
        (disk(capacityInBytes=0, capacityInKB=0), ("block", "disk-unreadable")),
        (device.VirtualSerialPort(key=9000), ("log", "port")),
        (device.VirtualNVDIMM(key=9000, capacityInMB=1), ("warn", "nvdimm")),
        (device.VirtualVmxnet3(key=4000), ("warn", "network-unresolved")),
        (
            device.VirtualCdrom(
                key=3002,
                connectable=device.VirtualDevice.ConnectInfo(startConnected=True, connected=False),
                backing=device.VirtualCdrom.IsoBackingInfo(fileName="[ds] a.iso"),
            ),
            ("log", "removable-media"),
        ),
    ],
)
def test_devices_cause_concerns(made: Any, expected: tuple[str, str]) -> None:
    assert expected in codes([made])


def test_disks_on_a_shared_bus_cause_a_warning() -> None:
    controller = device.ParaVirtualSCSIController(key=1000, busNumber=0, sharedBus="physicalSharing")
    assert ("warn", "shared-disk") in codes([controller, disk()])


def test_an_unreadable_configuration_blocks_the_import() -> None:
    (concern,) = from_facts({"name": "a"}).concerns
    assert (concern.severity, concern.code) == (Severity.BLOCK, "unreadable")


def test_a_disk_without_controller_or_size_is_described() -> None:
    devices = [disk(controllerKey=None, unitNumber=None), disk(2001, capacityInBytes=0, capacityInKB=0)]
    (found,) = disks(Hardware(devices), {}, {})
    assert (found.key, found.controller, found.capacity) == ("2000", Controller.UNKNOWN, MIB)


def test_a_size_in_kib_is_enough() -> None:
    assert disks(Hardware([disk(capacityInBytes=None, capacityInKB=3)]), {}, {})[0].capacity == 3072


def test_a_vmxnet3_variant_is_a_vmxnet3() -> None:
    assert issubclass(device.VirtualVmxnet3Vrdma, device.VirtualVmxnet3)
    (nic,) = made_of([device.VirtualVmxnet3Vrdma(key=1)]).nics
    assert nic.model is NicModel.VMXNET3


def test_nsx_networks_have_names() -> None:
    description: Any = vim.Description
    nic = device.VirtualE1000(
        key=1,
        backing=device.VirtualEthernetCard.OpaqueNetworkBackingInfo(
            opaqueNetworkId="id-1", opaqueNetworkType="nsx"
        ),
        deviceInfo=description(label="Network adapter 1", summary="nsx.LogicalSwitch: id-1"),
    )
    assert (
        attachment(nic, Networks(by_opaque_id=index_by_key([NamedNetwork("id-1", "segment")]))).name
        == "segment"
    )
    unknown = attachment(nic, Networks())
    assert (unknown.name, unknown.certain) == ("nsx.LogicalSwitch: id-1", False)


@pytest.mark.parametrize(
    ("networks", "name", "certain"),
    [
        ([NamedNetwork("id-1", "segment"), NamedNetwork("id-1", "segment")], "segment", True),
        ([NamedNetwork("id-1", "segment"), NamedNetwork("id-1", "other")], "nsx.LogicalSwitch: id-1", False),
        ([NamedNetwork("id-1", "segment"), NamedNetwork("id-2", "other")], "segment", True),
    ],
)
def test_a_network_listed_twice_has_a_name_only_if_unique(
    networks: list[NamedNetwork], name: str, certain: bool
) -> None:
    """One segment on two switches has one name; with two names the NIC's one is unknown."""
    description: Any = vim.Description
    nic = device.VirtualE1000(
        key=1,
        backing=device.VirtualEthernetCard.OpaqueNetworkBackingInfo(
            opaqueNetworkId="id-1", opaqueNetworkType="nsx"
        ),
        deviceInfo=description(label="Network adapter 1", summary="nsx.LogicalSwitch: id-1"),
    )
    found = attachment(nic, Networks(by_opaque_id=index_by_key(networks)))
    assert (found.name, found.certain) == (name, certain)


@pytest.mark.parametrize(
    "devices",
    [
        [disk(), disk(unitNumber=1)],
        [disk(), device.VirtualE1000(key=2000)],
        [disk(), device.ParaVirtualSCSIController(key=1000), device.VirtualLsiLogicController(key=1000)],
    ],
    ids=["disks", "disk-and-nic", "controllers"],
)
def test_devices_with_the_same_key_block_the_import(devices: list[Any]) -> None:
    """An export finds its disk by the key: it would read one of the two and never the other."""
    (concern,) = made_of(devices).concerns
    assert (concern.severity, concern.code) == (Severity.BLOCK, "unreadable")
    assert "key '2000'" in concern.message or "key '1000'" in concern.message


def test_disks_in_the_same_slot_block_the_import() -> None:
    """A lease names its URLs by controller, bus and unit: both disks would be read from one URL."""
    controllers = [device.ParaVirtualSCSIController(key=key, busNumber=0) for key in (1000, 1001)]
    devices = [*controllers, disk(), disk(key=2001, controllerKey=1001)]
    (concern,) = made_of(devices).concerns
    assert (concern.severity, concern.code) == (Severity.BLOCK, "unreadable")
    assert "2 different disks at 'ParaVirtualSCSIController0:0'" in concern.message
    with pytest.raises(StepError) as caught:
        Hardware(devices).slot("2001")
    assert caught.value.code is Exit.AMBIGUOUS
    controllers[1].busNumber = 1
    assert not Hardware(devices).conflict()


def test_missing_boot_options_give_no_boot_order() -> None:
    options: Any = vim.vm.BootOptions
    assert boot_order(None) == boot_order(options()) == {}


def test_bytes_in_use_include_all_extents_of_the_chain() -> None:
    files = [
        SimpleNamespace(key=key, size=10**key, type=kind)
        for key, kind in enumerate(["diskDescriptor", "diskExtent", "diskExtent"])
    ]
    chain = [SimpleNamespace(fileKey=[0, 1]), SimpleNamespace(fileKey=[2, 7])]
    layout = SimpleNamespace(file=files, disk=[SimpleNamespace(key=2000, chain=chain)])
    assert allocated_bytes(layout) == {2000: 110}
