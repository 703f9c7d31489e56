"""From facts about disks to bus, NIC, concerns and verdict."""

from __future__ import annotations

from typing import Any, Final

import pytest

from steps.model.guest import Answer, Guest
from steps.model.guest_facts import Facts
from steps.model.guest_judge import judged

MB: Final = 1_000_000
VIRTIO: Final = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_scsi")


def a_kernel(**more: Any) -> dict[str, Any]:
    return {
        "version": "6.1.0-57-amd64",
        "default": True,
        "initramfs": "/boot/initrd.img-6.1.0-57-amd64",
        "initramfs_size": 30 * MB,
        "in_initramfs": (*VIRTIO, "ahci", "sd_mod"),
        "installed": ("e1000e", "virtio_net"),
        **more,
    }


def a_mount(mount: str = "/", free: int = 900 * MB, **more: Any) -> dict[str, Any]:
    return {
        "mount": mount,
        "device": "/dev/sda1",
        "size": 2000 * MB,
        "free": free,
        "inodes": 9000,
        "free_inodes": 5000,
        **more,
    }


def a_linux(linux: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "root": "/dev/sda1",
        "type": "linux",
        "distro": "debian",
        "product": "Debian GNU/Linux 12",
        "osinfo": "debian12",
        "mounts": (a_mount(),),
        "linux": {"kernels": (a_kernel(),), "agents": ("qemu_guest_agent",), **(linux or {})},
        **more,
    }


def a_windows(windows: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "root": "/dev/sda2",
        "type": "windows",
        "distro": "windows",
        "product": "Windows Server 2022",
        "osinfo": "win2k22",
        "mounts": (a_mount(device="/dev/sda2"),),
        "windows": {"agents": (), **(windows or {})},
        **more,
    }


def facts(*systems: dict[str, Any], **more: Any) -> Facts:
    return Facts.model_validate({"devices": ("/dev/sda",), "systems": systems, "roots": len(systems), **more})


def codes(guest: Guest) -> list[str]:
    return [concern.code for concern in guest.concerns]


def buses(guest: Guest) -> list[str]:
    return [bus.name for bus in guest.disk_buses]


def nics(guest: Guest) -> list[str]:
    return [model.name for model in guest.nic_models]


# --- bus and NIC


def test_a_linux_with_virtio_fits_and_causes_no_concern() -> None:
    guest = judged(facts(a_linux()))
    assert guest.verdict.answer is Answer.FITS
    assert (buses(guest), nics(guest), codes(guest)) == (["virtio", "scsi", "sata"], ["virtio", "e1000e"], [])
    assert guest.system is not None
    assert guest.system.os == "debian12"


@pytest.mark.parametrize(
    ("in_initramfs", "built_in", "wanted"),
    [
        (("ahci", "sd_mod"), (), ["sata"]),
        (("virtio_scsi", "virtio_pci", "sd_mod"), (), ["scsi"]),
        (("virtio_blk",), ("virtio_pci",), ["virtio"]),
        (("virtio_blk",), (), []),
        ((), ("virtio_pci", "virtio_blk", "ahci", "sd_mod"), ["virtio", "sata"]),
        (("ahci",), (), []),
        (("vmw_pvscsi", "sd_mod"), (), []),
    ],
)
def test_the_buses_are_those_of_the_drivers(
    in_initramfs: tuple[str, ...], built_in: tuple[str, ...], wanted: list[str]
) -> None:
    kernel = a_kernel(in_initramfs=in_initramfs, built_in=built_in)
    assert buses(judged(facts(a_linux({"kernels": (kernel,)})))) == wanted


def test_without_virtio_it_boots_from_sata_and_a_conversion_adds_the_drivers() -> None:
    kernel = a_kernel(in_initramfs=("ahci", "sd_mod", "vmw_pvscsi"), installed=("e1000e",))
    guest = judged(facts(a_linux({"kernels": (kernel,), "agents": ("open_vm_tools",)})))
    assert guest.verdict.answer is Answer.CONVERT
    assert guest.verdict.text == "it boots from sata as it is; a conversion gives it virtio"
    assert (buses(guest), nics(guest)) == (["sata"], ["e1000e"])
    assert codes(guest) == ["guest-no-virtio", "guest-no-agent", "guest-vmware-tools"]
    assert guest.changes == (
        "the initramfs of kernel 6.1.0-57-amd64 gets virtio_pci, virtio_blk, virtio_scsi, virtio_net",
        "names of disks in /etc/fstab and in the boot loader become those of virtio",
        "open-vm-tools is removed",
        "qemu-guest-agent is installed at the first start",
    )


