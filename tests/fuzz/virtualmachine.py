"""Fuzzes the description of a VM by the API server of a cluster with KubeVirt, and a kubeconfig."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any, Final

from steps.model.concerns import about, bounded, with_short_notes
from steps.model.kubeconfig import Kubeconfig
from steps.model.machine import Machine
from steps.model.power import PowerMark
from steps.providers.kubevirt import concerns, describe, history
from steps.providers.kubevirt.answers import Answer
from steps.providers.kubevirt.find import Found
from tests.fuzz import mutate
from tests.fuzz.case import Case, Wrong
from tests.fuzz.engine import change
from tests.unit.steps.providers.kubevirt.documents import CLAIMS, Json, claim, vm
from tests.unit.steps.providers.kubevirt.standin import kubeconfig

_SPEC: Final[Json] = {
    "architecture": "arm64",
    "nodeSelector": {"zone": "a"},
    "livenessProbe": {"tcpSocket": {}},
    "someday": {"a": 1},
}
"""Settings that a VM may have, each with a concern of its own."""
_DOMAIN: Final[Json] = {
    "cpu": {"model": "Skylake", "dedicatedCpuPlacement": True},
    "memory": {"guest": "1.5Gi", "hugepages": {"pageSize": "2Mi"}},
    "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}, "requests": {"cpu": "2"}},
    "launchSecurity": {"sev": {}},
    "clock": {"utc": {"offsetSeconds": 3600}},
    "machine": {"type": "pc-i440fx-2.12"},
    "firmware": {"bootloader": {"efi": {"persistent": True}}, "kernelBoot": {}, "acpi": {}},
}
_DEVICES: Final[Json] = {
    "tpm": {"persistent": True, "enabled": False},
    "watchdog": {"name": "w"},
    "gpus": [{"name": "g"}],
    "autoattachPodInterface": False,
    "someday": {},
}
_VOLUMES: Final[tuple[Json, ...]] = (
    {"containerDisk": {"image": "x"}},
    {"cloudInitNoCloud": {"userData": "x"}},
    {"configMap": {"name": "x"}},
    {"emptyDisk": {"capacity": "1Gi"}},
    {"dataVolume": {"name": "gone"}},
    {"dataVolume": {"name": CLAIMS[0]}},
    {},
)
_DEVICE: Final[Json] = {
    "cdrom": {"bus": "sata"},
    "lun": {"bus": "scsi"},
    "shareable": True,
    "cache": "none",
    "disk": {"bus": "floppy", "readonly": True},
    "bootOrder": 2,
}
_NIC: Final[Json] = {"sriov": {}, "state": "absent", "model": "future", "dhcpOptions": {}, "macAddress": ""}
_INSTANCE: Final[Json] = {
    "metadata": {"uid": "i", "deletionTimestamp": "2026-11-30T00:00:00Z"},
    "spec": {
        "volumes": [{"name": "hot", "dataVolume": {"name": "hot"}}],
        "domain": {"firmware": {"uuid": "u"}},
    },
    "status": {
        "phase": "Running",
        "conditions": [{"type": "Paused", "status": "True"}],
        "interfaces": [{"name": "lan", "mac": "02:00:00:00:00:01"}],
        "guestOSInfo": {"id": "mswindows", "version": "2022", "prettyName": "Windows"},
    },
}


_STRATEGIES: Final = ("Always", "Halted", "Manual", "RerunOnFailure", "Once", "WaitAsReceiver", "")


class VirtualMachine:
    """Objects with any mistake."""

    name = "virtualmachine"
    programs: frozenset[str] = frozenset()

    def make(self, rng: random.Random) -> Case:
        kind = rng.choice(("vm", "vm", "vm", "kubeconfig"))
        document = (
            _document(rng) if kind == "vm" else json.loads(kubeconfig("https://api:6443", "-----BEGIN"))
        )
        changes = rng.choice((0, 1, 1, 2, 4, 8))
        for _ in range(changes):
            change(rng, document)
        data = json.dumps(document).encode()
        if spoilt := rng.random() < 0.1:
            buffer = bytearray(data)
            mutate.any_bytes(rng, buffer)
            data = bytes(buffer)
        return Case(self.name, data, {"kind": kind, "valid": not changes and not spoilt})

    def run(self, case: Case, folder: Path) -> str:
        del folder
        if case.options["kind"] == "kubeconfig":
            Kubeconfig.parse(case.data.decode(errors="surrogateescape"))
            return "a kubeconfig"
        answer = Answer.parse(case.data)
        found = _found(answer)
        machine = describe.machine(found, concerns.concerns(found))
        machine = with_short_notes(machine.model_copy(update={"concerns": bounded(machine.concerns)}))
        about(machine)
        if Machine.model_validate_json(machine.to_json()) != machine:
            raise Wrong("the document differs after it was stored")
        state = history.State(found.vm, found.instance)
        if state.is_settled and state.is_on:
            raise Wrong("a VM that runs is off")
        PowerMark(time=state.ready.text("lastTransitionTime"), position=state.position)
        history.Shutdown.of(found.vm)
        return "a VM"

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        del case, folder, outcome
        return ""


def _found(answer: Answer) -> Found:
    instance = answer.child("instance")
    claims = answer.elements("claims")
    return Found(
        vm=answer.child("vm"),
        instance=instance if instance.value is not None else None,
        claims={one.name: one for one in claims},
    )


def _some(rng: random.Random, settings: Json) -> Json:
    """A few of the settings."""
    return {name: copy.deepcopy(value) for name, value in settings.items() if rng.random() < 0.15}


def _document(rng: random.Random) -> Json:
    machine = vm(**_some(rng, _DOMAIN))
    spec = machine["spec"]["template"]["spec"]
    spec.update(_some(rng, _SPEC))
    devices = spec["domain"]["devices"]
    devices.update(_some(rng, _DEVICES))
    if rng.random() < 0.4:
        spec["volumes"].append({"name": "extra", **copy.deepcopy(rng.choice(_VOLUMES))})
        devices["disks"].append({"name": "extra", "disk": {}})
    for device in devices["disks"]:
        device.update(_some(rng, _DEVICE))
    for interface in devices["interfaces"]:
        interface.update(_some(rng, _NIC))
    machine["spec"]["runStrategy"] = rng.choice(_STRATEGIES)
    machine["status"] = _status(rng)
    note = rng.choice(("", "{", '{"run": "r", "instance": "i", "run_strategy": "Always"}', "[1]"))
    machine["metadata"]["annotations"][history.SHUTDOWN] = note
    machine["metadata"]["annotations"][describe.HARVESTER_MACS] = rng.choice(("", "{}", '{"lan": 7}', "["))
    if rng.random() < 0.2:
        machine["metadata"]["deletionTimestamp"] = "2026-11-30T00:00:00Z"
        machine["metadata"]["annotations"]["harvesterhci.io/reservedMemory"] = "256Mi"
    for number in range(rng.choice((0, 0, 1, 9))):
        machine["metadata"]["labels"][f"tag.harvesterhci.io/{number}"] = "x"
    found: Json = {
        "vm": machine,
        "claims": [claim(name, mode=rng.choice(("Block", "Filesystem"))) for name in CLAIMS],
    }
    if rng.random() < 0.5:
        found["instance"] = copy.deepcopy(_INSTANCE)
        found["instance"]["status"]["phase"] = rng.choice(("Running", "Pending", "Succeeded", "Failed", ""))
    return found


def _status(rng: random.Random) -> Json:
    reason = rng.choice(("VMINotExists", "PodNotExists", ""))
    condition = {"type": "Ready", "status": "False", "reason": reason, "lastTransitionTime": "2026-11-30"}
    status: dict[str, Any] = {"conditions": [condition]}
    if rng.random() < 0.2:
        status["conditions"].append({"type": "RestartRequired", "status": "True"})
    if rng.random() < 0.3:
        status["stateChangeRequests"] = [{"action": rng.choice(("Start", "Stop"))}]
    if rng.random() < 0.2:
        status["snapshotInProgress"] = "snap"
    return status
