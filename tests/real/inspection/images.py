"""Builds the disks that the tests inspect: `/usr/bin/python3 -m tests.real.inspection.images FOLDER`.

It needs root, the binding of libguestfs, and otherwise only the standard library. `mke2fs -d` makes the ext4
disks; LVM, LUKS and NTFS are made in one start of the appliance. The systems are phony: they have the files
that an inspection looks at, and would not boot.
"""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from steps.guest.ntfs import is_dirty
from tests.real.inspection.hive import empty_hive
from tests.unit.steps.guest.cpio import archive, entry

MIB: Final = 1 << 20
START: Final = MIB
"""Where the first partition begins."""
KERNEL: Final = "6.1.0-99-amd64"
ASLEEP: Final = b"hibr of a phony Windows"
AWAKE: Final = b"wake of a phony Windows"
SECTOR: Final = 512
ELF: Final = struct.pack("<4sBBBBQHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 0, 3, 62, 1, *(0,) * 10)
"""The header of a program for x86-64, by which libguestfs knows the architecture."""
Files = Mapping[str, bytes]
Keys = Mapping[tuple[str, ...], tuple[tuple[str, int, bytes], ...]]
"""Keys of a registry, with the name, type and bytes of their values. Parents come first."""


def initramfs(*modules: str) -> bytes:
    """An initramfs as initramfs-tools writes it, with these modules."""
    folder = f"usr/lib/modules/{KERNEL}/kernel/drivers"
    return gzip.compress(archive(["init", *(f"{folder}/{module}.ko" for module in modules)]))


def a_linux(os_id: str, name: str, *modules: str, **more: bytes) -> dict[str, bytes]:
    """The files of a Linux that matter; further ones have `_` for `/`."""
    release = f'ID={os_id}\nPRETTY_NAME="{name}"\nVERSION_ID="12"\n'
    return {
        "/etc/os-release": release.encode(),
        **({"/etc/debian_version": b"12.9\n"} if os_id == "debian" else {}),
        "/etc/fstab": b"/dev/sda1 / ext4 defaults 0 1\n",
        "/bin/sh": ELF,
        f"/boot/vmlinuz-{KERNEL}": b"kernel",
        f"/boot/initrd.img-{KERNEL}": initramfs(*modules),
        f"/lib/modules/{KERNEL}/kernel/x.ko": b"",
        f"/lib/modules/{KERNEL}/modules.builtin": b"kernel/drivers/virtio/virtio.ko\n",
        f"/lib/modules/{KERNEL}/modules.dep": b"kernel/e1000e.ko:\nkernel/virtio_net.ko:\n",
        "/boot/grub/grub.cfg": f"linux /boot/vmlinuz-{KERNEL} root=/dev/sda1\n".encode(),
        **{f"/{path.replace('__', '.').replace('_', '/')}": content for path, content in more.items()},
    }


OLD: Final = {
    **a_linux("debian", "Debian GNU/Linux 12 (phony)", "ahci", "sd_mod", "vmw_pvscsi"),
    "/etc/network/interfaces": b"iface ens192 inet static\n address 192.0.2.10/24\n gateway 192.0.2.1\n",
    "/etc/NetworkManager/system-connections/w": b"[wifi-security]\npsk=hunter2\n[ipv4]\nmethod=auto\n",
    "/usr/bin/vmtoolsd": b"",
}
"""A Debian without virtio in its initramfs, with a static address, a password and open-vm-tools."""


def write_tree(folder: Path, files: Files) -> None:
    for name, content in files.items():
        path = folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name in ("etc", "bin", "usr", "boot", "var", "proc", "lib", "home"):
        (folder / name).mkdir(exist_ok=True)


def partition(image: Path, size: int, *lines: str, label: str = "dos") -> None:
    with image.open("wb") as file:
        file.truncate(size)
    script = "\n".join([f"label: {label}", *lines])
    subprocess.run(["sfdisk", "--quiet", image], input=script.encode(), check=True)


def ext4(image: Path, tree: Path, start: int, size: int, *more: str) -> None:
    options = f"offset={start},lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    argv = [
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-d",
        str(tree),
        "-m",
        "0",
        "-O",
        "^has_journal",
        "-E",
        options,
        *more,
        str(image),
    ]
    subprocess.run(
        [*argv, f"{size >> 10}k"],
        check=True,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
    )


def linux_image(image: Path, *trees: Files, mib: int = 64, hostile: bool = False, fill: int = 0) -> None:
    """A disk with a system in each of its partitions of `mib` MiB."""
    lines = [
        f"start={START // SECTOR + n * mib * 2048}, size={mib * 2048}, type=83" for n in range(len(trees))
    ]
    partition(
        image,
        START + len(trees) * mib * MIB + MIB,
        *(f"{line}{', bootable' if not n else ''}" for n, line in enumerate(lines)),
    )
    for number, files in enumerate(trees):
        with tempfile.TemporaryDirectory() as name:
            tree = Path(name)
            write_tree(tree, files)
            if hostile:
                add_traps(tree)
            if fill:
                (tree / "filler").write_bytes(os.urandom(fill))
            ext4(image, tree, START + number * mib * MIB, mib * MIB)


