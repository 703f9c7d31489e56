"""Describes a VM as a document."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pyVmomi import vim

from steps.model.contract import Exit, StepError
from steps.model.machine import Controller, Machine, NicModel, Severity
from steps.providers.vmware import describe
from steps.providers.vmware.collector import Row
from steps.providers.vmware.devices import Hardware, allocated_bytes, boot_order, disks
from steps.providers.vmware.find import InventoryVm
from steps.providers.vmware.networks import NamedNetwork, Networks, attachment, index_by_key

device: Any = vim.vm.device
MIB = 1 << 20


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


def test_a_nic_has_its_slot_and_the_addresses_that_tools_report() -> None:
    """The guest names it after its slot; its addresses tell which of several NICs a configuration is for."""
    slot: Any = device.VirtualDevice.PciBusSlotInfo
    reported: Any = vim.vm.GuestInfo.NicInfo
    made = made_of(
        [
            device.VirtualVmxnet3(key=1, macAddress="00:50:56:AA:00:01", slotInfo=slot(pciSlotNumber=192)),
            device.VirtualVmxnet3(key=2, macAddress="00:50:56:aa:00:02"),
        ],
        **{
            "guest.net": [
                reported(
                    macAddress="00:50:56:aa:00:01",
                    ipAddress=[
                        "192.0.2.10",
                        "2001:db8::10",
                        "fe80::1",
                        "169.254.3.4",
                        "nonsense",
                        "192.0.2.10",
                    ],
                    connected=True,
                    deviceConfigId=1,
                ),
                reported(ipAddress=["203.0.113.1"], connected=True, deviceConfigId=-1),
            ]
        },
    )
    first, second = made.nics
    assert (first.slot, first.addresses) == (192, ("192.0.2.10", "2001:db8::10"))
    assert (second.slot, second.addresses) == (None, ())


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


@pytest.mark.parametrize(
    ("file", "datastore", "expected"),
    [
        ("[iSCSI 1] web/web.vmdk", "datastore-5", ("iSCSI 1", "datastore-5")),
        ("[] web.vmdk", "", ("", "")),
        ("web.vmdk", "", ("", "")),
        ("[open", "", ("", "")),
    ],
)
def test_a_disk_has_its_datastore(file: str, datastore: str, expected: tuple[str, str]) -> None:
    reference: Any = vim.Datastore
    made = backing()
    made.fileName = file
    made.datastore = reference(datastore) if datastore else None
    (found,) = made_of([disk(backing=made)]).disks
    assert (found.storage, found.storage_id) == expected