def test_only_the_kernel_that_the_boot_loader_starts_counts() -> None:
    newest = a_kernel(version="6.9", default=False)
    started = a_kernel(version="6.1", in_initramfs=("ahci", "sd_mod"))
    guest = judged(facts(a_linux({"kernels": (newest, started)})))
    assert buses(guest) == ["sata"]
    assert "guest-other-kernels" in codes(guest)


def test_an_initramfs_that_cannot_be_read_leaves_the_bus_unknown() -> None:
    kernel = a_kernel(in_initramfs=(), initramfs_trouble="it is cut short")
    guest = judged(facts(a_linux({"kernels": (kernel,)})))
    assert buses(guest) == []
    assert codes(guest) == ["guest-initramfs"]
    assert "it is cut short" in guest.concerns[0].message


@pytest.mark.parametrize(
    ("drivers", "disk", "nic"),
    [
        ((), ["sata"], ["e1000e"]),
        (
            ({"name": "viostor", "start": 0, "file": True}, {"name": "netkvm", "start": 3, "file": True}),
            ["virtio", "sata"],
            ["virtio", "e1000e"],
        ),
        (({"name": "viostor", "start": 3, "file": True},), ["sata"], ["e1000e"]),
        (({"name": "viostor", "start": 0, "file": False},), ["sata"], ["e1000e"]),
        (({"name": "vioscsi", "start": 0, "file": True},), ["scsi", "sata"], ["e1000e"]),
        (({"name": "netkvm", "start": 4, "file": True},), ["sata"], ["e1000e"]),
    ],
)
def test_windows_works_with_the_drivers_that_it_starts(
    drivers: tuple[dict[str, Any], ...], disk: list[str], nic: list[str]
) -> None:
    guest = judged(facts(a_windows({"drivers": drivers})))
    assert (buses(guest), nics(guest)) == (disk, nic)


# --- refuse or leave alone


def leave(guest: Guest, code: str, text: str) -> None:
    assert (guest.verdict.answer, guest.verdict.reason) == (Answer.LEAVE, code)
    assert codes(guest).count(code) == 1
    assert text in guest.verdict.text


def test_disks_without_a_system_are_left_alone() -> None:
    leave(judged(facts()), "guest-none", "no operating system was found")


@pytest.mark.parametrize(("kind", "name"), [("crypto_LUKS", "LUKS"), ("BitLocker", "BitLocker")])
def test_an_encrypted_disk_is_left_alone(kind: str, name: str) -> None:
    guest = judged(facts(file_systems=({"device": "/dev/sda2", "kind": kind},)))
    leave(guest, "guest-locked", f"/dev/sda2 is encrypted by {name}")


def test_an_encrypted_data_disk_is_a_concern_only() -> None:
    guest = judged(facts(a_linux(), file_systems=({"device": "/dev/sdb", "kind": "crypto_LUKS"},)))
    assert guest.verdict.answer is Answer.FITS
    assert codes(guest) == ["guest-locked"]


def test_a_missing_disk_of_a_volume_group_is_named() -> None:
    leave(judged(facts(incomplete_groups=("vg0",))), "guest-disk-missing", "a disk of the volume group vg0")


def test_two_systems_are_left_alone_with_their_names() -> None:
    guest = judged(facts(a_linux(), a_windows()))
    leave(guest, "guest-several", "Debian GNU/Linux 12 on /dev/sda1, Windows Server 2022 on /dev/sda2")
    assert guest.system is None
    assert guest.roots == ("/dev/sda1", "/dev/sda2")


def test_more_systems_than_were_read_are_several() -> None:
    leave(judged(facts(a_linux()).model_copy(update={"roots": 9})), "guest-several", "9 operating systems")


@pytest.mark.parametrize(
    ("fast", "text"),
    [(False, "is hibernated"), (True, "fast start-up, which Windows uses when it shuts down")],
)
def test_a_suspended_windows_is_left_alone(fast: bool, text: str) -> None:
    guest = judged(facts(a_windows({"hibernated": True, "fast_startup": fast})))
    leave(guest, "guest-hibernated", text)
    assert guest.system is not None
    assert guest.system.hibernated


