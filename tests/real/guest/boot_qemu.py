"""Boot the guest in QEMU, for the tests of the guest itself.

The product boots imported VMs with code of its own; this one stays small and
independent of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

OVMF = Path("/usr/share/OVMF")
# Disk bus -> the controller it needs and the device of one disk.
BUSES = {
    "virtio": ([], "virtio-blk-pci"),
    "virtio-scsi": (["virtio-scsi-pci"], "scsi-hd"),
    "sata": (["ich9-ahci,id=ahci"], "ide-hd,bus=ahci.{n}"),
    "ide": ([], "ide-hd,bus=ide.{n}"),
    "nvme": ([], "nvme,serial=disk{n}"),
    "usb": (["qemu-xhci"], "usb-storage"),
    "lsi": (["lsi53c895a"], "scsi-hd"),
    "pvscsi": (["pvscsi"], "scsi-hd"),
}


@dataclass(frozen=True)
class Vm:
    """A VM to boot; firmware is bios, uefi or secure (UEFI with Secure Boot)."""

    disks: tuple[Path, ...]
    bus: str = "virtio"
    firmware: str = "bios"
    machine: str = "q35"
    nics: tuple[tuple[str, str], ...] = ()
    smp: str = "2,sockets=1,cores=2"
    memory_mib: int = 512
    extra: tuple[str, ...] = ()


def kvm_usable() -> bool:
    """Whether KVM exists and uses the processor's virtualization.

    A cloud VM may have a /dev/kvm of another kind (kvm_pvm), which interprets the code of an ordinary guest
    instruction by instruction, slower than TCG.
    """
    hardware = any(Path("/sys/module", name).exists() for name in ("kvm_intel", "kvm_amd"))
    return hardware and os.access("/dev/kvm", os.R_OK | os.W_OK)


def boot(vm: Vm, workdir: Path, timeout: float | None = None) -> str:
    """Run the VM until it powers off; returns its console. The disks stay unchanged."""
    kvm = kvm_usable()
    limit = timeout or (90 if kvm else 600)
    command = _command(vm, workdir, kvm=kvm)
    done = subprocess.run(command, capture_output=True, timeout=limit, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"QEMU failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace")


def _command(vm: Vm, workdir: Path, *, kvm: bool) -> list[str]:
    smm = ",smm=on" if vm.firmware == "secure" else ""
    return [
        "qemu-system-x86_64", "-nodefaults", "-display", "none", "-serial", "stdio",
        "-machine", vm.machine + smm, "-accel", "kvm" if kvm else "tcg,thread=multi",
        "-smp", vm.smp, "-m", str(vm.memory_mib), "-vga", "std", "-no-reboot", "-snapshot",
        *_firmware(vm.firmware, workdir), *_disks(vm), *_nics(vm), *vm.extra,
    ]  # fmt: skip


def _firmware(firmware: str, workdir: Path) -> list[str]:
    """Pflash with a fresh copy of the variables: no boot entry exists."""
    if firmware == "bios":
        return []
    secure = firmware == "secure"
    code = OVMF / ("OVMF_CODE_4M.secboot.fd" if secure else "OVMF_CODE_4M.fd")
    variables = workdir / "vars.fd"
    shutil.copyfile(OVMF / ("OVMF_VARS_4M.ms.fd" if secure else "OVMF_VARS_4M.fd"), variables)
    lock = ["-global", "driver=cfi.pflash01,property=secure,value=on"] if secure else []
    return [
        *lock,
        "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={code}",
        "-drive", f"if=pflash,unit=1,format=raw,file={variables}",
    ]  # fmt: skip


def _disks(vm: Vm) -> list[str]:
    controllers, device = BUSES[vm.bus]
    arguments = [part for controller in controllers for part in ("-device", controller)]
    for n, disk in enumerate(vm.disks):
        arguments += ["-drive", f"if=none,id=d{n},format=raw,file={disk}"]
        arguments += ["-device", f"{device.format(n=n)},drive=d{n},bootindex={n}"]
    return arguments


def _nics(vm: Vm) -> list[str]:
    """NICs as (model, MAC), with no network and no boot ROM."""
    return [part for model, mac in vm.nics for part in ("-device", f"{model},mac={mac},romfile=")]
