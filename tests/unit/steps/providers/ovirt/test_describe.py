"""A VM of oVirt as a document, and what cannot be carried over."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.concerns import about
from steps.model.contract import Exit, StepError
from steps.model.machine import Clock, Controller, Firmware, Machine, NicModel, Power, Severity
from steps.providers.ovirt import concerns, describe
from steps.providers.ovirt.answers import Answer
from tests.unit.steps.providers.ovirt.documents import (
    DISKS,
    SIZE,
    VM,
    Json,
    answer,
    attachment,
    nic,
    surroundings,
    vm,
)


def described(document: Json, **of_cluster: Any) -> Machine:
    around, found = surroundings(**of_cluster), answer(document)
    return describe.machine(found, around, concerns.concerns(found, around))


def codes(document: Json, **of_cluster: Any) -> dict[str, Severity]:
    return {one.code: one.severity for one in described(document, **of_cluster).concerns}


def with_disks(*attachments: Json, **more: Any) -> Json:
    return vm(disk_attachments={"disk_attachment": list(attachments)}, **more)


def with_nics(*nics: Json) -> Json:
    return vm(nics={"nic": list(nics)})


def test_an_ordinary_vm() -> None:
    machine = described(vm())
    assert (machine.name, machine.source_id, machine.path) == ("web", VM, "Default/web")
    assert (machine.uuid, machine.serial) == (VM, VM)
    assert (machine.vcpus, machine.cores_per_socket, machine.threads_per_core) == (6, 3, 1)
    assert (machine.memory_mib, machine.power, machine.os) == (2048, Power.ON, "rhel9")
    assert machine.firmware == Firmware(kind="efi")
    assert machine.clock == Clock()
    assert machine.notes == "The shop's front end"
    assert machine.concerns == ()
    assert about(machine)[0].code == "efi-variables"


def test_the_bootable_disk_is_first() -> None:
    first, second = described(vm()).disks
    assert (first.id, first.key, first.label, first.boot_order) == ("disk-0", DISKS[0], "system", 1)
    assert (second.id, second.key, second.label, second.boot_order) == ("disk-1", DISKS[1], "data", None)
    assert (first.capacity, first.allocated, first.serial) == (SIZE, SIZE // 2, DISKS[0])
    assert first.backing == "[data] image-0"
    assert (first.storage, bool(first.storage_id)) == ("data", True)


def test_disks_are_in_the_order_of_the_guest() -> None:
    names = {"/dev/sdb": 1, "/dev/sda": 0}
    disks = [attachment(number, bootable=False, logical_name=name) for name, number in names.items()]
    assert [disk.key for disk in described(with_disks(*disks)).disks] == list(DISKS)


@pytest.mark.parametrize(
    ("interface", "controller"),
    [
        ("virtio", Controller.VIRTIO),
        ("virtio_scsi", Controller.SCSI),
        ("spapr_vscsi", Controller.SCSI),
        ("sata", Controller.SATA),
        ("ide", Controller.IDE),
        ("new", Controller.UNKNOWN),
    ],
)
def test_the_interface_of_a_disk_is_its_controller(interface: str, controller: Controller) -> None:
    assert described(with_disks(attachment(interface=interface))).disks[0].controller is controller


def test_a_capacity_is_in_whole_sectors() -> None:
    odd = attachment(disk={"provisioned_size": 1000, "actual_size": 5000})
    assert (described(with_disks(odd)).disks[0].capacity, described(with_disks(odd)).disks[0].allocated) == (
        1024,
        5000,
    )


@pytest.mark.parametrize(
    ("devices", "of_disk", "of_nic"),
    [(["hd"], 1, None), (["network", "hd"], 2, 1), (["cdrom", "hd", "network"], 2, 3), ([], 1, None)],
)
def test_boot_devices_are_the_boot_order(devices: list[str], of_disk: int | None, of_nic: int | None) -> None:
    machine = described(vm(os={"type": "other", "boot": {"devices": {"device": devices}}}))
    assert (machine.disks[0].boot_order, machine.nics[0].boot_order) == (of_disk, of_nic)


@pytest.mark.parametrize(
    ("own", "of_cluster", "firmware"),
    [
        ("q35_sea_bios", "q35_ovmf", Firmware()),
        ("i440fx_sea_bios", "q35_ovmf", Firmware()),
        ("q35_secure_boot", "", Firmware(kind="efi", secure_boot=True)),
        ("cluster_default", "q35_ovmf", Firmware(kind="efi")),
        (None, "q35_secure_boot", Firmware(kind="efi", secure_boot=True)),
    ],
)
def test_the_bios_type_is_the_firmware(own: str | None, of_cluster: str, firmware: Firmware) -> None:
    assert described(vm(bios={"type": own}), bios_type=of_cluster).firmware == firmware


def test_a_tpm_is_version_2() -> None:
    firmware = described(vm(tpm_enabled=True)).firmware
    assert (firmware.tpm, firmware.tpm_version) == (True, "2.0")
    assert codes(vm(tpm_enabled=True)) == {"vtpm": Severity.LOG}


@pytest.mark.parametrize(
    ("own", "of_cluster", "serial"),
    [
        ({"policy": "vm"}, {}, VM),
        ({"policy": "custom", "value": "S-1"}, {}, "S-1"),
        ({"policy": "host"}, {"policy": "vm"}, ""),
        ({"policy": "none"}, {"policy": "vm"}, ""),
        ({}, {"policy": "custom", "value": "C-1"}, "C-1"),
        ({}, {"policy": "vm"}, VM),
        ({}, {}, ""),
    ],
)
def test_the_serial_number_is_by_its_policy(own: Json, of_cluster: Json, serial: str) -> None:
    assert described(vm(serial_number=own), serial_number=of_cluster).serial == serial


@pytest.mark.parametrize(
    ("zone", "os", "clock"),
    [
        ({"name": "Etc/GMT"}, "rhel_9x64", Clock()),
        ({"name": "Europe/Berlin"}, "rhel_9x64", Clock(timezone="Europe/Berlin")),
        ({"name": "W. Europe Standard Time"}, "windows_2022", Clock(timezone="Europe/Berlin")),
        ({}, "windows_2022", Clock(timezone="Europe/London")),
        ({"name": "Europe/Berlin", "utc_offset": "-05:30"}, "other", Clock(offset_seconds=-19800)),
        ({"name": "Nowhere Time"}, "other", Clock()),
        ({"name": "x/../../etc/passwd"}, "other", Clock()),
    ],
)
def test_the_clock_has_a_zone_of_iana(zone: Json, os: str, clock: Clock) -> None:
    assert described(vm(time_zone=zone, os={"type": os})).clock == clock


def test_the_guest_agent_knows_a_linux_better() -> None:
    guest = {"distribution": "Debian GNU/Linux", "version": {"full_version": "12"}}
    machine = described(vm(os={"type": "other_linux"}, guest_operating_system=guest))
    assert (machine.os, machine.guest_id, machine.guest_name) == (
        "debian12",
        "other_linux",
        "Debian GNU/Linux 12",
    )


def test_nics_are_in_natural_order() -> None:
    machine = described(with_nics(nic("nic10", interface="e1000e"), nic("nic2", linked=False)))
    first, second = machine.nics
    assert (first.id, first.network, first.network_id, first.connected) == (
        "nic-0",
        "red/fast",
        "profile-1",
        False,
    )
    assert (first.mac, second.model) == ("56:6f:00:00:00:01", NicModel.E1000E)


def test_a_network_that_cannot_be_read_has_the_id_of_its_profile() -> None:
    (found,) = described(with_nics(nic(vnic_profile={"id": "secret"}))).nics
    assert (found.network, found.network_id) == ("secret", "secret")


def test_the_change_version_changes_with_the_hardware_only() -> None:
    version = described(vm()).change_version
    assert described(vm(status="down", stop_time="2026-01-01T00:00:00Z")).change_version == version
    for other in (vm(memory=1 << 30), with_disks(attachment()), with_nics()):
        assert described(other).change_version != version


@pytest.mark.parametrize(
    ("document", "code", "severity"),
    [
        (vm(status="suspended"), "suspended", "block"),
        (vm(status="not_responding"), "vm.status", "block"),
        (vm(has_illegal_images=True), "vm.has_illegal_images", "block"),
        (vm(origin="kubevirt"), "vm.origin", "block"),
        (vm(origin="managed_hosted_engine"), "hosted-engine", "block"),
        (vm(next_run_configuration_exists=True), "next-run", "warn"),
        (vm(stateless=True), "stateless", "warn"),
        (vm(vm_pool={"id": "p"}), "vm-pool", "warn"),
        (vm(snapshots={"snapshot": [{"snapshot_type": "regular"}]}), "snapshots", "log"),
        (vm(snapshots={"snapshot": [{"snapshot_type": "preview"}]}), "preview", "block"),
        (vm(template={"id": "t"}), "from-template", "log"),
        (vm(bios={"type": "new"}), "vm.bios.type", "block"),
        (vm(cpu={"architecture": "s390x"}), "vm.cpu.architecture", "block"),
        (vm(cpu={"cpu_tune": {"vcpu_pins": {"vcpu_pin": [{"vcpu": 0}]}}}), "vm.cpu.cpu_tune", "warn"),
        (vm(custom_cpu_model="Haswell"), "custom-cpu", "warn"),
        (vm(serial_number={}), "serial-host", "log"),
        (vm(time_zone={"name": "Nowhere"}), "clock-zone", "warn"),
        (with_disks(), "no-disks", "block"),
        (with_disks(attachment(disk={"storage_type": "lun"})), "disk_attachment.disk.lun_storage", "block"),
        (
            with_disks(attachment(disk={"storage_type": "cinder"})),
            "disk_attachment.disk.storage_type",
            "block",
        ),
        (with_disks(attachment(disk={"provisioned_size": None})), "disk-unreadable", "block"),
        (with_disks(attachment(disk={"status": "illegal"})), "disk_attachment.disk.status", "block"),
        (
            with_disks(attachment(uses_scsi_reservation=True)),
            "disk_attachment.uses_scsi_reservation",
            "block",
        ),
        (with_disks(attachment(disk={"sgio": "filtered"})), "disk_attachment.disk.sgio", "block"),
        (with_disks(attachment(disk={"shareable": True})), "shared-disk", "warn"),
        (with_disks(attachment(interface="new")), "disk_attachment.interface", "warn"),
        (with_disks(attachment(active=False)), "disk-inactive", "warn"),
        (with_disks(attachment(read_only=True)), "disk-read-only", "warn"),
        (with_disks(attachment(disk={"backup": "incremental"})), "disk_attachment.disk.backup", "log"),
        (with_disks(attachment(pass_discard=True)), "disk_attachment.pass_discard", "log"),
        (with_nics(nic(interface="pci_passthrough")), "sriov", "warn"),
        (with_nics(nic(interface="new")), "nic.interface", "warn"),
        (with_nics(nic(plugged=False)), "nic.plugged", "warn"),
        (with_nics(nic(vnic_profile=None)), "nic-no-profile", "warn"),
        (
            vm(custom_properties={"custom_property": [{"name": "hugepages", "value": 2048}]}),
            "vm.custom_properties",
            "warn",
        ),
        (vm(high_availability={"enabled": True}), "high-availability", "warn"),
        (vm(soundcard_enabled=True), "vm.soundcard_enabled", "warn"),
        (vm(usb={"enabled": True}), "vm.usb", "log"),
        (vm(placement_policy={"affinity": "pinned"}), "vm.placement_policy.affinity", "warn"),
        (vm(initialization={"host_name": "web"}), "initialization", "warn"),
        (vm(host_devices={"host_device": [{"name": "pci_0"}]}), "passthrough", "warn"),
        (vm(watchdogs={"watchdog": [{"model": "i6300esb"}]}), "vm.watchdogs", "warn"),
        (vm(cdroms={"cdrom": [{"file": {"id": "debian.iso"}}]}), "removable-media", "log"),
        (vm(start_paused=True), "vm.start_paused", "log"),
        (vm(rng_device={"source": "hwrng"}), "vm.rng_device.source", "log"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_carried_over_is_named(document: Json, code: str, severity: str) -> None:
    assert codes(document)[code] == severity


def test_settings_of_a_vnic_profile_are_named() -> None:
    around = surroundings()
    around.profiles["profile-1"] = answer(
        {
            "id": "profile-1",
            "name": "fast",
            "port_mirroring": True,
            "network_filter": {"id": "f"},
            "qos": {"id": "q"},
            "custom_properties": {"custom_property": [{"name": "x"}]},
        }
    )
    found = {one.code for one in concerns.concerns(answer(vm()), around)}
    names = ("port_mirroring", "custom_properties", "network_filter", "qos")
    assert found == {f"nic.vnic_profile.{name}" for name in names}


def test_a_direct_lun_has_the_size_of_the_lun() -> None:
    units = {"logical_units": {"logical_unit": [{"id": "l", "size": 1 << 30}]}}
    lun = attachment(disk={"storage_type": "lun", "provisioned_size": None, "lun_storage": units})
    assert described(with_disks(lun)).disks[0].capacity == 1 << 30


def test_without_the_cluster_its_default_firmware_is_unknown() -> None:
    document = answer(vm(bios={"type": "cluster_default"}))
    found = concerns.concerns(document, surroundings().__class__())
    assert "vm.bios.type" in {one.code for one in found}


@pytest.mark.parametrize(
    "document",
    [
        vm(name=None),
        vm(id=None),
        vm(memory=1),
        vm(memory="much"),
        vm(memory=-1),
        vm(cpu={"topology": {"sockets": 5000, "cores": 9, "threads": 2}}),
        vm(cpu="fast"),
        vm(nics=["nic1"]),
        vm(nics={"nic": "nic1"}),
        vm(disk_attachments={"disk_attachment": ["x"]}),
        with_disks(attachment(disk={"provisioned_size": "9" * 30})),
        with_disks(attachment(bootable="perhaps")),
        with_disks(attachment(), attachment()),
    ],
)
def test_what_is_no_vm_is_refused_in_one_sentence(document: Json) -> None:
    with pytest.raises(StepError) as caught:
        described(document)
    assert caught.value.code in (Exit.UNREACHABLE, Exit.AMBIGUOUS)


def test_hostile_names_are_kept_as_text() -> None:
    name = "x\n\x1b[2J\ud800" + "y" * 100_000
    machine = described(vm(name=name, description="\u0000"))
    assert machine.name.startswith("x\n")
    assert Machine.model_validate_json(machine.to_json()) == machine


def test_an_answer_of_another_type_names_its_place() -> None:
    with pytest.raises(StepError) as caught:
        Answer({"vm": [{"memory": []}]}).elements("vm")[0].number("memory")
    assert "vm[0].memory is not a whole number: it is a list" in str(caught.value)


@pytest.mark.parametrize(("vlan", "known"), [({}, None), ({"vlan": {"id": "12"}}, 12)])
def test_a_nic_has_the_vlan_of_its_network(vlan: Json, known: int | None) -> None:
    around = surroundings()
    around.networks["net-1"] = answer({"id": "net-1", "name": "red", **vlan})
    assert around.vlan("profile-1") == known
    assert around.vlan("unknown") is None
