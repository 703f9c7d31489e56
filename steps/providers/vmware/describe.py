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
from steps.providers.vmware.find import InventoryVm
from steps.providers.vmware.networks import Networks

PROPERTIES: Final = (
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
LISTED_PROPERTIES: Final = (*PROPERTIES, "summary.storage.committed", "runtime.host")
"""With the bytes that a VM uses on its datastores, for an inventory: `layoutEx` would say it of each disk,
and is as large as everything else. And with its host."""
DETAIL_PROPERTIES: Final = ("layoutEx", "config.extraConfig", "runtime.host", "guest.net")
"""Expensive or large properties, and the host; only for the VM that is imported."""

_UNREADABLE: Final = "its configuration cannot be read: it is inaccessible, or the account lacks System.Read"
_POWER: Final = {"poweredOn": Power.ON, "poweredOff": Power.OFF, "suspended": Power.SUSPENDED}
_TOOLS_RUNNING: Final = ("guestToolsRunning", "guestToolsExecutingScripts")
"""GuestInfo.toolsRunningStatus: scripts are executed by Tools that run."""


def machine(vm: InventoryVm, row: Row, networks: Networks) -> Machine:
    """The VM `vm`; `row` has PROPERTIES, and DETAIL_PROPERTIES if sizes in use are requested.

    A machine whose configuration cannot be read (it is inaccessible or orphaned, or two devices have one key
    or slot) becomes one with a concern that blocks its import.
    """
    config_hardware = row.get("config.hardware")
    if config_hardware is None:
        return _unreadable(vm, row, _UNREADABLE, "check it in the vSphere client")
    hardware = Hardware(config_hardware.device)
    if conflict := hardware.conflict():
        return _unreadable(vm, row, conflict, "remove one of them at the source")
    order = devices.boot_order(row.get("config.bootOptions"))
    nics = devices.nics(hardware, order, networks, row.get("guest.net") or ())
    return Machine(
        **_identity_fields(vm, row),
        vcpus=max(1, config_hardware.numCPU or 1),
        cores_per_socket=max(1, config_hardware.numCoresPerSocket or 1),
        memory_mib=max(1, config_hardware.memoryMB or 1),
        firmware=_firmware(row, hardware),
        clock=_clock(row),
        disks=_disks(row, hardware),
        nics=nics,
        concerns=concerns(row, hardware, networks, nics, power(row)),
    )


def listed_machine(vm: InventoryVm, networks: Networks) -> Machine:
    """The VM as an inventory shows it, with its host; its row has LISTED_PROPERTIES."""
    host = vm.row.get("runtime.host")
    found = machine(vm, vm.row, networks)
    return found if host is None else found.model_copy(update={"host": str(host._moId)})


def power(row: Row) -> Power:
    """The power state among the properties (VirtualMachine.runtime.powerState)."""
    return _POWER.get(str(row.get("runtime.powerState", "poweredOff")), Power.OFF)


def tools_running(row: Row) -> bool:
    """Whether VMware Tools run in the guest now, so that it can be asked to shut down."""
    return str(row.get("guest.toolsRunningStatus", "")) in _TOOLS_RUNNING


def _disks(row: Row, hardware: Hardware) -> tuple[Disk, ...]:
    """The disks; a guest reads their UUIDs as serial numbers where disk.EnableUUID is set."""
    order = devices.boot_order(row.get("config.bootOptions"))
    disks = devices.disks(hardware, order, devices.allocated_bytes(row.get("layoutEx")))
    if not row.get("config.flags.diskUuidEnabled", False):
        return disks
    return tuple(disk.model_copy(update={"serial": disk.uuid.replace("-", "").lower()}) for disk in disks)


def _identity_fields(vm: InventoryVm, row: Row) -> dict[str, Any]:
    guest_os = guestos.of_vmware(row.get("config.guestId", ""))
    return {
        "name": vm.name,
        "source_id": row.id,
        "path": str(vm),
        "uuid": row.get("config.uuid", ""),
        "smbios_uuid": identity.guest_uuid(
            row.get("config.uuid", ""), row.get("config.version", ""), guest_os
        ),
        "serial": identity.serial(row.get("config.uuid", "")),
        "instance_uuid": row.get("config.instanceUuid", ""),
        "os": guest_os,
        "guest_id": row.get("config.guestId", ""),
        "guest_name": row.get("config.guestFullName", ""),
        "notes": row.get("config.annotation", ""),
        "power": power(row),
        "tools_running": tools_running(row),
        "change_version": row.get("config.changeVersion", ""),
        "storage_used": row.get("summary.storage.committed"),
    }


def _firmware(row: Row, hardware: Hardware) -> Firmware:
    """`config.firmware` is `bios` or `efi`; a TPM shows as a device only from API 6.7 on."""
    device: Any = vim.vm.device.VirtualTPM
    tpm = bool(row.get("summary.config.tpmPresent", False) or hardware.of_type(device))
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


def _unreadable(vm: InventoryVm, row: Row, message: str, remedy: str) -> Machine:
    concern = Concern(severity=Severity.BLOCK, code="unreadable", message=message, remedy=remedy)
    return Machine(**_identity_fields(vm, row), vcpus=1, memory_mib=1, concerns=(concern,))
