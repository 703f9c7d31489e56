"""Boots the test Debians in plain QEMU, and looks from outside: console, network, guest agent."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controller.local.qemu_boot import OVMF, kvm_usable
from tests.real.adaptation.wire import Cable

log = logging.getLogger(__name__)
CPU_SECONDS: Final = 600.0
"""What a boot may use: 40 s without KVM are usual. Other work on the computer does not count."""
SECONDS: Final = 5400.0
_TICK: Final = 0.5


@dataclass
class Vm:
    """A running VM."""

    process: subprocess.Popen[bytes]
    folder: Path
    lan: Cable

    @property
    def console(self) -> str:
        path = self.folder / "console"
        return path.read_bytes().decode(errors="replace") if path.exists() else ""

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition, as long as the guest needs it: measured by the processor time of QEMU."""
        end = time.monotonic() + SECONDS
        while not condition():
            assert self.process.poll() is None, (self.folder / "qemu").read_text()
            late = self.cpu_seconds > CPU_SECONDS or time.monotonic() > end
            assert not late, f"{what} did not come; the console ends with:\n{self.console[-3000:]}"
            time.sleep(_TICK)

    def until_shown(self, text: str) -> None:
        self.until(lambda: text in self.console, f"{text!r} on the console")

    def agent_answers(self) -> bool:
        """Whether qemu-guest-agent answers a ping of the host."""
        with socket.socket(socket.AF_UNIX) as channel, contextlib.suppress(OSError, ValueError):
            channel.settimeout(2)
            channel.connect(str(self.folder / "agent"))
            channel.sendall(b'{"execute": "guest-sync", "arguments": {"id": 7}}\n')
            return bool(json.loads(channel.recv(4096)) == {"return": 7})
        return False


@contextlib.contextmanager
def booted(folder: Path, disks: Sequence[Path], mac: str, *, efi: bool) -> Iterator[Vm]:
    """The VM as KubeVirt makes it: virtio, and a firmware without boot entries. The disks stay unchanged."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    accelerator, cpu = ("kvm", "host") if kvm_usable() else ("tcg,thread=multi", "max")
    argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    argv += ["-machine", "q35", "-accel", accelerator, "-cpu", cpu, "-smp", "1", "-m", "512", "-vga", "std"]
    argv += ["-serial", f"file:{folder / 'console'}", "-device", "virtio-rng-pci"]
    argv += [
        "-device",
        "virtio-serial-pci",
        "-device",
        "virtserialport,chardev=ga,name=org.qemu.guest_agent.0",
    ]
    argv += ["-chardev", f"socket,id=ga,path={folder / 'agent'},server=on,wait=off"]
    if efi:
        shutil.copy(OVMF / "OVMF_VARS_4M.fd", folder / "vars")
        argv += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={OVMF / 'OVMF_CODE_4M.fd'}"]
        argv += ["-drive", f"if=pflash,unit=1,format=raw,file={folder / 'vars'}"]
    for number, disk in enumerate(disks):
        kind = disk.suffix[1:] if disk.suffix == ".qcow2" else "raw"
        argv += ["-drive", f"if=none,id=d{number},format={kind},file={disk},snapshot=on"]
        argv += ["-device", f"virtio-blk-pci,drive=d{number},bootindex={number}"]
    with Cable(folder) as lan, (folder / "qemu").open("wb") as errors:
        argv += [*lan.argv, "-device", f"virtio-net-pci,netdev=lan,mac={mac},romfile="]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        vm = Vm(process, folder, lan)
        try:
            yield vm
            log.info("the VM used %.0f s of a processor", vm.cpu_seconds)
        finally:
            process.kill()
            process.wait()


def agent_script(package: Path) -> str:
    """A script of the first start that brings the package of the agent along: the guest needs no network."""
    packed = base64.encodebytes(package.read_bytes()).decode()
    return (
        "#!/bin/sh\nset -e\nfile=$(mktemp --suffix .deb)\n"
        f'base64 -d >"$file" <<END\n{packed}END\n'
        'dpkg -i "$file"\nrm -f "$file"\nsystemctl start qemu-guest-agent\n'
    )
