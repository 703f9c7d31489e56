"""Which disk bus and NIC model a guest works with as it is, and what a conversion would change. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from steps.model.guest import BusEvidence
from steps.model.guest_facts import KernelFacts, SystemFacts, WindowsFacts

CONVERTIBLE: Final = frozenset(
    (
        *("almalinux", "centos", "circle", "fedora", "oraclelinux", "redhat-based", "rhel", "rocky"),
        "scientificlinux",
        *("altlinux", "opensuse", "sles", "suse-based"),
        *("debian", "kalilinux", "linuxmint", "ubuntu"),
    )
)
"""Distributions that virt-v2v converts, in libguestfs' words."""
DISK_DRIVERS: Final = {
    "virtio": ("virtio_pci", "virtio_blk"),
    "scsi": ("virtio_pci", "virtio_scsi", "sd_mod"),
    "sata": ("ahci", "sd_mod"),
}
"""What a Linux needs to find its root file system on each bus of KubeVirt, whose SCSI is virtio-scsi."""
DISK_PREFIXES: Final = {"virtio": "/dev/vd", "scsi": "/dev/sd", "sata": "/dev/sd"}
"""How Linux names disks on each bus."""
NIC_DRIVERS: Final = {"virtio": ("virtio_pci", "virtio_net"), "e1000e": ("e1000e",), "e1000": ("e1000",)}
WINDOWS_DISKS: Final = {"virtio": "viostor", "scsi": "vioscsi"}
_BOOT_START: Final = 0
_DISABLED: Final = 4
VIRTIO: Final = ("virtio_pci", "virtio_blk", "virtio_scsi", "virtio_net")
"""The drivers that a conversion adds to an initramfs."""
VMWARE: Final = ("open_vm_tools", "vmware_tools")


def default_kernel(system: SystemFacts) -> KernelFacts | None:
    """The kernel that the boot loader starts; the newest one if its menu does not say."""
    kernels = system.linux.kernels if system.linux is not None else ()
    return next((kernel for kernel in kernels if kernel.default), kernels[0] if kernels else None)


def disk_buses(system: SystemFacts) -> tuple[BusEvidence, ...]:
    """The disk buses from which it boots as it is, the best one first; none if that is not known."""
    if system.windows is not None:
        return tuple(_windows_buses(system.windows))
    kernel = default_kernel(system)
    if kernel is None or kernel.initramfs_trouble:
        return ()
    return tuple(
        BusEvidence(name=bus, why=_why(kernel, needed))
        for bus, needed in DISK_DRIVERS.items()
        if _has(kernel, needed) and not _wrong_names(system, bus)
    )


def _has(kernel: KernelFacts, needed: Iterable[str]) -> bool:
    return {*kernel.in_initramfs, *kernel.built_in}.issuperset(needed)


def names_against_virtio(system: SystemFacts) -> tuple[str, ...]:
    """The names of disks because of which it does not boot from virtio, although it has the drivers."""
    kernel = default_kernel(system)
    is_ready = kernel is not None and _has(kernel, DISK_DRIVERS["virtio"])
    return _wrong_names(system, "virtio") if is_ready else ()


def _wrong_names(system: SystemFacts, bus: str) -> tuple[str, ...]:
    """The names by which it needs its disks, and that they do not have on a bus."""
    names = system.linux.disk_names if system.linux is not None else ()
    return tuple(name for name in names if not name.startswith(DISK_PREFIXES[bus]))


def _why(kernel: KernelFacts, needed: Sequence[str]) -> str:
    built_in = [name for name in needed if name in kernel.built_in]
    loaded = [name for name in needed if name not in kernel.built_in]
    parts = [f"has {' and '.join(built_in)} built in"] if built_in else []
    parts += [f"loads {' and '.join(loaded)} from {kernel.initramfs or 'its modules'}"] if loaded else []
    return f"kernel {kernel.version} {' and '.join(parts)}"


def _windows_buses(windows: WindowsFacts) -> Iterator[BusEvidence]:
    ready = {one.name for one in windows.drivers if one.start == _BOOT_START and one.file}
    for bus, driver in WINDOWS_DISKS.items():
        if driver in ready:
            yield BusEvidence(name=bus, why=f"Windows starts {driver} when it boots")
    inbox = sorted(ready & {"storahci", "msahci"})
    why = f"Windows starts {inbox[0]} when it boots" if inbox else "Windows has a driver for AHCI of its own"
    yield BusEvidence(name="sata", why=why)


def nic_models(system: SystemFacts) -> tuple[BusEvidence, ...]:
    """The NIC models that it has drivers for, the best one first."""
    if system.windows is not None:
        return tuple(_windows_nics(system.windows))
    kernel = default_kernel(system)
    if kernel is None:
        return ()
    drivers = {*kernel.in_initramfs, *kernel.built_in, *kernel.installed}
    return tuple(
        BusEvidence(name=model, why=f"kernel {kernel.version} has {' and '.join(needed)}")
        for model, needed in NIC_DRIVERS.items()
        if drivers.issuperset(needed)
    )


def _windows_nics(windows: WindowsFacts) -> Iterator[BusEvidence]:
    if any(
        one.name == "netkvm" and one.file and one.start not in (None, _DISABLED) for one in windows.drivers
    ):
        yield BusEvidence(name="virtio", why="Windows has the driver netkvm")
    elif "netkvm" in windows.prepared:
        yield BusEvidence(name="virtio", why="Windows installs netkvm at its next start")
    yield BusEvidence(name="e1000e", why="Windows has a driver for it of its own")


def agents_of(system: SystemFacts) -> tuple[str, ...]:
    """The agents and tools in the guest."""
    if system.linux is not None:
        return system.linux.agents
    return system.windows.agents if system.windows is not None else ()


def changes(system: SystemFacts, buses: Sequence[BusEvidence]) -> tuple[str, ...]:
    """What virt-v2v would change in the guest; nothing if it does not convert it."""
    if system.windows is not None:
        return (*_windows_changes(system.windows), *_tools(system))
    if system.type != "linux" or system.distro not in CONVERTIBLE:
        return ()
    return (*_linux_changes(system, buses), *_tools(system))


def _linux_changes(system: SystemFacts, buses: Sequence[BusEvidence]) -> Iterator[str]:
    kernel = default_kernel(system)
    if kernel is not None and not any(bus.name == "virtio" for bus in buses):
        have = {*kernel.in_initramfs, *kernel.built_in}
        missing = [name for name in VIRTIO if name not in have]
        if missing:
            yield f"the initramfs of kernel {kernel.version} gets {', '.join(missing)}"
    yield "names of disks in /etc/fstab and in the boot loader become those of virtio"


def _windows_changes(windows: WindowsFacts) -> Iterator[str]:
    ready = {one.name for one in windows.drivers if one.file}
    missing = [name for name in ("viostor", "vioscsi", "netkvm", "balloon") if name not in ready]
    if missing:
        yield f"Windows gets the drivers {', '.join(missing)} of virtio-win"


def _tools(system: SystemFacts) -> Iterator[str]:
    agents = agents_of(system)
    vmware = [name for name in VMWARE if name in agents]
    if vmware:
        yield f"{words(vmware)} is removed"
    if "qemu_guest_agent" not in agents:
        yield "qemu-guest-agent is installed at the first start"


def words(agents: Iterable[str]) -> str:
    """The names of VMware's tools for a person."""
    return " and ".join(
        {"open_vm_tools": "open-vm-tools", "vmware_tools": "VMware Tools"}[name] for name in agents
    )