def test_a_suspended_linux_is_left_alone_even_with_virtio() -> None:
    guest = judged(facts(a_linux(), file_systems=({"device": "/dev/sda5", "kind": "swsuspend"},)))
    leave(guest, "guest-hibernated", "Debian GNU/Linux 12 is hibernated")


def test_a_dirty_ntfs_is_left_alone() -> None:
    guest = judged(facts(a_windows(), file_systems=({"device": "/dev/sda2", "kind": "ntfs", "dirty": True},)))
    leave(guest, "guest-dirty", "/dev/sda2 is marked dirty")


def test_a_dirty_ntfs_that_cannot_be_mounted_is_the_reason_why_no_system_was_found() -> None:
    guest = judged(facts(file_systems=({"device": "/dev/sda2", "kind": "ntfs", "dirty": True},)))
    leave(guest, "guest-dirty", "/dev/sda2 is marked dirty")


NO_VIRTIO: Final = {"kernels": (a_kernel(in_initramfs=("ahci", "sd_mod")),)}


@pytest.mark.parametrize(
    ("mounts", "text"),
    [
        (
            (a_mount(free=20 * MB),),
            "/ on /dev/sda1 is too full for a conversion: it has 20.0 MB free and needs 50 MB",
        ),
        ((a_mount(free=60 * MB), a_mount("/boot")), "60.0 MB free and needs 100 MB"),
        (
            (a_mount(), a_mount("/boot", 30 * MB)),
            "/boot on /dev/sda1 is too full for a conversion: it has 30.0 MB free and needs 40 MB",
        ),
        ((a_mount(), a_mount("/var", 9 * MB)), "/var on /dev/sda1"),
        ((a_mount(free_inodes=50),), "50 free inodes and needs 100"),
    ],
)
def test_a_full_file_system_is_left_alone(mounts: tuple[dict[str, Any], ...], text: str) -> None:
    leave(judged(facts(a_linux(NO_VIRTIO, mounts=mounts))), "guest-full", text)


def test_a_file_system_without_inodes_is_not_full() -> None:
    mounts = (a_mount(), a_mount("/boot/efi", inodes=0, free_inodes=0))
    assert codes(judged(facts(a_linux(mounts=mounts)))) == []


def test_a_full_guest_that_needs_no_conversion_fits() -> None:
    guest = judged(facts(a_linux(mounts=(a_mount(free=MB),))))
    assert guest.verdict.answer is Answer.FITS
    assert codes(guest) == ["guest-full"]


@pytest.mark.parametrize(
    ("system", "code"),
    [
        ({"type": "unknown", "distro": "unknown", "linux": None}, "guest-unknown"),
        ({"type": "freebsd", "distro": "freebsd", "linux": None}, "guest-unknown"),
        ({"distro": "unknown"}, "guest-unknown"),
        ({"distro": "alpinelinux"}, "guest-not-convertible"),
    ],
)
def test_an_unknown_system_is_left_alone(system: dict[str, Any], code: str) -> None:
    given = a_linux(NO_VIRTIO)
    guest = judged(facts({**given, **system}))
    leave(guest, code, "Debian GNU/Linux 12")
    assert guest.changes == () or system.get("distro") == "unknown"


def test_a_system_that_nobody_converts_fits_if_it_has_virtio() -> None:
    guest = judged(facts(a_linux(distro="alpinelinux")))
    assert guest.verdict.answer is Answer.FITS
    assert codes(guest) == ["guest-not-convertible"]


# --- firmware, network, everything else


ESP: Final = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"


def partition(
    number: int, kind: str, disk: str = "/dev/sda", table: str = "gpt", **more: Any
) -> dict[str, Any]:
    return {"device": f"{disk}{number}", "disk": disk, "table": table, "type": kind, **more}


@pytest.mark.parametrize(
    ("loaders", "wanted"),
    [
        (("BOOT/BOOTX64.EFI", "debian/shimx64.efi"), []),
        (("debian/shimx64.efi", "debian/grubx64.efi"), ["guest-no-fallback-loader"]),
        ((), []),
    ],
)
def test_an_esp_without_a_fallback_loader_is_named(loaders: tuple[str, ...], wanted: list[str]) -> None:
    guest = judged(facts(a_linux(), esps=({"device": "/dev/sda15", "loaders": loaders},)))
    assert codes(guest) == wanted
    assert guest.firmware.efi is bool(loaders)


