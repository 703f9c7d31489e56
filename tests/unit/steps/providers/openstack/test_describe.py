"""From the services' answers to a `Machine`."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.contract import Exit, StepError
from steps.model.machine import Controller, Machine, NicModel, Power, Severity
from steps.providers.openstack.describe import ROOT, machine
from steps.providers.openstack.facts import GIB
from tests.unit.steps.providers.openstack.documents import (
    NET_B,
    SERVER,
    a_flavor,
    a_port,
    a_server,
    a_volume,
    addressed,
    some_facts,
)


def described(**facts: Any) -> Machine:
    return machine(some_facts(**facts))


def codes(made: Machine, severity: Severity | None = None) -> set[str]:
    return {one.code for one in made.concerns if severity in (None, one.severity)}


def with_properties(**values: str) -> dict[str, Any]:
    return {"volumes": (a_volume(volume_image_metadata=values),)}


def test_a_server_that_boots_from_a_volume_is_described() -> None:
    made = described()
    assert (made.name, made.source_id, made.uuid, made.serial) == ("web01", SERVER, SERVER, SERVER)
    assert (made.vcpus, made.memory_mib, made.notes) == (2, 2048, "the shop's front")
    (disk,) = made.disks
    assert (disk.id, disk.key, disk.capacity, disk.boot_order) == ("disk-0", "vol-0", GIB, 1)
    assert (disk.controller, disk.serial, disk.backing) == (Controller.VIRTIO, "vol-0", "[ssd] /dev/vda")
    assert (made.power, made.tools_running, made.change_version) == (Power.ON, True, "req-1")
    assert made.firmware.kind == "bios"
    assert made.concerns == ()


def test_volumes_are_in_the_order_of_their_devices() -> None:
    names = ["/dev/vdaa", "/dev/vdb", "/dev/vda"]
    volumes = tuple(
        a_volume(n, bootable="false", attachments=[{"server_id": SERVER, "device": name}])
        for n, name in enumerate(names)
    )
    made = described(volumes=volumes)
    assert [disk.backing for disk in made.disks] == ["[ssd] /dev/vda", "[ssd] /dev/vdb", "[ssd] /dev/vdaa"]
    assert [disk.boot_order for disk in made.disks] == [1, None, None]


def test_a_server_boots_from_its_first_bootable_volume() -> None:
    volumes = (a_volume(0, bootable="false"), a_volume(1, bootable="true"))
    assert [disk.boot_order for disk in described(volumes=volumes).disks] == [None, 1]


def test_a_root_disk_without_a_volume_comes_first() -> None:
    made = described(
        server=a_server(image={"id": "img"}, flavor=a_flavor(disk=5)),
        image={"id": "img", "disk_format": "qcow2"},
    )
    assert [(disk.key, disk.capacity, disk.boot_order) for disk in made.disks] == [
        (ROOT, 5 * GIB, 1),
        ("vol-0", GIB, None),
    ]


def test_the_image_size_is_used_if_the_flavor_has_no_disk() -> None:
    image = {"id": "img", "disk_format": "qcow2", "virtual_size": 3 << 20}
    made = described(server=a_server(image={"id": "img"}), image=image, volumes=())
    assert [disk.capacity for disk in made.disks] == [3 << 20]
    lost = described(server=a_server(image={"id": "img"}), is_image_deleted=True, volumes=())
    assert (lost.disks, codes(lost, Severity.BLOCK)) == ((), {"root-size"})


def test_a_live_system_from_an_iso_has_no_disk() -> None:
    image = {"id": "img", "name": "k3os", "disk_format": "iso"}
    made = described(server=a_server(image={"id": "img"}, flavor=a_flavor(disk=5)), image=image, volumes=())
    assert (made.disks, codes(made)) == ((), {"iso-root"})


def test_a_volume_made_from_an_iso_is_a_disk() -> None:
    made = described(**with_properties(disk_format="iso"))
    assert (len(made.disks), codes(made, Severity.LOG)) == (1, {"iso-volume"})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ("bios", False, False, "")),
        ({"hw_firmware_type": "uefi"}, ("efi", False, False, "")),
        ({"hw_firmware_type": "uefi", "os_secure_boot": "required"}, ("efi", True, False, "")),
        ({"hw_firmware_type": "uefi", "os_secure_boot": "optional"}, ("efi", True, False, "")),
        ({"hw_firmware_type": "uefi", "os_secure_boot": "disabled"}, ("efi", False, False, "")),
        ({"hw_tpm_model": "tpm-crb", "hw_tpm_version": "2.0"}, ("bios", False, True, "2.0")),
        ({"hw_tpm_version": "1.2"}, ("bios", False, True, "1.2")),
    ],
)
def test_the_firmware_follows_the_image_properties(
    values: dict[str, str], expected: tuple[str, bool, bool, str]
) -> None:
    found = described(**with_properties(**values)).firmware
    assert (found.kind, found.secure_boot, found.tpm, found.tpm_version) == expected


def test_properties_of_the_boot_volume_have_precedence() -> None:
    server = a_server(
        image="",
        metadata={"hw_disk_bus": "ide", "hw_vif_model": "e1000"},
        flavor=a_flavor(extra_specs={"hw:cpu_cores": "2", "hw_disk_bus": "usb"}),
    )
    made = described(server=server, **with_properties(hw_disk_bus="scsi"))
    assert [disk.controller for disk in made.disks] == [Controller.SCSI]
    assert [nic.model for nic in made.nics] == [NicModel.E1000]
    assert made.cores_per_socket == 2


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        ({}, (1, 1)),
        ({"hw:cpu_cores": "2"}, (2, 1)),
        ({"hw:cpu_sockets": "1"}, (8, 1)),
        ({"hw:cpu_max_sockets": "2"}, (4, 1)),
        ({"hw:cpu_sockets": "2", "hw:cpu_threads": "2"}, (2, 2)),
        ({"hw:cpu_sockets": "16"}, (1, 1)),
    ],
)
def test_the_cpu_topology_follows_the_flavor(specs: dict[str, str], expected: tuple[int, int]) -> None:
    made = described(server=a_server(flavor=a_flavor(vcpus=8, extra_specs=specs)))
    assert (made.cores_per_socket, made.threads_per_core) == expected


@pytest.mark.parametrize(
    ("bus", "expected"), [("sata", Controller.SATA), ("nvme", Controller.NVME), ("uml", Controller.UNKNOWN)]
)
def test_the_disk_bus_becomes_a_controller(bus: str, expected: Controller) -> None:
    assert described(**with_properties(hw_disk_bus=bus)).disks[0].controller is expected


def test_a_port_is_one_nic_with_any_number_of_addresses() -> None:
    one, two = a_port(0), a_port(1, network_id=NET_B)
    server = a_server(addresses=addressed(("back", [two]), ("front", [one])))
    made = described(server=server, ports=(one, two))
    assert [(nic.id, nic.mac, nic.network, nic.network_id) for nic in made.nics] == [
        ("nic-0", two.mac_address, "back", NET_B),
        ("nic-1", one.mac_address, "front", one.network_id),
    ]


def test_ports_without_an_address_follow_by_age() -> None:
    known, young, old = a_port(0), a_port(2), a_port(1)
    server = a_server(addresses=addressed(("front", [known])))
    made = described(server=server, ports=(young, old, known))
    assert [nic.mac for nic in made.nics] == [port.mac_address for port in (known, old, young)]


def macs(**facts: Any) -> list[str | None]:
    return [nic.mac for nic in described(**facts).nics]


def test_a_port_without_an_address_keeps_its_place_by_age() -> None:
    bare, known = a_port(0), a_port(1)
    server = a_server(addresses=addressed(("front", [known])))
    assert macs(server=server, ports=(known, bare)) == [bare.mac_address, known.mac_address]


def test_a_port_without_an_address_keeps_its_place_in_novas_list() -> None:
    bare, known = (a_port(n, created_at=None) for n in (0, 1))
    server = a_server(addresses=addressed(("front", [known])))
    found = macs(server=server, ports=(known, bare), interfaces=("port-0", "port-1"))
    assert found == [bare.mac_address, known.mac_address]


def test_novas_list_counts_more_than_age_unless_it_is_sorted_by_id() -> None:
    ports = tuple(a_port(n) for n in range(3))
    wanted = [ports[n].mac_address for n in (2, 0, 1)]
    server = a_server(addresses=addressed(("front", [ports[0]])))
    assert macs(server=server, ports=ports, interfaces=("port-2", "port-0", "port-1")) == wanted
    by_id = tuple(a_port(n, created_at=f"2026-11-21T10:00:0{age}Z") for n, age in enumerate((2, 3, 1)))
    assert macs(server=server, ports=by_id, interfaces=("port-0", "port-1", "port-2")) == wanted


def test_a_port_between_two_of_another_network_keeps_its_place() -> None:
    one, two, three = a_port(0), a_port(1, network_id=NET_B), a_port(2)
    server = a_server(addresses=addressed(("front", [one, three]), ("back", [two])))
    assert macs(server=server, ports=(three, two, one)) == [port.mac_address for port in (one, two, three)]


def test_addresses_that_contradict_the_age_are_right() -> None:
    late, bare, early = a_port(2), a_port(1), a_port(0)
    server = a_server(addresses=addressed(("front", [late, early])))
    assert macs(server=server, ports=(early, bare, late)) == [
        port.mac_address for port in (late, bare, early)
    ]


def test_letters_of_addresses_in_either_case_are_the_same_port() -> None:
    late, early = a_port(10), a_port(9)
    server = a_server(addresses=addressed(("front", [late, early])))
    for row in server.addresses["front"]:
        row["OS-EXT-IPS-MAC:mac_addr"] = row["OS-EXT-IPS-MAC:mac_addr"].upper()
    assert macs(server=server, ports=(early, late)) == [late.mac_address, early.mac_address]


@pytest.mark.parametrize(
    ("status", "power", "blocked"),
    [
        ("ACTIVE", Power.ON, set()),
        ("SHUTOFF", Power.OFF, set()),
        ("SUSPENDED", Power.SUSPENDED, {"suspended"}),
        ("PAUSED", Power.SUSPENDED, {"suspended"}),
        ("SHELVED_OFFLOADED", Power.ON, {"state"}),
        ("ERROR", Power.ON, {"state"}),
    ],
)
def test_the_status_becomes_a_power_state(status: str, power: Power, blocked: set[str]) -> None:
    made = described(server=a_server(status=status))
    assert (made.power, codes(made, Severity.BLOCK)) == (power, blocked)


def test_what_cannot_be_exported_is_refused() -> None:
    shared = [{"server_id": SERVER, "device": "/dev/vdb"}, {"server_id": "other", "device": "/dev/vdb"}]
    volumes = (a_volume(0, encrypted=True), a_volume(1, multiattach=True, attachments=shared))
    assert codes(described(volumes=volumes), Severity.BLOCK) == {"encrypted-disk", "shared-disk"}
    assert codes(described(server=a_server(locked=True)), Severity.BLOCK) == {"locked"}
    assert codes(described(server=a_server(locked=True, status="SHUTOFF"))) == set()


def test_what_is_not_imported_is_reported() -> None:
    flavor = a_flavor(**{"OS-FLV-EXT-DATA:ephemeral": 10, "swap": 512})
    flavor["extra_specs"] = {"pci_passthrough:alias": "gpu:1"}
    made = described(
        server=a_server(flavor=flavor, config_drive="True"),
        ports=(a_port(0, **{"binding:vnic_type": "direct", "trunk_details": {"sub_ports": []}}),),
    )
    assert codes(made, Severity.WARN) == {"ephemeral-disk", "passthrough", "sriov", "trunk"}
    assert codes(made, Severity.LOG) == {"swap-disk", "config-drive"}
    assert made.nics[0].model is NicModel.SRIOV


def test_a_windows_guests_clock_shows_local_time() -> None:
    made = described(**with_properties(os_type="windows", os_distro="windows", os_version="2022"))
    assert (made.clock.base, made.guest_name) == ("localtime", "windows 2022")
    assert made.os


def test_a_server_without_its_flavor_cannot_be_described() -> None:
    with pytest.raises(StepError, match="its flavor was deleted") as caught:
        described(flavor=None)
    assert caught.value.code is Exit.NOT_FOUND


def test_the_storage_of_a_volume_is_its_type() -> None:
    (disk,) = machine(some_facts()).disks
    assert (disk.storage, disk.storage_id) == ("ssd", "")
    (untyped,) = machine(some_facts(volumes=(a_volume(volume_type=None),))).disks
    assert untyped.storage == ""
