"""Servers of all kinds from the real Nova: how they are described, and that their bytes are exported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from steps.disk import qemu
from steps.model.contract import Exit, StepError
from steps.model.machine import Machine, Power, Severity
from steps.model.plan import DiskFormat, PowerPlan
from steps.providers import connect
from tests.real.openstack import machines
from tests.real.openstack.cloud import Project
from tests.real.openstack.machines import Nic
from tests.real.providers.openstack.conftest import MakeAccess, a_disk

UEFI = {
    "hw_firmware_type": "uefi",
    "hw_machine_type": "q35",
    "os_secure_boot": "required",
    "hw_tpm_model": "tpm-crb",
    "hw_tpm_version": "2.0",
    "hw_disk_bus": "scsi",
    "hw_vif_model": "e1000",
    "os_distro": "debian",
    "os_version": "12",
}


def an_iso(path: Path) -> None:
    """The minimum that Glance accepts as ISO 9660: a volume descriptor with its size, and the terminator.

    (ECMA-119, 8.4: space size at 80 and block size at 128, little endian and then big endian.)
    """
    blocks = 64
    primary = bytearray(b"\x01CD001\x01".ljust(2048, b"\0"))
    primary[80:88] = blocks.to_bytes(4, "little") + blocks.to_bytes(4, "big")
    primary[128:132] = (2048).to_bytes(2, "little") + (2048).to_bytes(2, "big")
    terminator = b"\xffCD001\x01".ljust(2048, b"\0")
    content = bytes(16 * 2048) + bytes(primary) + terminator
    path.write_bytes(content.ljust(blocks * 2048, b"x"))


def describe(access: MakeAccess, vm: str) -> Machine:
    with connect(access()) as source:
        return source.describe(vm, None)


def landed(access: MakeAccess, machine: Machine, number: int, folder: Path) -> Path:
    """An exported disk, converted if it landed in another format."""
    disk = machine.disks[number]
    out = folder / f"{machine.source_id}-{disk.id}.qcow2"
    with connect(access(f"export-{disk.id}")) as source:
        source.power_off(machine, PowerPlan())
        found = source.export(machine, disk, out, DiskFormat.QCOW2, lambda _done, _total: None)
    return found.path


def test_a_server_with_all_features_is_imported(project: Project, access: MakeAccess, tmp_path: Path) -> None:
    front, back = machines.network(project, "front", v6=True), machines.network(project, "back")
    flavor = machines.new_flavor(project, cpus=4, memory=1024, specs={"hw:cpu_cores": "2"})
    server = machines.server(
        project,
        "shop (1)",
        [a_disk(tmp_path, 1), 2],
        nics=[Nic(network=back, mac="fa:16:3e:aa:bb:01"), Nic(network=front, mac="fa:16:3e:aa:bb:02")],
        properties=UEFI,
        description="The shop's front end",
        flavor=flavor,
    )
    made = describe(access, "shop (1)")
    assert made == describe(access, server.id)
    assert (made.vcpus, made.cores_per_socket, made.memory_mib) == (4, 2, 1024)
    assert (made.firmware.kind, made.firmware.secure_boot, made.firmware.tpm) == ("efi", True, True)
    assert [(nic.mac, nic.network, nic.model) for nic in made.nics] == [
        ("fa:16:3e:aa:bb:01", "back", "e1000"),
        ("fa:16:3e:aa:bb:02", "front", "e1000"),
    ]
    assert [(disk.capacity >> 30, disk.controller, disk.boot_order) for disk in made.disks] == [
        (1, "scsi", 1),
        (2, "scsi", None),
    ]
    assert (made.notes, made.os, made.power) == ("The shop's front end", "debian12", Power.ON)
    with connect(access()) as source:
        (listed,) = source.inventory().machines
    assert listed.model_copy(update={"change_version": made.change_version}) == made


def test_a_server_booted_from_an_image_is_imported(
    project: Project, access: MakeAccess, tmp_path: Path
) -> None:
    """Its root disk comes from an image that Nova makes; its volume is exported as usual."""
    disks = [a_disk(tmp_path, 1), a_disk(tmp_path, 2)]
    machines.server(project, "eph", disks, boot="image", properties={"hw_disk_bus": "virtio"})
    made = describe(access, "eph")
    assert [disk.key == "root" for disk in made.disks] == [True, False]
    for number, original in enumerate(disks):
        path = landed(access, made, number, tmp_path)
        assert qemu.compare(original, "raw", path, "qcow2")
    assert project.held() == []


def test_a_volume_made_from_an_iso_is_imported(project: Project, access: MakeAccess, tmp_path: Path) -> None:
    iso = tmp_path / "live.iso"
    an_iso(iso)
    machines.server(project, "from-iso", [iso])
    made = describe(access, "from-iso")
    assert {concern.code for concern in made.concerns} == {"iso-volume"}
    path = landed(access, made, 0, tmp_path)
    original = tmp_path / "volume.raw"  # in whole GiB
    original.write_bytes(iso.read_bytes())
    os.truncate(original, made.disks[0].capacity)
    assert qemu.compare(original, "raw", path, "qcow2")
    assert project.held() == []


def test_a_live_system_has_no_disk_to_import(project: Project, access: MakeAccess, tmp_path: Path) -> None:
    """The QA plan's negative case."""
    iso = tmp_path / "live.iso"
    an_iso(iso)
    machines.server(project, "live", [iso], boot="image")
    made = describe(access, "live")
    assert (made.disks, {concern.code for concern in made.concerns}) == ((), {"iso-root"})


