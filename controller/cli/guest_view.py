"""The result of an inspection as text for a person. Texts of the guest are safe for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from controller.assess.texts import visible
from controller.units import size
from steps.model.guest import Guest, GuestFirmware, GuestSystem, Kernel, NetworkAddress

_WIDTH: Final = 14
_VERDICTS: Final = {"fits": "boots as it is", "convert": "convert it", "leave": "leave it alone"}
_AGENTS: Final = {
    "qemu_guest_agent": "qemu-guest-agent",
    "open_vm_tools": "open-vm-tools",
    "vmware_tools": "VMware Tools",
    "cloud_init": "cloud-init",
    "ovirt_guest_agent": "ovirt-guest-agent",
    "xen_tools": "XenServer tools",
    "virtio_win": "virtio-win",
    "cloudbase_init": "cloudbase-init",
}


def render(guest: Guest) -> str:
    """The lines of an inspection."""
    rows = [*_disks(guest), *_system(guest), *_evidence(guest)]
    lines = [f"{title:<{_WIDTH}}{visible(text)}".rstrip() for title, text in rows]
    lines += [
        f"{visible(str(concern.severity))}: {visible(str(concern), 1000)}" for concern in guest.concerns
    ]
    return "".join(f"{line}\n" for line in lines)


def _disks(guest: Guest) -> Iterator[tuple[str, str]]:
    for number, disk in enumerate(guest.disks):
        yield "" if number else "disks", f"{disk.device}  {disk.name}  {disk.format}, {size(disk.size)}"
    for locked in guest.locked:
        yield "encrypted", f"{locked.device} by {'LUKS' if locked.by == 'luks' else 'BitLocker'}"


def _system(guest: Guest) -> Iterator[tuple[str, str]]:
    system = guest.system
    if system is None:
        yield "system", "none" if not guest.roots else f"several: {_listed(guest.roots)}"
        yield from _firmware(guest.firmware)
        return
    known = [system.product, *([system.os] if system.os else []), system.arch]
    yield "system", ", ".join(part for part in known if part)
    extras = [name for name, has in (("LVM", system.lvm), ("RAID", system.raid)) if has]
    yield (
        "root",
        ", ".join([system.root, *(["boot disk " + system.boot_disk] if system.boot_disk else []), *extras]),
    )
    yield "boot loader", _listed(system.boot_loaders) or "none found"
    yield from _firmware(guest.firmware)
    yield from _rows("kernel", map(_kernel, system.kernels))
    if system.family == "windows":
        yield "virtio", _listed(system.windows_drivers) or "no drivers"
    yield from _rows("space", _rooms(system))
    yield from _rows("network", map(_connection, system.network))
    yield "agents", _listed(_AGENTS.get(name, name) for name in system.agents) or "none"


def _evidence(guest: Guest) -> Iterator[tuple[str, str]]:
    yield from _rows("disk bus", (f"{bus.name}: {bus.why}" for bus in guest.disk_buses))
    yield from _rows("NIC model", (f"{model.name}: {model.why}" for model in guest.nic_models))
    yield from _rows("conversion", guest.changes)
    yield "verdict", f"{_VERDICTS[str(guest.verdict.answer)]}: {guest.verdict.text}"


def _rows(title: str, texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for number, text in enumerate(texts):
        yield "" if number else title, text


def _firmware(firmware: GuestFirmware) -> Iterator[tuple[str, str]]:
    kinds = [name for name, has in (("BIOS", firmware.bios), ("UEFI", firmware.efi)) if has]
    fallback = ""
    if firmware.efi:
        fallback = ", with a fall-back loader" if firmware.fallback_loader else ", without a fall-back loader"
    yield "firmware", (_listed(kinds) or "no boot loader found") + fallback


def _kernel(kernel: Kernel) -> str:
    drivers = kernel.trouble or _listed(kernel.drivers) or "no drivers of disks or NICs"
    return f"{kernel.version}{' (default)' if kernel.default else ''}: {drivers}"


def _rooms(system: GuestSystem) -> Iterator[str]:
    for room in system.rooms:
        yield f"{room.mount} on {room.device}: {size(room.free)} of {size(room.size)} free"


def _connection(one: NetworkAddress) -> str:
    addresses = _listed(one.addresses) or ("DHCP" if one.dhcp else "no address")
    mac = f", MAC {one.mac}" if one.mac else ""
    kind = f" ({one.kind})" if one.kind != "ethernet" else ""
    return f"{one.name}{kind}: {addresses}{mac}, {one.stack}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
