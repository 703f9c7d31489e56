"""What the files of a Linux say: kernels, their drivers, network, agents. Runs in the child of `run.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from steps.guest import initramfs
from steps.guest.ask import Guest

MOST_KERNELS: Final = 4
"""Kernels whose drivers are read; the others are counted."""
LARGEST_INITRAMFS: Final = 512 << 20
"""Bytes."""
LONGEST_TEXT: Final = 64 << 10
LONGEST_LIST: Final = 2 << 20
MOST_TEXTS: Final = 64
DRIVERS: Final = frozenset(
    (
        *(
            "virtio",
            "virtio_pci",
            "virtio_blk",
            "virtio_scsi",
            "virtio_net",
            "sd_mod",
            "ahci",
            "ata_piix",
            "nvme",
        ),
        *("vmw_pvscsi", "mptspi", "mptsas", "mptscsih", "xen_blkfront", "hv_storvsc", "hv_netvsc"),
        *("e1000", "e1000e", "vmxnet3", "8139cp"),
    )
)
"""Drivers of disks and NICs. All other modules are left out."""
BUILTIN_OPTIONS: Final = {
    "CONFIG_VIRTIO_PCI": "virtio_pci",
    "CONFIG_VIRTIO_BLK": "virtio_blk",
    "CONFIG_SCSI_VIRTIO": "virtio_scsi",
    "CONFIG_VIRTIO_NET": "virtio_net",
    "CONFIG_BLK_DEV_SD": "sd_mod",
    "CONFIG_SATA_AHCI": "ahci",
    "CONFIG_E1000E": "e1000e",
    "CONFIG_E1000": "e1000",
}
INITRAMFS: Final = (
    *("/boot/initrd.img-{0}", "/boot/initramfs-{0}.img", "/boot/initrd-{0}", "/boot/initramfs-{0}"),
    *("/lib/modules/{0}/initrd", "/boot/initrd.img-{0}.img"),
)
"""Where distributions keep the initramfs of a kernel."""
AGENTS: Final = {
    "qemu_guest_agent": ("/usr/sbin/qemu-ga", "/usr/bin/qemu-ga"),
    "open_vm_tools": ("/usr/bin/vmtoolsd",),
    "vmware_tools": ("/usr/sbin/vmtoolsd", "/usr/lib/vmware-tools/sbin64/vmtoolsd"),
    "cloud_init": ("/usr/bin/cloud-init",),
    "ovirt_guest_agent": ("/usr/share/ovirt-guest-agent",),
    "xen_tools": ("/usr/sbin/xe-daemon",),
}
NETWORK_FILES: Final = (
    ("ifupdown", "/etc/network/interfaces", ""),
    ("ifupdown", "/etc/network/interfaces.d", r"[\w.:-]+"),
    ("netplan", "/etc/netplan", r".+\.yaml"),
    ("networkmanager", "/etc/NetworkManager/system-connections", r".+"),
    ("networkd", "/etc/systemd/network", r".+\.(network|link|netdev)"),
    ("ifcfg", "/etc/sysconfig/network-scripts", r"ifcfg-.+"),
    ("wicked", "/etc/sysconfig/network", r"ifcfg-.+"),
    ("udev", "/etc/udev/rules.d", r".*persistent-net.*\.rules"),
)
"""(the way of configuration, a file or folder, the names that count there)."""
UDEV: Final = ("/usr/lib/systemd/systemd-udevd", "/lib/systemd/systemd-udevd")
"""Part of systemd, which names NICs by `.link` files."""
SECRET: Final = re.compile(r"(?i)psk|pass|secret|private|wep|pin\b|key")
"""Lines with these words leave the guest's files behind: they may hold passwords of networks."""
MENUS: Final = (
    "/boot/grub/grub.cfg",
    "/boot/grub2/grub.cfg",
    "/boot/extlinux/extlinux.conf",
    "/boot/syslinux/syslinux.cfg",
)
"""Their order is the order of trust."""
_DISK_NAME: Final = re.compile(r"/dev/(?:sd|vd)[a-z]{1,3}[0-9]{0,3}")
_ROOT: Final = re.compile(r"\broot=(/dev/(?:sd|vd)[a-z]{1,3}[0-9]{0,3})(?=\s|$)")
_KERNEL_LINE: Final = re.compile(r"^\s*(?:linux|linux16|linuxefi|kernel|LINUX|KERNEL)\s+(\S+)", re.MULTILINE)


def read(guest: Guest, folder: Path) -> dict[str, Any]:
    """What the mounted Linux says of itself. `folder` is for temporary copies."""
    versions = _versions(guest)
    menu, started = _default_kernel(guest)
    ordered = sorted(versions, key=lambda version: version not in started)
    return {
        "menu": menu,
        "kernels": [
            {**_kernel(guest, version, folder), "default": version in started or len(versions) == 1}
            for version in ordered[:MOST_KERNELS]
        ],
        "other_kernels": ordered[MOST_KERNELS:][:64],
        "agents": [name for name, paths in AGENTS.items() if any(_exists(guest, path) for path in paths)],
        "network": list(_network(guest)),
        "disk_names": _disk_names(guest),
        "loaders": _loaders(guest),
        "has_systemd": any(guest.is_file(path) for path in UDEV),
    }