@pytest.mark.parametrize(
    ("partitions", "boot_code", "bios"),
    [
        ((partition(1, "83", table="msdos", bootable=True),), (), True),
        ((partition(1, "83", table="msdos"),), (), False),
        ((partition(1, "21686148-6449-6E6F-744E-656564454649"),), (), True),
        ((), ("/dev/sda",), True),
    ],
)
def test_the_firmware_bios_is_known_by_its_traces(
    partitions: tuple[dict[str, Any], ...], boot_code: tuple[str, ...], bios: bool
) -> None:
    assert judged(facts(a_linux(), partitions=partitions, boot_code=boot_code)).firmware.bios is bios


@pytest.mark.parametrize(
    ("root", "mounts", "partitions", "wanted"),
    [
        ("/dev/sdb1", (), (partition(1, ESP), partition(1, "x", "/dev/sdb")), "/dev/sda"),
        ("/dev/sdb1", (), (partition(1, "83", "/dev/sdb", "msdos", bootable=True),), "/dev/sdb"),
        (
            "/dev/vg/root",
            (a_mount("/boot", device="/dev/sdb2"),),
            (partition(2, "x", "/dev/sdb"),),
            "/dev/sdb",
        ),
        ("/dev/vg/root", (), (), "/dev/sda"),
    ],
)
def test_the_boot_disk(
    root: str, mounts: tuple[dict[str, Any], ...], partitions: tuple[dict[str, Any], ...], wanted: str
) -> None:
    guest = judged(facts(a_linux(root=root, mounts=mounts), partitions=partitions))
    assert guest.system is not None
    assert guest.system.boot_disk == wanted


def a_file(text: str) -> dict[str, str]:
    return {"stack": "ifupdown", "file": "/etc/network/interfaces", "text": text}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("iface ens192 inet static\naddress 192.0.2.10/24\n", ["guest-addresses"]),
        # `hwaddress` changes the address of the NIC of that name: it does not find the NIC.
        (
            "iface ens192 inet static\naddress 192.0.2.10/24\nhwaddress ether 52:54:00:aa:00:01\n",
            ["guest-addresses"],
        ),
        ("iface ens192 inet dhcp\n", []),
    ],
)
def test_a_static_address_without_a_mac_is_a_concern(text: str, wanted: list[str]) -> None:
    guest = judged(facts(a_linux({"kernels": (a_kernel(),), "network": (a_file(text),)})))
    assert codes(guest) == wanted


def test_no_text_of_the_guests_files_is_kept() -> None:
    text = "iface ens192 inet static\naddress 192.0.2.10/24\nwpa-psk hunter2\n"
    guest = judged(facts(a_linux({"kernels": (a_kernel(),), "network": (a_file(text),)})))
    assert "hunter2" not in guest.to_json()


def test_questions_without_an_answer_are_a_concern() -> None:
    guest = judged(facts(a_linux(), trouble=("mounting /dev/sdb1: bad superblock",)))
    assert codes(guest) == ["guest-unreadable"]
    assert guest.trouble == ("mounting /dev/sdb1: bad superblock",)


def test_lvm_and_raid_are_told() -> None:
    guest = judged(
        facts(a_linux(), file_systems=({"device": "/dev/sda2", "kind": "LVM2_member"},), raid=("/dev/md0",))
    )
    assert guest.system is not None
    assert (guest.system.lvm, guest.system.raid) == (True, True)
    assert codes(guest) == ["guest-raid"]


def test_the_document_is_read_back_as_it_was() -> None:
    guest = judged(facts(a_linux(NO_VIRTIO), partitions=(partition(1, ESP),)))
    assert Guest.model_validate_json(guest.to_json()) == guest


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ((), ["virtio", "scsi", "sata"]),
        (("/dev/sda1",), ["scsi", "sata"]),
        (("/dev/vda2",), ["virtio"]),
        (("/dev/sda1", "/dev/vdb1"), []),
    ],
)
def test_a_bus_counts_only_if_disks_have_the_names_there_that_the_system_needs(
    names: tuple[str, ...], wanted: list[str]
) -> None:
    guest = judged(facts(a_linux({"disk_names": names})))
    assert buses(guest) == wanted
    assert ("guest-disk-names" in codes(guest)) is (wanted == ["scsi", "sata"])
    assert guest.verdict.answer is (Answer.FITS if "virtio" in wanted else Answer.CONVERT)
