"""Stand-in for KubeVirt's work on a VirtualMachineInstance: its pod, its guest, its phases.

kubevirt v1.6.0: pkg/virt-controller/watch/vmi/lifecycle.go (phases, Ready from the pod),
pkg/virt-controller/services/template.go (the pod), pkg/virt-handler (the guest). The pod `virt-launcher-…` is
scheduled like the real one, mounts the claims and does nothing; the guest runs on the host (see guests.py).
Networks are looked up as by multus, but not connected.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any, Final

from steps.model.kinds import CLAIM, NAD, POD, Kind, Object
from tests.real.standins import guests
from tests.real.standins.api import INSTANCE, VOLUME
from tests.real.standins.controller import Cluster, Controller, condition, deleting, key, log, now, owner
from tests.real.standins.guests import Guest
from tests.real.standins.lab import Lab
from tests.real.standins.pods import holder

FINALIZER: Final = "foregroundDeleteVirtualMachine"
FINAL: Final = ("Succeeded", "Failed")
QEMU: Final = 107
LOOK: Final = 0.3
OVERHEAD_MIB: Final = 250
"""Approximately what KubeVirt adds to the guest's memory for QEMU and itself (GetMemoryOverhead)."""
CPU_RATIO: Final = 10
"""KubeVirt's default cpuAllocationRatio: it requests a tenth of a processor for each of the guest's."""
SCHEDULING: Final = ("nodeSelector", "affinity", "tolerations")
"""Fields of an instance that its launcher's pod has, too (pkg/virt-controller/services/template.go)."""
WATCHED: Final[tuple[Kind, ...]] = (INSTANCE, POD, CLAIM, VOLUME, NAD)
Status = dict[str, Any]


class Instances(Controller):
    """`grace`: the maximum seconds for a guest to power off, whatever its VM specifies."""

    kind = INSTANCE

    def __init__(self, cluster: Cluster, lab: Lab, grace: float = guests.GRACE) -> None:
        super().__init__(cluster)
        self._lab = lab
        self._grace = grace
        self._guests: dict[str, Guest] = {}
        self._kill_at: dict[str, float] = {}

    def one(self, instance: Object) -> float | None:
        pod = self.cluster[POD].get(instance["metadata"]["namespace"], pod_name(instance))
        if deleting(instance):
            return self._end(instance, pod)
        status = copy.deepcopy(instance.get("status") or {})
        wait = self._phase(phase(instance))(instance, status, pod)
        self._say(instance, status, pod)
        return wait

    def end(self) -> None:
        for guest in self._guests.values():
            guest.close()

    def _phase(self, now_in: str) -> Callable[[Object, Status, Object | None], float | None]:
        return {
            "": self._pending,
            "Pending": self._pending,
            "Scheduling": self._scheduling,
            "Scheduled": self._scheduled,
            "Running": self._running,
        }.get(now_in, self._final)

    def _pending(self, instance: Object, status: Status, pod: Object | None) -> float | None:
        status["phase"] = "Pending"
        if pod is not None:
            status["phase"] = "Scheduling"
            return None
        namespace = instance["metadata"]["namespace"]
        held = {name: self.cluster[CLAIM].get(namespace, name) for name in claims(instance["spec"])}
        missing = [name for name, claim in held.items() if claim is None]
        if missing:
            _condition(
                status,
                "Synchronized",
                "False",
                "FailedPvcNotFound",
                f"PVC {namespace}/{missing[0]} not found",
            )
            return None
        if without := self._no_network(instance):
            words = (
                f"failed to render launch manifest: failed to locate network attachment definition {without}"
            )
            _condition(status, "Synchronized", "False", "FailedCreate", words)
            return None
        _drop(status, "Synchronized")
        self.api.create(_pod(instance, [claim for claim in held.values() if claim is not None]))
        return None

    def _no_network(self, instance: Object) -> str:
        """The first network that does not exist (NAMESPACE/NAME)."""
        for network in instance["spec"].get("networks") or []:
            if named := (network.get("multus") or {}).get("networkName"):
                namespace, _, name = named.rpartition("/")
                namespace = namespace or instance["metadata"]["namespace"]
                if self.cluster[NAD].get(namespace, name) is None:
                    return f"{namespace}/{name}"
        return ""

    def _scheduling(self, _instance: Object, status: Status, pod: Object | None) -> float | None:
        pod_status = (pod or {}).get("status") or {}
        found = condition(pod_status, "PodScheduled")
        if found.get("status") == "False":
            _condition(status, "PodScheduled", "False", found.get("reason", ""), found.get("message", ""))
        else:
            _drop(status, "PodScheduled")
        if pod is None:
            status["phase"] = "Failed"
        elif pod_status.get("phase") == "Running":
            status["phase"] = "Scheduled"
            status["nodeName"] = pod["spec"]["nodeName"]
        return None

    def _scheduled(self, instance: Object, status: Status, _pod: Object | None) -> float | None:
        uid = instance["metadata"]["uid"]
        if uid not in self._guests:
            self._guests[uid] = self._boot(instance)
        status["phase"] = "Running"
        return LOOK

    def _running(self, instance: Object, status: Status, _pod: Object | None) -> float | None:
        """An unknown guest ended with the stand-ins that ran it, as with its node."""
        guest = self._guests.get(instance["metadata"]["uid"])
        ended = guest.ended if guest else "Failed"
        if not ended:
            return LOOK
        log.info("kubevirt: %s/%s %s %s", *key(instance), ended, guest.errors if guest else "")
        status["phase"] = ended
        return None

    def _final(self, instance: Object, _status: Status, pod: Object | None) -> float | None:
        self._close(instance)
        if pod is not None:
            self.api.delete(pod)
        return None

    def _end(self, instance: Object, pod: Object | None) -> float | None:
        """Power the guest off, or end it after the grace period; then the pod, then the instance itself."""
        uid = instance["metadata"]["uid"]
        guest = self._guests.get(uid)
        if guest is not None and not guest.ended:
            if uid not in self._kill_at:
                own = instance["spec"].get("terminationGracePeriodSeconds", guests.GRACE)
                self._kill_at[uid] = time.monotonic() + min(float(own), self._grace)
                guest.power_button()
            elif time.monotonic() > self._kill_at[uid]:
                guest.kill()
            return LOOK
        self._close(instance)
        if pod is not None:
            self.api.delete(pod)
            return None
        self.let_go(instance, FINALIZER)
        return None

    def _close(self, instance: Object) -> None:
        self._kill_at.pop(instance["metadata"]["uid"], None)
        if guest := self._guests.pop(instance["metadata"]["uid"], None):
            guest.close()

    def _boot(self, instance: Object) -> Guest:
        metadata = instance["metadata"]
        named = {one["name"]: one for one in instance["spec"].get("volumes") or []}
        disks = {}
        for disk in instance["spec"]["domain"]["devices"].get("disks") or []:
            (claim,) = claims({"volumes": [named[disk["name"]]]})
            disks[disk["name"]] = self._lab.disk(self.api, metadata["namespace"], claim)
        name = f"{metadata['namespace']}-{metadata['name']}"
        console = self._lab.state / "consoles" / f"{name}.log"
        return Guest(instance, disks, self._lab.state / "guests" / name, console)

    def _say(self, instance: Object, status: Status, pod: Object | None) -> None:
        before = instance.get("status") or {}
        if status.get("phase") != before.get("phase"):
            moments = before.get("phaseTransitionTimestamps") or []
            moment = {"phase": status["phase"], "phaseTransitionTimestamp": now()}
            status["phaseTransitionTimestamps"] = [*moments, moment]
        _condition(status, "Ready", *_ready(status, pod))
        if status != before:
            self.api.update({**instance, "status": status})  # the kind has no subresource for it


