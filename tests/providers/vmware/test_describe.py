"""A machine as a document."""

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
from steps.providers.vmware.find import Place
from steps.providers.vmware.networks import Named, Networks, attachment, indexed
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
def test_the_machine(hardware: Machine) -> None:
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
def test_boot_order(hardware: Machine) -> None:
    things: list[Disk | Nic] = [*hardware.disks, *hardware.nics]
    order = {thing.boot_order: thing.id for thing in things if thing.boot_order}
    assert order == {1: "disk-7", 2: "nic-0", 3: "disk-1"}


@pytest.mark.vcenter
def test_network_cards(hardware: Machine) -> None:
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
def test_concerns(access: MakeAccess, vm: str, expected: set[tuple[str, str]]) -> None:
    found = described(access, vm).concerns
    assert {(concern.severity.value, concern.code) for concern in found} == expected
    assert all(concern.message and concern.remedy for concern in found if concern.severity is Severity.BLOCK)


# What the simulator cannot have: hand-made devices and states.


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
    return describe.machine(Place(row, ("DC0", "vm", "a")), row, Networks())


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"runtime.powerState": "suspended"}, ("block", "suspended")),
        ({"runtime.faultToleranceState": "running"}, ("block", "fault-tolerance")),
        ({"runtime.consolidationNeeded": True}, ("warn", "consolidation-needed")),
        ({"config.keyId": object(), "summary.config.tpmPresent": True}, ("warn", "encrypted-home")),
    ],
)
def test_states(facts: dict[str, Any], expected: tuple[str, str]) -> None:
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
def test_devices(made: Any, expected: tuple[str, str]) -> None:
    assert expected in codes([made])


def test_a_shared_bus_shares_its_disks() -> None:
    controller = device.ParaVirtualSCSIController(key=1000, busNumber=0, sharedBus="physicalSharing")
    assert ("warn", "shared-disk") in codes([controller, disk()])


def test_a_machine_whose_configuration_cannot_be_read() -> None:
    (concern,) = from_facts({"name": "a"}).concerns
    assert (concern.severity, concern.code) == (Severity.BLOCK, "unreadable")


def test_a_disk_without_a_controller_and_one_without_a_size() -> None:
    devices = [disk(controllerKey=None, unitNumber=None), disk(2001, capacityInBytes=0, capacityInKB=0)]
    (found,) = disks(Hardware(devices), {}, {})
    assert (found.key, found.controller, found.capacity) == ("2000", Controller.UNKNOWN, MIB)


def test_a_disk_known_in_kib_only() -> None:
    assert disks(Hardware([disk(capacityInBytes=None, capacityInKB=3)]), {}, {})[0].capacity == 3072


def test_a_vmxnet3_is_not_taken_for_its_base() -> None:
    assert issubclass(device.VirtualVmxnet3Vrdma, device.VirtualVmxnet3)
    (nic,) = made_of([device.VirtualVmxnet3Vrdma(key=1)]).nics
    assert nic.model is NicModel.VMXNET3


def test_nsx_networks() -> None:
    description: Any = vim.Description
    card = device.VirtualE1000(
        key=1,
        backing=device.VirtualEthernetCard.OpaqueNetworkBackingInfo(
            opaqueNetworkId="id-1", opaqueNetworkType="nsx"
        ),
        deviceInfo=description(label="Network adapter 1", summary="nsx.LogicalSwitch: id-1"),
    )
    assert attachment(card, Networks(by_opaque_id=indexed([Named("id-1", "segment")]))).name == "segment"
    unknown = attachment(card, Networks())
    assert (unknown.name, unknown.certain) == ("nsx.LogicalSwitch: id-1", False)


@pytest.mark.parametrize(
    ("networks", "name", "certain"),
    [
        ([Named("id-1", "segment"), Named("id-1", "segment")], "segment", True),
        ([Named("id-1", "segment"), Named("id-1", "other")], "nsx.LogicalSwitch: id-1", False),
        ([Named("id-1", "segment"), Named("id-2", "other")], "segment", True),
    ],
)
def test_a_network_that_is_listed_twice(networks: list[Named], name: str, certain: bool) -> None:
    """One segment on two switches has one name; of two names nobody can tell which one is the card's."""
    description: Any = vim.Description
    card = device.VirtualE1000(
        key=1,
        backing=device.VirtualEthernetCard.OpaqueNetworkBackingInfo(
            opaqueNetworkId="id-1", opaqueNetworkType="nsx"
        ),
        deviceInfo=description(label="Network adapter 1", summary="nsx.LogicalSwitch: id-1"),
    )
    found = attachment(card, Networks(by_opaque_id=indexed(networks)))
    assert (found.name, found.certain) == (name, certain)


@pytest.mark.parametrize(
    "devices",
    [
        [disk(), disk(unitNumber=1)],
        [disk(), device.VirtualE1000(key=2000)],
        [disk(), device.ParaVirtualSCSIController(key=1000), device.VirtualLsiLogicController(key=1000)],
    ],
    ids=["disks", "disk-and-card", "controllers"],
)
def test_devices_that_share_a_key_end_the_import(devices: list[Any]) -> None:
    """An export finds its disk by the key: it would read one of the two and never the other."""
    (concern,) = made_of(devices).concerns
    assert (concern.severity, concern.code) == (Severity.BLOCK, "unreadable")
    assert "key '2000'" in concern.message or "key '1000'" in concern.message


def test_disks_that_share_a_slot_end_the_import() -> None:
    """A lease names its URLs by controller, bus and unit: both disks would be made of one URL."""
    controllers = [device.ParaVirtualSCSIController(key=key, busNumber=0) for key in (1000, 1001)]
    devices = [*controllers, disk(), disk(key=2001, controllerKey=1001)]
    (concern,) = made_of(devices).concerns
    assert (concern.severity, concern.code) == (Severity.BLOCK, "unreadable")
    assert "2 different disks at 'ParaVirtualSCSIController0:0'" in concern.message
    with pytest.raises(StepError) as caught:
        Hardware(devices).slot("2001")
    assert caught.value.code is Exit.AMBIGUOUS
    controllers[1].busNumber = 1
    assert not Hardware(devices).ambiguous()


def test_no_boot_order_is_none() -> None:
    options: Any = vim.vm.BootOptions
    assert boot_order(None) == boot_order(options()) == {}


def test_bytes_in_use_are_those_of_all_extents_of_the_chain() -> None:
    files = [
        SimpleNamespace(key=key, size=10**key, type=kind)
        for key, kind in enumerate(["diskDescriptor", "diskExtent", "diskExtent"])
    ]
    chain = [SimpleNamespace(fileKey=[0, 1]), SimpleNamespace(fileKey=[2, 7])]
    layout = SimpleNamespace(file=files, disk=[SimpleNamespace(key=2000, chain=chain)])
    assert allocated_bytes(layout) == {2000: 110}