def test_servers_with_the_same_name_are_distinguished_by_uuid(
    project: Project, access: MakeAccess, tmp_path: Path
) -> None:
    one, two = (machines.server(project, "twin", [a_disk(tmp_path, 1)]) for _ in range(2))
    with pytest.raises(StepError) as caught:
        describe(access, "twin")
    assert caught.value.code is Exit.AMBIGUOUS
    assert one.id in str(caught.value)
    assert describe(access, two.id).source_id == two.id


def test_a_quota_without_room_is_detected_while_the_server_runs(
    project: Project, access: MakeAccess, tmp_path: Path
) -> None:
    server = machines.server(project, "web", [a_disk(tmp_path, 1), a_disk(tmp_path, 2)])
    before = describe(access, "web")
    assert "quota" not in {one.code for one in before.concerns}
    cinder = project.admin.block_storage
    used = cinder.get_quota_set(project.id, usage=True).usage["gigabytes"]
    for limits, word in (
        ({"snapshots": 1}, "snapshots: 2 more are needed, 1 of 1"),
        ({"volumes": used + 1}, "volumes: 2 more are needed, 1 of 3"),
        ({"gigabytes": used + 3}, "gigabytes: 4 more are needed, 3 of 5"),
    ):
        cinder.update_quota_set(project.id, **limits)
        (found,) = [one for one in describe(access, "web").concerns if one.code == "quota"]
        assert (found.severity, word in found.message) == (Severity.BLOCK, True)
        with connect(access()) as source, pytest.raises(StepError, match=word) as caught:
            source.power_off(before, PowerPlan())
        assert caught.value.code is Exit.NO_SPACE
        cinder.update_quota_set(project.id, **dict.fromkeys(limits, -1))
    assert project.connection.compute.get_server(server.id).status == "ACTIVE"
    assert project.held() == []


def test_a_server_is_not_stopped_if_a_volume_failed_since_preflight(
    project: Project, access: MakeAccess, tmp_path: Path
) -> None:
    server = machines.server(project, "web", [a_disk(tmp_path, 1)])
    made = describe(access, "web")
    cinder = project.admin.block_storage
    cinder.reset_volume_status(made.disks[0].key, "error", "attached", None)
    assert "disk-state" in {one.code for one in describe(access, "web").concerns}
    with connect(access()) as source, pytest.raises(StepError, match=r"disk-0 .* is error") as caught:
        source.power_off(made, PowerPlan())
    assert caught.value.code is Exit.UNSUPPORTED
    assert project.connection.compute.get_server(server.id).status == "ACTIVE"
    cinder.reset_volume_status(made.disks[0].key, "in-use", "attached", None)


def test_a_quota_that_is_used_up_is_named(project: Project, access: MakeAccess, tmp_path: Path) -> None:
    """It also stands for a quota that is used up after the server was stopped."""
    server = machines.server(project, "web", [a_disk(tmp_path, 1)])
    made = describe(access, "web")
    machines.stop(project, server.id)
    project.admin.block_storage.update_quota_set(project.id, snapshots=0)
    with pytest.raises(StepError, match="raise the project's quota") as caught:
        landed(access, made, 0, tmp_path)
    assert caught.value.code is Exit.NO_SPACE
    project.admin.block_storage.update_quota_set(project.id, snapshots=-1)
    landed(access, made, 0, tmp_path)
    assert project.held() == []
