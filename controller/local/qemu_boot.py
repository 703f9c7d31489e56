"""Boots an imported VM under QEMU from its manifest, to prove that disks and manifest work.

It reads only the VirtualMachine manifest, the same input that KubeVirt gets. By default the disks stay
unchanged: writes go to a temporary overlay.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from steps.model.contract import Exit, StepError
from steps.model.manifest import MANIFEST_FILE
from workflows.quantity import mebibytes

OVMF: Final = Path("/usr/share/OVMF")
"""Debian's package ovmf."""
KVM: Final = Path("/dev/kvm")
AHCI_PORTS: Final = 6
"""Ports of QEMU's ich9-ahci; libvirt, hence KubeVirt, adds a controller for every six disks as well."""
MODELS: Final[dict[str, str]] = {"virtio": "virtio-net-pci"}
"""QEMU's model names that differ from KubeVirt's."""


@dataclass(frozen=True)
class BootOptions:
    """Boot options that are not in the manifest."""

    persistent: bool = False
    kvm: bool = True
    memory_mib: int | None = None


@dataclass(frozen=True)
class BootFiles:
    """Paths of the parts of the VM that the manifest only names."""

    disks: Mapping[str, Path]
    scratch: Path
    tpm: Path | None = None


def load_manifest(folder: Path) -> dict[str, Any]:
    """The manifest in an import's folder.

    Raises:
        StepError: NOT_FOUND, if it is missing, as before the import has succeeded.
    """
    path = folder / MANIFEST_FILE
    if not path.exists():
        raise StepError(
            Exit.NOT_FOUND,
            f"nothing to boot in {folder}",
            f"it does not contain {MANIFEST_FILE}",
            f"finish the import first: vmferry retry {folder}",
        )
    manifest: dict[str, Any] = YAML(typ="safe").load(path)
    return manifest


def disk_files(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Path]:
    """The file of each disk in the manifest.

    Raises:
        StepError: NOT_FOUND, with the name of the missing file.
    """
    files_by_disk: dict[str, Path] = {}
    for disk in _domain(manifest)["devices"]["disks"]:
        name = disk["name"]
        files = [folder / f"{name}.{suffix}" for suffix in ("qcow2", "raw")]
        existing = [file for file in files if file.exists()]
        if not existing:
            raise StepError(Exit.NOT_FOUND, f"{files[0]} is missing", remedy="import the VM again")
        files_by_disk[name] = existing[0]
    return files_by_disk


def qemu_command(manifest: Mapping[str, Any], files: BootFiles, options: BootOptions) -> list[str]:
    """QEMU's command line for a VirtualMachine manifest: same buses, models, firmware, boot order, MACs."""
    domain = _domain(manifest)
    return [
        "qemu-system-x86_64",
        "-nodefaults",
        "-no-user-config",
        *_machine(domain, options),
        *_cpu(domain, options),
        *_firmware(domain, files.scratch),
        *_tpm(files.tpm),
        *_disks(domain, files.disks, options),
        *_nics(domain),
        "-display",
        "none",
        "-vga",
        "std",
        "-device",
        "virtio-rng-pci",
    ]


def _domain(manifest: Mapping[str, Any]) -> dict[str, Any]:
    domain: dict[str, Any] = manifest["spec"]["template"]["spec"]["domain"]
    return domain


def kvm_usable() -> bool:
    """Whether KVM can run an ordinary guest on this host.

    The device alone is no proof: a hypervisor's variant (pvm) has it and runs only its own guests.
    """
    modules = Path("/sys/module")
    hardware = (modules / "kvm_intel").exists() or (modules / "kvm_amd").exists()
    return hardware and os.access(KVM, os.R_OK | os.W_OK)


def _machine(domain: Mapping[str, Any], options: BootOptions) -> list[str]:
    smm = "on" if domain.get("features", {}).get("smm", {}).get("enabled") else "off"
    accelerator, cpu = ("kvm", "host") if options.kvm and kvm_usable() else ("tcg,thread=multi", "max")
    return ["-machine", f"q35,smm={smm}", "-accel", accelerator, "-cpu", cpu]


def _cpu(domain: Mapping[str, Any], options: BootOptions) -> list[str]:
    cpu = domain["cpu"]
    memory = options.memory_mib or _memory(domain["memory"]["guest"])
    cores = f"{cpu['sockets'] * cpu['cores'] * cpu['threads']}"
    topology = f"sockets={cpu['sockets']},cores={cpu['cores']},threads={cpu['threads']}"
    return ["-smp", f"{cores},{topology}", "-m", f"{memory}M"]


def _memory(quantity: str) -> int:
    """MiB of the manifest's memory, which Harvester or a person may have written in another unit."""
    memory = mebibytes(quantity)
    if memory is None:
        raise StepError(Exit.INVALID, f"{MANIFEST_FILE}: memory {quantity!r} is not a whole number of MiB")
    return memory


def _firmware(domain: Mapping[str, Any], scratch: Path) -> list[str]:
    firmware = domain.get("firmware", {})
    identity = ["-uuid", firmware["uuid"]] if "uuid" in firmware else []
    if "serial" in firmware:
        identity += ["-smbios", f"type=1,serial={firmware['serial'].replace(',', ',,')}"]
    efi = firmware.get("bootloader", {}).get("efi")
    if efi is None:
        return identity
    secure = efi.get("secureBoot", True)
    code, variables = (".secboot", ".ms") if secure else ("", "")
    copy = scratch / "vars.fd"
    _require(OVMF / f"OVMF_CODE_4M{code}.fd", "the Debian package ovmf")
    shutil.copy(OVMF / f"OVMF_VARS_4M{variables}.fd", copy)
    flash = "if=pflash,format=raw,unit="
    code_drive = f"{flash}0,readonly=on,file={OVMF}/OVMF_CODE_4M{code}.fd"
    guard = ["-global", "driver=cfi.pflash01,property=secure,value=on"] if secure else []
    return [*identity, *guard, "-drive", code_drive, "-drive", f"{flash}1,file={copy}"]


