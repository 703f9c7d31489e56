"""From the facts about the disks of a VM to what follows from them: bus, NIC, concerns, verdict. Pure.

The thresholds and the list of distributions are those of virt-v2v 2.6, because a conversion is its work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from steps.model.concerns import log, warn
from steps.model.guest import (
    Answer,
    BusEvidence,
    DiskFile,
    Guest,
    GuestFirmware,
    GuestSystem,
    Kernel,
    Locked,
    Room,
    Verdict,
)
from steps.model.guest_evidence import (
    CONVERTIBLE,
    VMWARE,
    agents_of,
    changes,
    default_kernel,
    disk_buses,
    names_against_virtio,
    nic_models,
    words,
)
from steps.model.guest_facts import Facts, KernelFacts, Mount, SystemFacts, WindowsFacts
from steps.model.guest_network import connections, named_nics, of_windows
from steps.model.machine import Concern

MEGABYTE: Final = 1_000_000
ESP: Final = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
BIOS_BOOT: Final = "21686148-6449-6E6F-744E-656564454649"
_STARTS: Final = {0: "boot", 1: "system", 2: "automatic", 3: "on demand", 4: "disabled"}
_INODES: Final = 100
_SHOWN: Final = 8
"""Names in a message."""


def judged(facts: Facts, disks: Sequence[DiskFile] = (), root: str = "") -> Guest:
    """The document of an inspection. `disks` are the inspected files, in the order of the devices.

    `root` is the root of the system that counts; without it, there must be only one.
    """
    only = facts.systems[0] if facts.roots == 1 and facts.systems else None
    chosen = next((one for one in facts.systems if one.root == root), None) if root else only
    system = _system(facts, chosen) if chosen is not None else None
    firmware = _firmware(facts)
    buses = disk_buses(chosen) if chosen is not None else ()
    nics = nic_models(chosen) if chosen is not None else ()
    obstacle = next(_obstacles(facts, chosen, root), None)
    changed = changes(chosen, buses) if chosen is not None else ()
    concerns = (
        *((obstacle,) if obstacle else ()),
        *_concerns(facts, chosen, system, firmware, buses),
    )
    return Guest(
        tool=f"libguestfs {facts.libguestfs}" if facts.libguestfs else "",
        disks=tuple(disks),
        system=system,
        roots=tuple(one.root for one in facts.systems),
        firmware=firmware,
        locked=_locked(facts),
        unlocked=facts.unlocked,
        verdict=_verdict(obstacle, buses),
        disk_buses=buses,
        nic_models=nics,
        changes=changed,
        concerns=_once(concerns),
        trouble=facts.trouble[:64],
    )


def _once(concerns: Iterable[Concern]) -> tuple[Concern, ...]:
    """One concern for each code: the first one is the one that the verdict names."""
    return tuple({concern.code: concern for concern in reversed(tuple(concerns))}.values())[::-1]


def _verdict(obstacle: Concern | None, buses: Sequence[BusEvidence]) -> Verdict:
    is_untouchable = obstacle is not None and obstacle.code in ("guest-hibernated", "guest-dirty")
    if any(bus.name == "virtio" for bus in buses) and not is_untouchable:
        return Verdict(answer=Answer.FITS, text="it boots from virtio as it is")
    if obstacle is not None:
        return Verdict(answer=Answer.LEAVE, reason=obstacle.code, text=obstacle.message)
    if not buses:
        return Verdict(
            answer=Answer.CONVERT,
            text="from which bus it boots is not known; a conversion gives it virtio",
        )
    names = " and ".join(bus.name for bus in buses)
    return Verdict(
        answer=Answer.CONVERT, text=f"it boots from {names} as it is; a conversion gives it virtio"
    )


# --- what prevents a conversion, the most important reason first


def _obstacles(facts: Facts, system: SystemFacts | None, root: str) -> Iterator[Concern]:
    if system is None:
        yield from _without_system(facts, root)
        return
    yield from _suspended(facts, system)
    if system.type not in ("linux", "windows") or system.distro in ("", "unknown"):
        yield warn(
            "guest-unknown",
            f"the operating system on {system.root} is not known: {_product(system)}",
            "it is left as it is: choose a bus and a NIC model that it has drivers for",
        )
    elif system.type == "linux" and system.distro not in CONVERTIBLE:
        yield warn(
            "guest-not-convertible",
            f"virt-v2v does not convert {_product(system)}",
            "it is left as it is: choose a bus and a NIC model that it has drivers for",
        )
    yield from _full(system)


def _without_system(facts: Facts, root: str) -> Iterator[Concern]:
    locked = _locked(facts)
    if facts.refused:
        yield warn(
            "guest-wrong-key",
            f"the given key does not open {_listed(facts.refused)}",
            "the disks are left as they are",
        )
    elif root and facts.systems:
        yield warn(
            "guest-root-missing",
            f"there is no system on {root}: {_listed(_named(one) for one in facts.systems)}",
            "correct spec.guest.root",
        )
    elif facts.roots > 1:
        yield warn(
            "guest-several",
            f"there are {facts.roots} operating systems: {_listed(_named(one) for one in facts.systems)}",
            "vmferry does not choose one of them; the disks are left as they are",
        )
    elif locked:
        kinds = " and ".join(sorted({{"luks": "LUKS", "bitlocker": "BitLocker"}[one.by] for one in locked}))
        yield warn(
            "guest-locked",
            f"{_listed(one.device for one in locked)} is encrypted by {kinds}, so no system can be seen",
            "the disks are left as they are",
        )
    elif any(one.dirty for one in facts.file_systems):
        yield _dirty(facts)
    elif facts.incomplete_groups:
        yield warn(
            "guest-disk-missing",
            f"a disk of the volume group {_listed(facts.incomplete_groups)} is missing",
            "inspect all disks of the VM together",
        )
    else:
        trouble = f" ({facts.trouble[0]})" if facts.trouble else ""
        yield warn(
            "guest-none",
            f"no operating system was found{trouble}",
            "the disks are left as they are; if the VM boots from them, inspect all of its disks together",
        )


def _suspended(facts: Facts, system: SystemFacts) -> Iterator[Concern]:
    swap = [one.device for one in facts.file_systems if one.kind == "swsuspend"]
    if swap or (system.windows is not None and system.windows.hibernated):
        fast = system.windows is not None and system.windows.fast_startup
        how = "by fast start-up, which Windows uses when it shuts down" if fast else "by hibernation"
        yield warn(
            "guest-hibernated",
            f"{_product(system)} is suspended to its disk, perhaps {how}"
            if fast
            else f"{_product(system)} is hibernated",
            "its file systems must not be changed: start it at its source, and shut it down completely "
            "(Windows: shutdown /s /t 0)",
        )
    if any(one.dirty for one in facts.file_systems):
        yield _dirty(facts)


def _dirty(facts: Facts) -> Concern:
    dirty = _listed(one.device for one in facts.file_systems if one.dirty)
    return warn(
        "guest-dirty",
        f"the NTFS file system on {dirty} is marked dirty",
        "it must not be changed: start the VM at its source, run chkdsk, and shut it down",
    )


def _full(system: SystemFacts) -> Iterator[Concern]:
    """File systems without the room that a conversion needs, for one more initramfs in /boot as well."""
    has_boot = any(one.mount == "/boot" for one in system.mounts)
    kernels = system.linux.kernels if system.linux is not None else ()
    initramfs = max((kernel.initramfs_size for kernel in kernels), default=0)
    for one in (one for one in system.mounts if one.mounted and one.size):
        needed = _needed(one, has_boot=has_boot, windows=system.type == "windows")
        if one.mount == ("/boot" if has_boot else "/"):
            needed = max(needed, initramfs + 10 * MEGABYTE)
        few_inodes = one.inodes > 0 and one.free_inodes < _INODES
        if one.free >= needed and not few_inodes:
            continue
        room = (
            f"{one.free_inodes} free inodes and needs {_INODES}"
            if one.free >= needed
            else f"{one.free / MEGABYTE:.1f} MB free and needs {needed / MEGABYTE:.0f} MB"
        )
        yield warn(
            "guest-full",
            f"{one.mount} on {one.device} is too full for a conversion: it has {room}",
            "make room in the guest before the import",
        )


def _needed(one: Mount, *, has_boot: bool, windows: bool) -> int:
    if one.mount == "/":
        return (100 if has_boot or windows else 50) * MEGABYTE
    return 10 * MEGABYTE


# --- the system


def _system(facts: Facts, system: SystemFacts) -> GuestSystem:
    linux, windows = system.linux, system.windows
    return GuestSystem(
        os=system.osinfo if system.osinfo not in ("", "unknown") else "",
        family="linux" if system.type == "linux" else "windows" if system.type == "windows" else "other",
        product=_product(system),
        release=f"{system.major}.{system.minor}" if system.major else "",
        arch=system.arch if system.arch != "unknown" else "",
        package_format=system.package_format if system.package_format != "unknown" else "",
        root=system.root,
        boot_disk=_boot_disk(facts, system),
        boot_loaders=_loaders(facts, system),
        rooms=tuple(
            Room(
                mount=one.mount, device=one.device, size=one.size, free=one.free, free_inodes=one.free_inodes
            )
            for one in system.mounts
            if one.size
        ),
        kernels=tuple(_shown_kernel(kernel) for kernel in linux.kernels) if linux is not None else (),
        windows_drivers=tuple(_windows_drivers(windows)) if windows is not None else (),
        agents=agents_of(system),
        network=connections(linux.network)
        if linux is not None
        else of_windows(windows.network)
        if windows is not None
        else (),
        named_nics=named_nics(linux.network) if linux is not None else (),
        has_systemd=linux is not None and linux.has_systemd,
        hibernated=any(one.code == "guest-hibernated" for one in _suspended(facts, system)),
        lvm=any(one.kind == "LVM2_member" for one in facts.file_systems),
        raid=bool(facts.raid),
    )


def _shown_kernel(kernel: KernelFacts) -> Kernel:
    return Kernel(
        version=kernel.version,
        default=kernel.default,
        initramfs=kernel.initramfs,
        drivers=tuple(sorted({*kernel.in_initramfs, *kernel.built_in})),
        trouble=kernel.initramfs_trouble,
    )


def _windows_drivers(windows: WindowsFacts) -> Iterator[str]:
    for one in windows.drivers:
        if one.name in {"viostor", "vioscsi", "netkvm", "vioser", "balloon"}:
            start = _STARTS.get(one.start, "unknown start") if one.start is not None else "unknown start"
            yield f"{one.name} ({start}{'' if one.file else ', file missing'})"


def _product(system: SystemFacts) -> str:
    """Its name; some systems report only their release (a Debian without /etc/os-release)."""
    if any(letter.isalpha() for letter in system.product):
        return system.product
    return " ".join(
        part for part in ((system.distro or system.type or "unknown").capitalize(), system.product) if part
    )


def _named(system: SystemFacts) -> str:
    return f"{_product(system)} on {system.root}"


def _boot_disk(facts: Facts, system: SystemFacts) -> str:
    """The disk with the boot partition; else the one with the root file system, else the first one."""
    boots = [one.disk for one in facts.partitions if one.type in (ESP, BIOS_BOOT) or one.bootable]
    devices = {one.mount: one.device for one in system.mounts}
    disks = {one.device: one.disk for one in facts.partitions}
    for device in (devices.get("/boot"), system.root):
        if device in disks and (not boots or disks[device] in boots):
            return disks[device]
    return next(iter((*boots, *facts.boot_code, *facts.devices)), "")


def _firmware(facts: Facts) -> GuestFirmware:
    loaders = [(esp.device, loader) for esp in facts.esps for loader in esp.loaders]
    fallback = any(loader.lower() == "boot/bootx64.efi" for _, loader in loaders)
    bios = bool(facts.boot_code) or any(
        one.type == BIOS_BOOT or (one.table in ("msdos", "mbr") and one.bootable) for one in facts.partitions
    )
    return GuestFirmware(
        bios=bios,
        efi=bool(loaders),
        esp=loaders[0][0] if loaders else "",
        fallback_loader=fallback,
        loaders=tuple(loader for _, loader in loaders)[:_SHOWN],
    )


def _loaders(facts: Facts, system: SystemFacts) -> tuple[str, ...]:
    found = set(system.linux.loaders) if system.linux is not None else set()
    found |= {"grub"} if facts.boot_code else set()
    names = {loader.lower() for esp in facts.esps for loader in esp.loaders}
    found |= {"systemd-boot"} if any("systemd-boot" in name for name in names) else set()
    found |= {"grub"} if any("grub" in name for name in names) else set()
    windows = system.windows is not None and system.windows.boot_manager
    found |= {"windows-boot-manager"} if windows or any("bootmgfw" in name for name in names) else set()
    return tuple(sorted(found))


def _locked(facts: Facts) -> tuple[Locked, ...]:
    return tuple(
        Locked(device=one.device, by="luks" if one.kind == "crypto_LUKS" else "bitlocker")
        for one in facts.file_systems
        if one.kind in ("crypto_LUKS", "BitLocker") and one.device not in facts.unlocked
    )


# --- concerns


def _concerns(
    facts: Facts,
    chosen: SystemFacts | None,
    system: GuestSystem | None,
    firmware: GuestFirmware,
    buses: Sequence[BusEvidence],
) -> Iterator[Concern]:
    if chosen is not None and system is not None:
        yield from _locked_data(facts)
        yield from _full(chosen)
        yield from _drivers(chosen, system, buses)
        yield from _network(system)
        yield from _agents(system)
        if facts.raid:
            yield log("guest-raid", f"the guest has Linux software RAID: {_listed(facts.raid)}")
    if firmware.efi and not firmware.fallback_loader:
        yield warn(
            "guest-no-fallback-loader",
            f"the EFI system partition {firmware.esp} has no \\EFI\\BOOT\\BOOTX64.EFI, and boot entries "
            "of the firmware are not imported",
            "copy its boot loader there, or the VM stops in the EFI shell",
        )
    if facts.trouble:
        yield log(
            "guest-unreadable",
            f"{len(facts.trouble)} questions have no answer; the first one: {facts.trouble[0]}",
        )


def _locked_data(facts: Facts) -> Iterator[Concern]:
    locked = _locked(facts)
    if locked:
        yield warn(
            "guest-locked",
            f"{_listed(one.device for one in locked)} is encrypted, so vmferry did not look into it",
            "it is left as it is",
        )


def _drivers(chosen: SystemFacts, system: GuestSystem, buses: Sequence[BusEvidence]) -> Iterator[Concern]:
    names = [bus.name for bus in buses]
    trouble = next((one for one in system.kernels if one.trouble), None)
    if trouble is not None:
        yield warn(
            "guest-initramfs",
            f"the initramfs {trouble.initramfs} cannot be read: {trouble.trouble}",
            "it is not known from which bus the VM boots",
        )
    elif names and (wrong := names_against_virtio(chosen)):
        yield warn(
            "guest-disk-names",
            f"{system.product} needs names of disks that they do not have on virtio: {_listed(wrong)}; it "
            f"boots from {' and '.join(names)} only",
            "the new VM gets that bus, unless a row of diskMapping names another; name the file systems by "
            "UUID in /etc/fstab and in the boot loader to use virtio",
        )
    elif names and "virtio" not in names:
        yield warn(
            "guest-no-virtio",
            f"{system.product} has no drivers for virtio: it boots from {' and '.join(names)} only",
            "the new VM gets that bus, unless a row of diskMapping names another",
        )
    elif not names:
        yield warn(
            "guest-no-virtio",
            f"{system.product} has no drivers for virtio, virtio-scsi or AHCI that could be found",
            "add them to its initramfs before the import",
        )
    kernel = default_kernel(chosen)
    others = [one.version for one in system.kernels if kernel is not None and one.version != kernel.version]
    if others:
        yield log(
            "guest-other-kernels",
            f"only kernel {kernel.version if kernel else ''} counts; there are also {_listed(others)}",
        )


def _network(system: GuestSystem) -> Iterator[Concern]:
    by_name = [one for one in system.network if one.addresses and not one.mac and one.kind == "ethernet"]
    if by_name:
        shown = _listed(f"{', '.join(one.addresses)} on {one.name}" for one in by_name)
        yield warn(
            "guest-addresses",
            f"static addresses are bound to the names of NICs and not to MAC addresses: {shown}",
            "the new VM's NICs may get other names: bind the configuration to the MAC addresses in the guest",
        )


def _agents(system: GuestSystem) -> Iterator[Concern]:
    if "qemu_guest_agent" not in system.agents:
        yield log(
            "guest-no-agent",
            "the guest has no qemu-guest-agent",
            "install it for addresses and clean shutdowns",
        )
    vmware = [name for name in VMWARE if name in system.agents]
    if vmware:
        yield log("guest-vmware-tools", f"the guest has {words(vmware)}, which have no use at the target")


def _listed(names: Iterable[str]) -> str:
    found = tuple(names)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more
