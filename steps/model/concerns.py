"""What an import changes, loses or cannot import, for any source. Pure.

What only one source can say is in that provider. docs/reference/mapping.md lists every code. The severities
are those of the v2v importer: `log` is harmless, `warn` may matter and is shown, `block` ends the import.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from steps.model.machine import MOST_DEVICES, Concern, Machine, Severity

CPU_ASSUMED: Final = "cpu-assumed"
MEMORY_ASSUMED: Final = "memory-assumed"
"""Codes of sizes that the source does not have; an import may set them."""
MOST_CONCERNS: Final = 100
LONGEST_TEXT: Final = 2000
"""Characters."""
LONGEST_NOTES: Final = 64 << 10
"""Bytes."""
_WEIGHT: Final = (Severity.BLOCK, Severity.WARN, Severity.LOG)
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PRINTABLE: Final = re.compile(r"[ -~]{1,256}")
_DISK_SERIAL: Final = re.compile(r"[A-Za-z0-9_.+-]{1,256}")
"""KubeVirt v1.6.0 vmi-create-admitter.go, validateSerialNumValue and validateSerialNumLength."""
_IN_POD_BRIDGE: Final = "02:00:00:00:00:00"
"""KubeVirt pkg/network/link/mac.go, StaticMasqueradeBridgeMAC."""


def block(code: str, message: str, remedy: str = "") -> Concern:
    return Concern(severity=Severity.BLOCK, code=code, message=message, remedy=remedy)


def warn(code: str, message: str, remedy: str = "") -> Concern:
    return Concern(severity=Severity.WARN, code=code, message=message, remedy=remedy)


def log(code: str, message: str, remedy: str = "") -> Concern:
    return Concern(severity=Severity.LOG, code=code, message=message, remedy=remedy)


def about(machine: Machine) -> tuple[Concern, ...]:
    """What KubeVirt cannot represent of this VM, or represents differently."""
    return (*_devices(machine), *_firmware(machine), *_identity(machine), *_clock(machine))


def merged(*found: Iterable[Concern]) -> tuple[Concern, ...]:
    """All concerns in order, without duplicates: two callers may find the same one."""
    return tuple(dict.fromkeys(concern for some in found for concern in some))


def bounded(concerns: Iterable[Concern]) -> tuple[Concern, ...]:
    """The concerns for a document and a log: at most `MOST_CONCERNS`, with short texts.

    A descriptor may name thousands of files that nothing uses. If there are too many, those that end the
    import come first, then warnings; a last one counts the rest.
    """
    short = [_shortened(concern) for concern in concerns]
    if len(short) <= MOST_CONCERNS:
        return tuple(short)
    kept = sorted(short, key=lambda concern: _WEIGHT.index(concern.severity))[:MOST_CONCERNS]
    return (*kept, warn("more-concerns", f"there are {len(short) - MOST_CONCERNS} more concerns"))


def with_short_notes(machine: Machine) -> Machine:
    """The VM with notes that fit into an annotation of the VirtualMachine, and a concern if some are cut.

    The API server allows 256 KiB for all annotations (k8s.io/apimachinery, TotalAnnotationSizeLimitB): it
    would refuse the VM after all disks were moved.
    """
    notes = machine.notes.encode(errors="replace")
    if len(notes) <= LONGEST_NOTES:
        return machine
    cut = warn("notes-cut", f"its notes have {len(notes)} bytes", f"only the first {LONGEST_NOTES} are kept")
    kept = notes[:LONGEST_NOTES].decode(errors="ignore")
    return machine.model_copy(update={"notes": kept, "concerns": (*machine.concerns, cut)})


def _shortened(concern: Concern) -> Concern:
    texts = (concern.message, concern.remedy)
    if all(len(text) <= LONGEST_TEXT for text in texts):
        return concern
    message, remedy = (text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…" for text in texts)
    return concern.model_copy(update={"message": message, "remedy": remedy})


def _devices(machine: Machine) -> Iterator[Concern]:
    if not machine.disks:
        yield block("no-disks", "the VM has no disks", "there is nothing to import")
    for count, what in ((len(machine.disks), "disks"), (len(machine.nics), "NICs")):
        if count > MOST_DEVICES:
            message = f"the VM has more than {MOST_DEVICES} {what}, which KubeVirt does not allow"
            yield block("too-many-devices", message)
    yield from _shared_macs(machine)
    for nic in machine.nics:
        if nic.mac and not usable_mac(nic.mac):
            yield warn(
                "mac-unusable", f"{nic.id} has the unusable MAC address {nic.mac}", "it gets a new one"
            )
        if not nic.connected:
            yield log("nic-disconnected", f"{nic.id} is not connected: its link is down after the import")


def _shared_macs(machine: Machine) -> Iterator[Concern]:
    """NICs of one VM with the same MAC address. One that gets a new address has none that counts here."""
    owners: dict[str, list[str]] = {}
    for nic in machine.nics:
        if nic.mac and usable_mac(nic.mac):
            owners.setdefault(nic.mac, []).append(nic.id)
    for mac, nics in owners.items():
        if len(nics) > 1:
            yield warn(
                "mac-twice",
                f"{', '.join(nics)} have the same MAC address {mac}",
                "a switch confuses them, and a network with a MAC pool refuses the VM: give one of them "
                "another address at the source, or map its network with mac: new",
            )


def _firmware(machine: Machine) -> Iterator[Concern]:
    firmware = machine.firmware
    if firmware.kind == "efi":
        yield log("efi-variables", "the firmware's boot entries are not carried over", BOOT_PATH)
    if firmware.kind == "bios" and firmware.secure_boot:
        yield warn("secure-boot-bios", "secure boot is on, but the VM boots with BIOS", "it is turned off")
    if firmware.tpm and firmware.tpm_version == "1.2":
        yield warn("tpm-version", "the VM has a TPM 1.2", "it gets a TPM 2.0, the only version in KubeVirt")


BOOT_PATH: Final = r"the VM boots from \EFI\BOOT: make sure that a boot loader is there"


def _identity(machine: Machine) -> Iterator[Concern]:
    given = machine.smbios_uuid or machine.uuid
    if given and not system_uuid(machine):
        yield warn("uuid-unusable", f"its UUID {given!r} is not valid", "the VM gets a new one")
    if machine.serial and not system_serial(machine):
        yield warn(
            "serial-unusable", f"its serial number is not plain text: {machine.serial!r}", "it is left out"
        )
    for disk in machine.disks:
        if disk.serial and not disk_serial(disk.serial):
            yield warn(
                "serial-unusable",
                f"{disk.id} has the unusable serial number {disk.serial!r}",
                "it is left out",
            )


def _clock(machine: Machine) -> Iterator[Concern]:
    if machine.clock.base == "localtime" and not machine.clock.timezone:
        yield warn(
            "clock-localtime",
            "its hardware clock shows the local time of its host, but the source reports no time zone",
            "it starts with UTC: let the guest synchronise its time, or set clock.timezone",
        )


def usable_mac(mac: str) -> bool:
    """Whether a NIC can use it: not a multicast address, not all zeros, not that of the in-pod bridge."""
    return not int(mac[:2], 16) & 1 and mac not in {"00:00:00:00:00:00", _IN_POD_BRIDGE}


def system_uuid(machine: Machine) -> str:
    """The UUID that the guest reads, in lower case; "" if the source has no valid one."""
    uuid = (machine.smbios_uuid or machine.uuid).lower()
    return uuid if _UUID.fullmatch(uuid) else ""


def system_serial(machine: Machine) -> str:
    """The serial number that the guest reads; "" if firmware tables cannot hold it."""
    return machine.serial if _PRINTABLE.fullmatch(machine.serial) else ""


def disk_serial(serial: str) -> str:
    """The disk's serial number if KubeVirt accepts it, else ""."""
    return serial if _DISK_SERIAL.fullmatch(serial) else ""