def _disk_names(guest: Guest) -> list[str]:
    """The devices by which the system names its disks where it needs them to start: fstab, crypttab, root=.

    A swap, and what may be missing, does not count (fstab(5), systemd.mount(5)).
    """
    found = [name for name in _named(guest) if _DISK_NAME.fullmatch(name)]
    for menu in MENUS:
        text = guest.text(menu, LONGEST_LIST)
        if started := _KERNEL_LINE.search(text):
            line = text[started.start() :].lstrip().partition("\n")[0]
            found += _ROOT.findall(line)
            break
    return sorted(set(found))[:MOST_TEXTS]


def _named(guest: Guest) -> Iterator[str]:
    for line in guest.text("/etc/fstab", LONGEST_TEXT).splitlines():
        fields = line.partition("#")[0].split()
        options = fields[3].split(",") if len(fields) > 3 else []
        if len(fields) > 2 and fields[2] != "swap" and not {"nofail", "noauto"} & set(options):
            yield fields[0]
    for line in guest.text("/etc/crypttab", LONGEST_TEXT).splitlines():
        fields = line.partition("#")[0].split()
        if len(fields) > 1:
            yield fields[1]


def _exists(guest: Guest, path: str) -> bool:
    return guest.is_file(path) or guest.is_folder(path)


def _versions(guest: Guest) -> list[str]:
    """The installed kernels, the newest first."""
    names = [name for name in guest.names("/lib/modules") if guest.is_folder(f"/lib/modules/{name}/kernel")]
    return sorted(names, key=_natural, reverse=True)


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,9})", text)]


def _default_kernel(guest: Guest) -> tuple[str, str]:
    """The menu of the boot loader, and the file of the kernel that it starts first."""
    entries = [name for name in guest.names("/boot/loader/entries") if name.endswith(".conf")]
    for path in MENUS:
        if found := _KERNEL_LINE.search(guest.text(path, LONGEST_LIST)):
            return path, found[1]
    if entries:
        newest = max(entries, key=_natural)
        found = re.search(
            r"^linux\s+(\S+)", guest.text(f"/boot/loader/entries/{newest}", LONGEST_TEXT), re.MULTILINE
        )
        return f"/boot/loader/entries/{newest}"[:LONGEST_TEXT], found[1] if found else ""
    return "", ""


def _kernel(guest: Guest, version: str, folder: Path) -> dict[str, Any]:
    path = next((each for name in INITRAMFS if guest.is_file(each := name.format(version))), "")
    modules, trouble = _modules(guest, path, folder) if path else (set(), "")
    return {
        "version": version,
        "initramfs": path,
        "initramfs_size": guest.size(path) if path else 0,
        "initramfs_trouble": trouble,
        "in_initramfs": sorted(modules & DRIVERS),
        "built_in": sorted(_built_in(guest, version) & DRIVERS),
        "installed": sorted(_installed(guest, version) & DRIVERS),
    }


def _modules(guest: Guest, path: str, folder: Path) -> tuple[set[str], str]:
    """The drivers in an initramfs, or why they cannot be read."""
    size = guest.size(path)
    if size > LARGEST_INITRAMFS:
        return set(), f"it has {size} bytes; more than {LARGEST_INITRAMFS} are not read"
    copy = folder / "initramfs"
    try:
        guest.handle.download_offset(path, str(copy), 0, size)
        return initramfs.modules(copy), ""
    except initramfs.UnreadableError as error:
        return set(), str(error)[:300]
    except RuntimeError as error:
        return set(), str(error)[:300]
    finally:
        copy.unlink(missing_ok=True)


def _built_in(guest: Guest, version: str) -> set[str]:
    """The drivers inside the kernel itself."""
    listed = guest.text(f"/lib/modules/{version}/modules.builtin", LONGEST_LIST)
    if listed:
        return _names(listed)
    options = guest.text(f"/boot/config-{version}", LONGEST_LIST)
    return {driver for option, driver in BUILTIN_OPTIONS.items() if f"{option}=y" in options.splitlines()}


def _installed(guest: Guest, version: str) -> set[str]:
    """The drivers that the running system can load."""
    listed = guest.text(f"/lib/modules/{version}/modules.dep", LONGEST_LIST)
    return _names("\n".join(line.partition(":")[0] for line in listed.splitlines()))


def _names(paths: str) -> set[str]:
    files = (line.rpartition("/")[2] for line in paths.splitlines())
    return {file.partition(".ko")[0].replace("-", "_") for file in files}


def _network(guest: Guest) -> Iterator[dict[str, str]]:
    """The files of the network's configuration, without lines that may hold passwords."""
    count = 0
    for stack, place, pattern in NETWORK_FILES:
        names = guest.names(place) if pattern else [""]
        for name in names:
            path = f"{place}/{name}" if name else place
            if (name and not re.fullmatch(pattern, name)) or not guest.is_file(path):
                continue
            count += 1
            if count > MOST_TEXTS:
                return
            lines = guest.text(path, LONGEST_TEXT).splitlines()
            text = "\n".join(line for line in lines if not SECRET.search(line))
            yield {"stack": stack, "file": path, "text": text}


def _loaders(guest: Guest) -> list[str]:
    """The boot loaders whose files are in /boot."""
    places = {
        "grub": ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/boot/grub/i386-pc"),
        "grub-legacy": ("/boot/grub/menu.lst",),
        "systemd-boot": ("/boot/loader/loader.conf", "/boot/efi/loader/loader.conf"),
        "extlinux": ("/boot/extlinux/extlinux.conf", "/boot/extlinux.conf", "/boot/syslinux/syslinux.cfg"),
    }
    return [name for name, paths in places.items() if any(_exists(guest, path) for path in paths)]
