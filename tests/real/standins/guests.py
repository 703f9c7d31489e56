"""Guests under QEMU, from the bytes of their claims: the part of virt-launcher that no pod here can do.

The code of `vmferry boot` (local/qemu_boot.py) translates the instance's spec: buses, NIC models, MACs,
firmware, boot order as KubeVirt's manifest names them. Processor: KVM if available, else QEMU's own
emulation, which is slow. No guest reaches a network.
"""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any, Final

from controller.local import qemu_boot
from steps.model.kinds import Object
from tests.real.standins.controller import log

GRACE: Final = 30.0
"""Seconds for a guest to power off, if neither the VM nor the caller sets another time."""


class Guest:
    """A guest that runs, or ran. It writes to the claims."""

    def __init__(self, instance: Object, disks: dict[str, Path], folder: Path, console: Path) -> None:
        self._name = f"{instance['metadata']['namespace']}/{instance['metadata']['name']}"
        self._folder = folder
        self._stack = contextlib.ExitStack()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        manifest = _whole(instance)
        with contextlib.ExitStack() as stack:
            tpm = stack.enter_context(qemu_boot.software_tpm(manifest, folder))
            files = qemu_boot.BootFiles(_links(disks, folder), folder, tpm)
            argv = qemu_boot.qemu_command(manifest, files, qemu_boot.BootOptions(persistent=True))
            console.parent.mkdir(parents=True, exist_ok=True)
            console_options = (
                "-chardev",
                f"file,id=console,path={console},append=on",
                "-serial",
                "chardev:console",
            )
            control = ("-qmp", f"unix:{folder}/qmp,server=on,wait=off")
            errors = stack.enter_context((folder / "qemu.log").open("wb"))
            # If this process is killed, the kernel ends the guest: no guest runs without its owner.
            kept = ["setpriv", "--pdeathsig", "KILL", *argv, *console_options, *control]
            self.process = subprocess.Popen(kept, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
            self._stack = stack.pop_all()
        log.info("kubevirt: %s boots, console %s", self._name, console)

    @property
    def ended(self) -> str:
        """Succeeded or Failed; empty while it runs."""
        code = self.process.poll()
        if code is None:
            return ""
        return "Succeeded" if code == 0 else "Failed"

    @property
    def errors(self) -> str:
        return " ".join((self._folder / "qemu.log").read_text(errors="replace").split())[-500:]

    def power_button(self) -> None:
        """As libvirt's shutdown: the guest may ignore it."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(2)
            wire.connect(str(self._folder / "qmp"))
            with wire.makefile("rw") as talk:
                talk.readline()
                for command in ("qmp_capabilities", "system_powerdown"):
                    talk.write(json.dumps({"execute": command}) + "\n")
                    talk.flush()
                    talk.readline()

    def kill(self) -> None:
        self.process.kill()

    def close(self) -> None:
        """Remove what a guest leaves; ends it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._stack.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _links(disks: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Links whose names contain the format: devices have no such names."""
    links = {name: folder / f"{name}.raw" for name in disks}
    for name, link in links.items():
        link.symlink_to(disks[name])
    return links


def _whole(instance: Object) -> Object:
    """The manifest that boot.py reads, with KubeVirt's defaults (pkg/virt-api/webhooks/mutating-webhook)."""
    spec: dict[str, Any] = copy.deepcopy(instance["spec"])
    domain = spec["domain"]
    domain["cpu"] = {"sockets": 1, "cores": 1, "threads": 1} | (domain.get("cpu") or {})
    requests = (domain.get("resources") or {}).get("requests") or {}
    domain.setdefault("memory", {}).setdefault("guest", requests.get("memory", "512Mi"))
    for interface in domain["devices"].get("interfaces") or []:
        interface.setdefault("model", "virtio")
    return {"spec": {"template": {"spec": spec}}}