def phase(instance: Object) -> str:
    return str((instance.get("status") or {}).get("phase", ""))


def claims(spec: Object) -> list[str]:
    """The claims of a VM's volumes."""
    found = []
    for volume in spec.get("volumes") or []:
        if source := volume.get("persistentVolumeClaim"):
            found.append(str(source["claimName"]))
        elif source := volume.get("dataVolume"):
            found.append(str(source["name"]))
    return found


def pod_name(instance: Object) -> str:
    """With a part of the uid where KubeVirt generates a suffix, so that there is never a second one."""
    metadata = instance["metadata"]
    return f"virt-launcher-{metadata['name'][:40]}-{metadata['uid'][:5]}"


def _ready(status: Status, pod: Object | None) -> tuple[str, str, str]:
    """syncReadyConditionFromPod."""
    if pod is None:
        return "False", "PodNotExists", "virt-launcher pod has not yet been scheduled"
    if deleting(pod) or (pod.get("status") or {}).get("phase") in FINAL:
        return "False", "PodTerminating", "virt-launcher pod is terminating"
    if status.get("phase") != "Running":
        return "False", "GuestNotRunning", "Guest VM is not reported as running"
    found = condition(pod.get("status") or {}, "Ready")
    if not found:
        return "False", "PodConditionMissing", "virt-launcher pod is missing the Ready condition"
    return found["status"], found.get("reason", ""), found.get("message", "")


def _condition(status: Status, kind: str, value: str, reason: str, message: str) -> None:
    before = condition(status, kind)
    after = {"type": kind, "status": value, "reason": reason, "message": message}
    after = {part: text for part, text in after.items() if text}
    if {part: text for part, text in before.items() if part != "lastTransitionTime"} == after:
        return
    others = [one for one in status.get("conditions") or [] if one["type"] != kind]
    status["conditions"] = [*others, {**after, "lastTransitionTime": now()}]


def _drop(status: Status, kind: str) -> None:
    status["conditions"] = [one for one in status.get("conditions") or [] if one["type"] != kind]


def _pod(instance: Object, claims: list[Object]) -> Object:
    metadata = instance["metadata"]
    labels = {
        **(metadata.get("labels") or {}),
        "kubevirt.io": "virt-launcher",
        "kubevirt.io/created-by": metadata["uid"],
        "vm.kubevirt.io/name": metadata["name"],
    }
    spec = instance["spec"]
    scheduling = {name: spec[name] for name in SCHEDULING if spec.get(name)}
    return holder(
        *(pod_name(instance), metadata["namespace"], labels, claims, owner(instance), QEMU),
        *(_resources(instance), scheduling),
    )


def _resources(instance: Object) -> dict[str, Any]:
    domain = instance["spec"]["domain"]
    cpu = domain.get("cpu") or {}
    processors = cpu.get("sockets", 1) * cpu.get("cores", 1) * cpu.get("threads", 1)
    asked = (domain.get("resources") or {}).get("requests") or {}
    memory = asked.get("memory") or (domain.get("memory") or {}).get("guest", "512Mi")
    if memory.endswith("Mi"):
        memory = f"{int(memory[:-2]) + OVERHEAD_MIB}Mi"
    return {"requests": {"cpu": asked.get("cpu", f"{1000 * processors // CPU_RATIO}m"), "memory": memory}}