def add_traps(tree: Path) -> None:
    """Files that are endless, lead out of the root, or have names that command a terminal."""
    netplan = tree / "etc/netplan"
    netplan.mkdir()
    os.mkfifo(netplan / "pipe.yaml")
    os.mknod(netplan / "zero.yaml", 0o20644, os.makedev(1, 5))
    (netplan / "out.yaml").symlink_to("../../../../../../etc/shadow")
    (netplan / "loop.yaml").symlink_to("loop.yaml")
    (netplan / "a\x1b[2Jb.yaml").write_text("network: {ethernets: {e: {dhcp4: true}}}")
    (netplan / "bomb.yaml").write_text("network: " + "[" * 60_000)
    with (netplan / "huge.yaml").open("wb") as file:
        file.truncate(40 << 30)
    networkd = tree / "etc/systemd/network"
    networkd.mkdir(parents=True)
    for number in range(3000):
        (networkd / f"{number}.network").write_bytes(b"")
    (tree / "etc/NetworkManager").symlink_to("/proc/self/root")
    bad = os.path.join(os.fsencode(tree / "etc/network/interfaces.d"), b"\xff\xfe")  # noqa: PTH118 - a name of bytes
    (tree / "etc/network/interfaces.d").mkdir(parents=True)
    with open(bad, "wb") as file:  # noqa: PTH123 - likewise
        file.write(b"iface x inet dhcp\n")
    # What has the largest ratio of gzip unpacks to 400 MB, and is followed by an archive that is cut short.
    (tree / f"boot/initrd.img-{KERNEL}").write_bytes(
        gzip.compress(entry("big", bytes(400 * MIB)) + b"070701")
    )


# --- in the appliance


def text(value: str) -> bytes:
    return value.encode("utf-16-le") + b"\0\0"


def dword(value: int) -> bytes:
    return struct.pack("<I", value)


SOFTWARE: Final[Keys] = {
    ("Microsoft", "Windows NT", "CurrentVersion"): (
        ("ProductName", 1, text("Windows Server 2022 Standard (phony)")),
        ("CurrentVersion", 1, text("6.3")),
        ("CurrentMajorVersionNumber", 4, dword(10)),
        ("CurrentMinorVersionNumber", 4, dword(0)),
        ("CurrentBuildNumber", 1, text("20348")),
        ("InstallationType", 1, text("Server")),
        ("EditionID", 1, text("ServerStandard")),
    )
}
_SET: Final = "ControlSet001"
SYSTEM: Final[Keys] = {
    ("Select",): (("Current", 4, dword(1)), ("Default", 4, dword(1))),
    (_SET, "Services", "viostor"): (("Start", 4, dword(0)),),
    (_SET, "Services", "netkvm"): (("Start", 4, dword(3)),),
    (_SET, "Services", "Tcpip", "Parameters"): (("Hostname", 1, text("PHONY")),),
    (_SET, "Services", "Tcpip", "Parameters", "Interfaces", "{0D5C2C07}"): (
        ("EnableDHCP", 4, dword(0)),
        ("IPAddress", 7, text("192.0.2.20\0")),
        ("SubnetMask", 7, text("255.255.255.0\0")),
        ("DefaultGateway", 7, text("192.0.2.1\0")),
    ),
    (_SET, "Control", "Session Manager", "Power"): (("HiberbootEnabled", 4, dword(1)),),
}


def cmd_exe() -> bytes:
    """The header of a program for 64 bits, by which libguestfs knows the architecture."""
    header = b"MZ".ljust(60, b"\0") + struct.pack("<I", 128)
    pe = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 240, 0x22) + struct.pack("<H", 0x20B)
    return (header.ljust(128, b"\0") + pe).ljust(1024, b"\0")


def fill_hive(g: Any, path: str, keys: Keys) -> None:
    g.write(path, empty_hive())
    g.hivex_open(path, write=True)
    for names, values in keys.items():
        node = g.hivex_root()
        for name in names:
            node = g.hivex_node_get_child(node, name) or g.hivex_node_add_child(node, name)
        for key, kind, value in values:
            g.hivex_node_set_value(node, key, kind, value)
    g.hivex_commit(None)
    g.hivex_close()


def make_windows(g: Any, disk: str) -> None:
    g.part_init(disk, "mbr")
    g.part_add(disk, "p", 2048, -2048)
    g.part_set_mbr_id(disk, 1, 7)
    g.part_set_bootable(disk, 1, True)
    g.mkfs("ntfs", f"{disk}1")
    g.mount(f"{disk}1", "/")
    make_windows_files(g)
    fill_hive(g, "/Windows/System32/Config/SOFTWARE", SOFTWARE)
    fill_hive(g, "/Windows/System32/Config/SYSTEM", SYSTEM)
    for name in ("viostor", "netkvm"):
        g.write(f"/Windows/System32/Drivers/{name}.sys", b"driver")
    g.write("/hiberfil.sys", AWAKE)
    g.umount_all()