def _tpm(socket: Path | None) -> list[str]:
    if socket is None:
        return []
    backend = ["-chardev", f"socket,id=tpm,path={socket}", "-tpmdev", "emulator,id=tpm0,chardev=tpm"]
    return [*backend, "-device", "tpm-crb,tpmdev=tpm0"]


def _disks(domain: Mapping[str, Any], files: Mapping[str, Path], options: BootOptions) -> Iterator[str]:
    counts = {"sata": 0, "scsi": 0, "usb": 0, "virtio": 0}
    for disk in domain["devices"]["disks"]:
        name, bus = disk["name"], disk["disk"]["bus"]
        yield from _controller(bus, counts[bus])
        yield from ("-drive", _drive(name, files[name], options))
        boot = f",bootindex={disk['bootOrder']}" if "bootOrder" in disk else ""
        serial = disk.get("serial", name)
        yield from ("-device", f"{_device(bus, counts[bus])},drive={name},serial={serial}{boot}")
        counts[bus] += 1


def _drive(name: str, file: Path, options: BootOptions) -> str:
    snapshot = "off" if options.persistent else "on"
    escaped = str(file).replace(",", ",,")
    return f"if=none,id={name},file={escaped},format={file.suffix[1:]},snapshot={snapshot},discard=unmap"


def _controller(bus: str, index: int) -> list[str]:
    """The controller to add before disk number `index` of a bus."""
    if bus == "sata" and index >= AHCI_PORTS and index % AHCI_PORTS == 0:
        return ["-device", f"ich9-ahci,id=ahci{index // AHCI_PORTS}"]
    first = {"scsi": ["-device", "virtio-scsi-pci,id=scsi0"], "usb": ["-device", "qemu-xhci,id=usb0"]}
    return first.get(bus, []) if index == 0 else []


def _device(bus: str, index: int) -> str:
    if bus == "sata":  # q35 brings the first AHCI as ide.0 to ide.5
        port = index % AHCI_PORTS
        return (
            f"ide-hd,bus=ide.{port}" if index < AHCI_PORTS else f"ide-hd,bus=ahci{index // AHCI_PORTS}.{port}"
        )
    return {
        "scsi": "scsi-hd,bus=scsi0.0",
        "usb": "usb-storage,bus=usb0.0,removable=off",
        "virtio": "virtio-blk-pci",
    }[bus]


def _nics(domain: Mapping[str, Any]) -> Iterator[str]:
    for index, interface in enumerate(domain["devices"].get("interfaces", ())):
        model = MODELS.get(interface["model"], interface["model"])
        mac = f",mac={interface['macAddress']}" if "macAddress" in interface else ""
        boot = f",bootindex={interface['bootOrder']}" if "bootOrder" in interface else ""
        # restrict: a test boot must not reach the network of the original VM
        yield from ("-netdev", f"user,id=net{index},restrict=on")
        yield from ("-device", f"{model},netdev=net{index}{mac}{boot}")


def _require(path: Path, package: str) -> None:
    if not path.exists():
        raise StepError(Exit.INVALID, f"{path} is missing", remedy=f"install {package}")


@contextlib.contextmanager
def software_tpm(manifest: Mapping[str, Any], scratch: Path) -> Iterator[Path | None]:
    """Run a software TPM during the boot, if the VM has a TPM and swtpm is installed."""
    program = shutil.which("swtpm")
    if "tpm" not in _domain(manifest)["devices"]:
        yield None
    elif program is None:
        print("the VM has a TPM; install swtpm to boot it with one", file=sys.stderr)  # noqa: T201
        yield None
    else:
        socket = scratch / "tpm.sock"
        state = [
            "--tpm2",
            "--tpmstate",
            f"dir={scratch}",
            "--ctrl",
            f"type=unixio,path={socket}",
            "--terminate",
        ]
        with subprocess.Popen([program, "socket", *state]) as process:
            while not socket.exists() and process.poll() is None:
                time.sleep(0.01)
            try:
                yield socket
            finally:
                process.terminate()


def boot(folder: Path, options: BootOptions, console: Sequence[str], *, timeout: float | None = None) -> int:
    """Boot the VM and wait until it powers off; returns QEMU's exit code.

    `console`: QEMU arguments for the serial console.

    Raises:
        StepError: NOT_FOUND, INVALID; UNREACHABLE if the VM still runs after `timeout` seconds.
    """
    manifest = load_manifest(folder)
    if shutil.which("qemu-system-x86_64") is None:
        raise StepError(
            Exit.INVALID, "qemu-system-x86_64 is missing", remedy="install the Debian package qemu-system-x86"
        )
    with (
        tempfile.TemporaryDirectory(prefix="vmferry-boot-") as name,
        software_tpm(manifest, Path(name)) as socket,
    ):
        files = BootFiles(disk_files(folder, manifest), Path(name), socket)
        command = [*qemu_command(manifest, files, options), *console]
        with subprocess.Popen(command) as process:
            try:
                return process.wait(timeout)
            except subprocess.TimeoutExpired:
                raise StepError(
                    Exit.UNREACHABLE,
                    f"the VM has not powered off within {timeout:.0f} s",
                    remedy="check its console, or increase --timeout",
                ) from None
            finally:
                process.terminate()
