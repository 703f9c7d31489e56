"""vSphere's data about a VM as a `Machine`."""

from __future__ import annotations

import re
from typing import Any, Final

from pyVmomi import vim

from steps.model import guestos
from steps.model.machine import Clock, Concern, Disk, Firmware, Machine, Power, Severity
from steps.providers.vmware import devices, identity
from steps.providers.vmware.collector import Row
from steps.providers.vmware.concerns import concerns
from steps.providers.vmware.devices import Hardware
from steps.providers.vmware.find import Place
from steps.providers.vmware.networks import Networks

FACTS: Final = (
    "name",
    "config.uuid",
    "config.instanceUuid",
    "config.changeVersion",
    "config.guestId",
    "config.guestFullName",
    "config.version",
    "config.flags.diskUuidEnabled",
    "config.annotation",
    "config.firmware",
    "config.bootOptions",
    "config.keyId",
    "config.hardware",
    "guest.toolsRunningStatus",
    "runtime.powerState",
    "runtime.faultToleranceState",
    "runtime.consolidationNeeded",
    "snapshot",
    "summary.config.tpmPresent",
)
"""Leaf properties, not whole objects: an unset or unreadable one then does not affect the others."""
DETAIL: Final = ("layoutEx", "config.extraConfig")
"""Expensive or large properties; only for the VM that is imported."""

_LOST: Final = "its configuration cannot be read: it is inaccessible, or the account lacks System.Read"
_POWER: Final = {"poweredOn": Power.ON, "poweredOff": Power.OFF, "suspended": Power.SUSPENDED}
_TOOLS_RUN: Final = ("guestToolsRunning", "guestToolsExecutingScripts")
"""GuestInfo.toolsRunningStatus: scripts are executed by Tools that run."""


def machine(place: Place, row: Row, networks: Networks) -> Machine:
    """The VM at `place`; `row` has FACTS, and DETAIL if sizes in use are requested.

    A machine whose configuration cannot be read (it is inaccessible or orphaned, or two devices have one key
    or slot) becomes one with a concern that blocks its import.
    """
    hardware = row.get("config.hardware")
    if hardware is None:
        return _unreadable(place, row, _LOST, "check it in the vSphere client")
    found = Hardware(hardware.device)
    if twice := found.ambiguous():
        return _unreadable(place, row, twice, "remove one of them at the source")
    order = devices.boot_order(row.get("config.bootOptions"))
    cards = devices.nics(found, order, networks)
    return Machine(
        **_words(place, row),
        vcpus=max(1, hardware.numCPU or 1),
        cores_per_socket=max(1, hardware.numCoresPerSocket or 1),
        memory_mib=max(1, hardware.memoryMB or 1),
        firmware=_firmware(row, found),
        clock=_clock(row),
        disks=_disks(row, found),
        nics=cards,
        concerns=concerns(row, found, networks, cards, power(row)),
    )


def power(row: Row) -> Power:
    """The power state among the facts (VirtualMachine.runtime.powerState)."""
    return _POWER.get(str(row.get("runtime.powerState", "poweredOff")), Power.OFF)


def tools_running(row: Row) -> bool:
    """Whether VMware Tools run in the guest now, so that it can be asked to shut down."""
    return str(row.get("guest.toolsRunningStatus", "")) in _TOOLS_RUN


def _disks(row: Row, hardware: Hardware) -> tuple[Disk, ...]:
    """The disks; a guest reads their UUIDs as serial numbers where disk.EnableUUID is set."""
    order = devices.boot_order(row.get("config.bootOptions"))
    found = devices.disks(hardware, order, devices.allocated_bytes(row.get("layoutEx")))
    if not row.get("config.flags.diskUuidEnabled", False):
        return found
    return tuple(disk.model_copy(update={"serial": disk.uuid.replace("-", "").lower()}) for disk in found)


def _words(place: Place, row: Row) -> dict[str, Any]:
    system = guestos.of_vmware(row.get("config.guestId", ""))
    return {
        "name": place.name,
        "source_id": row.id,
        "path": str(place),
        "uuid": row.get("config.uuid", ""),
        "smbios_uuid": identity.guest_uuid(row.get("config.uuid", ""), row.get("config.version", ""), system),
        "serial": identity.serial(row.get("config.uuid", "")),
        "instance_uuid": row.get("config.instanceUuid", ""),
        "os": system,
        "guest_id": row.get("config.guestId", ""),
        "guest_name": row.get("config.guestFullName", ""),
        "notes": row.get("config.annotation", ""),
        "power": power(row),
        "tools_running": tools_running(row),
        "change_version": row.get("config.changeVersion", ""),
    }


def _firmware(row: Row, hardware: Hardware) -> Firmware:
    """`config.firmware` is `bios` or `efi`; a TPM shows as a device only from API 6.7 on."""
    device: Any = vim.vm.device.VirtualTPM
    tpm = bool(row.get("summary.config.tpmPresent", False) or hardware.of(device))
    return Firmware(
        kind="efi" if str(row.get("config.firmware", "")).lower() == "efi" else "bios",
        secure_boot=bool(getattr(row.get("config.bootOptions"), "efiSecureBootEnabled", False)),
        tpm=tpm,
        tpm_version="2.0" if tpm else "",  # a vTPM is always a TPM 2.0
    )


def _options(row: Row) -> dict[str, str]:
    """The VM's advanced options by name, in lower case as vSphere ignores case."""
    return {option.key.lower(): str(option.value) for option in row.get("config.extraConfig", ())}


def _clock(row: Row) -> Clock:
    """`rtc.diffFromUTC` in seconds; without it the clock starts with the host's, and ESXi keeps UTC."""
    offset = _options(row).get("rtc.difffromutc", "").strip()
    return Clock(offset_seconds=int(offset)) if re.fullmatch(r"[+-]?\d{1,6}", offset) else Clock()


def _unreadable(place: Place, row: Row, message: str, remedy: str) -> Machine:
    why = Concern(severity=Severity.BLOCK, code="unreadable", message=message, remedy=remedy)
    return Machine(**_words(place, row), vcpus=1, memory_mib=1, concerns=(why,))