def make_windows_files(g: Any) -> None:
    """The files of a mounted Windows by which libguestfs knows it, without drivers and registry."""
    for folder in (
        "/Windows/System32/Config",
        "/Windows/System32/Drivers",
        "/Program Files/VMware/VMware Tools",
    ):
        g.mkdir_p(folder)
    g.write("/Windows/System32/cmd.exe", cmd_exe())
    g.write("/Program Files/VMware/VMware Tools/vmtoolsd.exe", b"MZ")
    for name in ("autoexec.bat", "bootmgr"):
        g.write(f"/{name}", b"x")


def make_lvm(g: Any, disks: tuple[str, str]) -> None:
    """A root on a logical volume over both disks; /boot is a partition of the first one."""
    first, second = disks
    g.part_init(first, "mbr")
    g.part_add(first, "p", 2048, 2048 * 33 - 1)
    g.part_add(first, "p", 2048 * 33, -2048)
    g.part_set_bootable(first, 1, True)
    for device in (f"{first}2", second):
        g.pvcreate(device)
    g.vgcreate("vg0", [f"{first}2", second])
    g.lvcreate("root", "vg0", 200)
    for device in ("/dev/vg0/root", f"{first}1"):
        g.mkfs("ext4", device)
    g.mount("/dev/vg0/root", "/")
    g.mkdir("/boot")
    g.mount(f"{first}1", "/boot")
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        write_tree(
            tree / "tree",
            {**OLD, "/etc/fstab": b"/dev/vg0/root / ext4 defaults 0 1\n/dev/sda1 /boot ext4 defaults 0 2\n"},
        )
        subprocess.run(["tar", "-C", tree / "tree", "-cf", tree / "tree.tar", "."], check=True)
        g.tar_in(str(tree / "tree.tar"), "/")
    g.umount_all()


LUKS: Final = "luks"
"""The label of a disk in the appliance. The kernel may give the disks other letters than libguestfs."""


def make_luks(g: Any, disk: str) -> None:
    """libguestfs' own function takes minutes without KVM. Its shell does not translate device names."""
    g.part_disk(disk, "gpt")
    options = "--batch-mode --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file -"
    g.debug("sh", [f"printf secret | cryptsetup luksFormat {options} /dev/disk/guestfs/{LUKS}1"])


def in_appliance(folder: Path) -> None:
    import guestfs  # noqa: PLC0415 - only this part needs it

    g = guestfs.GuestFS(python_return_dict=True)
    sizes = {"lvm-0.img": 160, "lvm-1.img": 160, "luks.img": 48, "windows.img": 64}
    for name, mib in sizes.items():
        g.disk_create(str(folder / name), "raw", mib * MIB)
        g.add_drive_opts(str(folder / name), format="raw", **({"label": LUKS} if LUKS in name else {}))
    g.launch()
    make_lvm(g, ("/dev/sda", "/dev/sdb"))
    make_luks(g, "/dev/sdc")
    make_windows(g, "/dev/sdd")
    g.shutdown()
    g.close()


def asleep(windows: Path, image: Path) -> None:
    """The same Windows, suspended to its disk. The small file is inside the MFT."""
    data = windows.read_bytes()
    assert data.count(AWAKE) == 1
    image.write_bytes(data.replace(AWAKE, ASLEEP))


def dirty(windows: Path, image: Path) -> None:
    """The same Windows with the dirty bit of NTFS, in the MFT and in its mirror, as Windows sets it."""
    data = bytearray(windows.read_bytes())
    start = 2048 * SECTOR

    def read(offset: int, count: int) -> bytes:
        return bytes(data[start + offset : start + offset + count])

    assert is_dirty(read) is False
    cluster = struct.unpack_from("<H", data, start + 11)[0] * data[start + 13]
    for place in (48, 56):
        record = start + struct.unpack_from("<Q", data, start + place)[0] * cluster + 3 * 1024
        attribute = record + struct.unpack_from("<H", data, record + 20)[0]
        while struct.unpack_from("<I", data, attribute)[0] != 0x70:
            attribute += struct.unpack_from("<I", data, attribute + 4)[0]
        data[attribute + struct.unpack_from("<H", data, attribute + 20)[0] + 10] |= 1
    assert is_dirty(read) is True
    image.write_bytes(data)


def main() -> None:
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "blank.img").touch()
    os.truncate(folder / "blank.img", 64 * MIB)
    linux_image(folder / "two.img", OLD, a_linux("ubuntu", "Ubuntu 22.04 (phony)", "virtio_blk"))
    linux_image(folder / "alpine.img", a_linux("alpine", "Alpine Linux v3.20 (phony)", "ahci"))
    linux_image(folder / "unknown.img", a_linux("nobody", "Nobody knows 1 (phony)", "ahci"))
    linux_image(folder / "full.img", OLD, mib=32, fill=22 * MIB)
    evil = a_linux("fedora", "Fedora \x1b[2J\x07 12 (phony)", "ahci")
    linux_image(folder / "hostile.img", evil, hostile=True, mib=128)
    in_appliance(folder)
    asleep(folder / "windows.img", folder / "asleep.img")
    dirty(folder / "windows.img", folder / "dirty.img")
    (folder / "done").write_text("done\n")


if __name__ == "__main__":
    main()
