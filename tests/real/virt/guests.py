"""A VM in the lab: volumes with given bytes, the VM of vmferry for them, its console and its screen."""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from steps.model.kinds import Object
from steps.model.machine import Controller, Disk, Firmware, Machine, Nic, NicModel
from steps.model.manifest import kubevirt_machine
from steps.model.mapping import shape
from steps.model.plan import NetworkRule
from tests.real.cluster.lab import KUBECTL, ROOT, CommandError, Lab
from tests.real.guest import datadisk
from tests.real.scenario import GUEST, MACS
from tests.real.standins.process import eventually
from tests.unit.builders import a_plan

KEPT: Final = ROOT / ".cache" / "e2e" / "virt"
"""Consoles and screenshots stay here after a run."""
BOOT_SECONDS: Final = 1500.0
"""The guest reports after 25 to 50 s in an idle lab. Guests are emulated, and the machine may be busy."""
SMALLEST_SCREEN: Final = (640, 350)
"""The smallest screen of the emulated graphics, which is a text screen."""
PNG: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Guest:
    """A VirtualMachine of a test."""

    lab: Lab
    namespace: str
    name: str

    def kubectl(self, *arguments: str, seconds: float = 120.0) -> str:
        return self.lab.kubectl("--namespace", self.namespace, *arguments, seconds=seconds)

    def console(self) -> str:
        """The serial console from its first line: KubeVirt copies it to a container of the launcher's pod."""
        pods = f"kubevirt.io=virt-launcher,vm.kubevirt.io/name={self.name}"
        with contextlib.suppress(CommandError):
            return self.kubectl("logs", "--selector", pods, "--container", "guest-console-log", "--tail=-1")
        return ""

    def reported(self) -> str:
        """The console, as soon as the guest has reported everything. It is kept in a file."""

        def complete() -> str:
            text = self.console()
            return text if "VMFERRY-GUEST done" in text or "VMFERRY-GUEST error" in text else ""

        try:
            return eventually(complete, f"the report of guest {self.name}", BOOT_SECONDS)
        finally:
            self._keep("console.txt").write_text(self.console())
            self._keep("state.yaml").write_text(self.kubectl("get", "vm,vmi,pod,pvc,event", "-o", "yaml"))

    def screenshot(self) -> tuple[int, int]:
        """Width and height of the VNC screen in pixels; the picture is kept in a file."""
        address = f"/apis/subresources.kubevirt.io/v1/namespaces/{self.namespace}/virtualmachineinstances"
        where = f"{address}/{self.name}/vnc/screenshot?moveCursor=false"
        picture = subprocess.run(
            [KUBECTL, "--kubeconfig", self.lab.place.kubeconfig, "get", "--raw", where],
            check=True,
            capture_output=True,
            timeout=120,
        ).stdout
        self._keep("png").write_bytes(picture)
        assert picture.startswith(PNG), picture[:200]
        width, height = struct.unpack(">II", picture[16:24])
        return width, height

    def stored(self) -> Object:
        found: Object = json.loads(self.kubectl("get", "vm", self.name, "-o", "json"))
        return found

    def _keep(self, suffix: str) -> Path:
        KEPT.mkdir(parents=True, exist_ok=True)
        return KEPT / f"{self.name}.{suffix}"


def machine(name: str, controller: Controller, firmware: Firmware, data: datadisk.DataDisk) -> Machine:
    """The test guest as a source describes it: two disks, and a NIC that no mapping names."""
    sizes = (GUEST.stat().st_size, data.size)
    return Machine(
        name=name,
        source_id="vm-1",
        vcpus=2,
        cores_per_socket=2,
        memory_mib=512,
        firmware=firmware,
        disks=tuple(
            Disk(
                id=f"disk-{number}", key=str(2000 + number), capacity=size, controller=controller, unit=number
            )
            for number, size in enumerate(sizes)
        ),
        nics=(Nic(id="nic-0", mac=MACS[0], model=NicModel.VMXNET3, network="VM Network"),),
    )


def start(
    lab: Lab,
    namespace: str,
    found: Machine,
    claims: Mapping[str, str],
    networks: tuple[NetworkRule, ...] = (),
) -> Guest:
    """The VM as vmferry writes it for KubeVirt, started. `claims`: disk id → name of a claim."""
    plan = a_plan(vm=found.name, name=found.name, namespace=namespace, start=True, networks=networks)
    made = shape(plan, found)
    lab.apply(kubevirt_machine(made, claims))
    return Guest(lab, namespace, made.name)


@contextlib.contextmanager
def backing(lab: Lab, name: str, disk: Path) -> Iterator[str]:
    """A class whose volumes begin with the bytes of a raw disk, as Longhorn's with a backing image."""
    image = lab.place.backing / name
    subprocess.run(["cp", "--sparse=always", disk, image], check=True)
    lab.apply(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name},
            "provisioner": "driver.longhorn.io",
            "parameters": {"backingImage": name},
        }
    )
    try:
        yield name
    finally:
        lab.kubectl("delete", "storageclass", name)
        image.unlink()


def claim(name: str, namespace: str, storage_class: str, size: int) -> Object:
    """A Block claim of `size` bytes."""
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": "Block",
        "storageClassName": storage_class,
        "resources": {"requests": {"storage": str(size)}},
    }
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
