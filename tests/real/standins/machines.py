"""Stand-in for KubeVirt's controller of VirtualMachines: run strategies, and the status of a VM.

kubevirt v1.6.0, pkg/virt-controller/watch/vm/vm.go: sync, syncRunStrategy, startVMI, stopVMI, updateStatus,
setPrintableStatus, syncStartFailureStatus. Left out: revisions, instance types, live changes, data volume
templates, the run strategies Manual, Once and WaitAsReceiver.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from steps.model.kinds import CLAIM, MACHINE, Kind, Object
from tests.real.standins import instances, seen
from tests.real.standins.api import INSTANCE
from tests.real.standins.controller import (
    Cluster,
    Controller,
    condition,
    deleting,
    key,
    log,
    now,
    owner,
    seconds_since,
)
from tests.real.standins.instances import FINAL, claims, phase

FINALIZER: Final = "kubevirt.io/virtualMachineControllerFinalize"
START: Final = {"action": "Start"}
LONGEST_DELAY: Final = 300
WATCHED: Final[tuple[Kind, ...]] = (MACHINE, INSTANCE, CLAIM)


class Machines(Controller):
    """One instance per VM that must run."""

    kind = MACHINE

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._starting: set[str] = set()
        self._stopping: set[str] = set()

    def one(self, machine: Object) -> float | None:
        seen.keep(machine)
        instance = self.cluster[INSTANCE].get(*key(machine))
        self._observe(machine, instance)
        wait = None
        if deleting(machine):
            if instance is None:
                self.let_go(machine, FINALIZER)
                return None
            self._stop(machine, instance)
        elif not self.finalize(machine, FINALIZER):
            return None
        else:
            wait = self._sync(machine, instance)
        self._say(machine, self.cluster[INSTANCE].get(*key(machine)))
        return wait

    def _observe(self, machine: Object, instance: Object | None) -> None:
        """The results of earlier writes are visible now: the `expectations` of KubeVirt's controllers."""
        uid = machine["metadata"]["uid"]
        if instance is None:
            self._stopping.discard(uid)
        else:
            self._starting.discard(uid)

    def _sync(self, machine: Object, instance: Object | None) -> float | None:
        strategy = run_strategy(machine)
        uid = machine["metadata"]["uid"]
        if uid in self._starting or uid in self._stopping:
            return None
        match strategy:
            case "Halted":
                if instance is not None:
                    self._stop(machine, instance)
            case "Always":
                if instance is None:
                    return self._start(machine)
                if phase(instance) in FINAL:
                    self._stop(machine, instance)
            case "RerunOnFailure":
                return self._rerun(machine, instance)
            case _:
                raise ValueError(f"run strategy {strategy} has no stand-in")
        return None

    def _rerun(self, machine: Object, instance: Object | None) -> float | None:
        """Restart it if it failed, not if the guest powered off."""
        status = machine.get("status") or {}
        if instance is None:
            seen = status.get("runStrategy") == "RerunOnFailure"
            return None if seen and not _wants_start(status) else self._start(machine)
        if phase(instance) in FINAL and not deleting(instance):
            if phase(instance) == "Failed" and not _wants_start(status):
                machine["status"] = {**status, "stateChangeRequests": [START]}
                machine |= self.api.update_status(machine)
            self._stop(machine, instance)
        return None

    def _start(self, machine: Object) -> float | None:
        left = _delay_left(machine.get("status") or {})
        if left > 0:
            return left
        template = copy.deepcopy(machine["spec"]["template"])
        metadata = machine["metadata"]
        log.info("kubevirt: %s/%s starts", metadata["namespace"], metadata["name"])
        self._starting.add(metadata["uid"])
        try:
            self.api.create(
                {
                    "apiVersion": INSTANCE.api_version,
                    "kind": INSTANCE.kind,
                    "metadata": {
                        **(template.get("metadata") or {}),
                        "name": metadata["name"],
                        "namespace": metadata["namespace"],
                        "finalizers": [instances.FINALIZER],
                        "ownerReferences": [owner(machine)],
                    },
                    "spec": template["spec"],
                }
            )
        except Exception:
            self._starting.discard(metadata["uid"])
            raise
        return None

    def _stop(self, machine: Object, instance: Object) -> None:
        if deleting(instance):
            return
        log.info("kubevirt: %s/%s stops", *key(machine))
        self._stopping.add(machine["metadata"]["uid"])
        try:
            self.api.delete(instance)
        except Exception:
            self._stopping.discard(machine["metadata"]["uid"])
            raise

    def _say(self, machine: Object, instance: Object | None) -> None:
        before = machine.get("status") or {}
        status = copy.deepcopy(before)
        status["created"] = instance is not None
        ready = condition((instance or {}).get("status") or {}, "Ready")
        status["ready"] = ready.get("status") == "True"
        if status.get("runStrategy") or status["created"]:
            status["runStrategy"] = run_strategy(machine)
        if instance is not None and phase(instance) not in FINAL and not deleting(instance):
            status.pop("stateChangeRequests", None)
        _count_failures(status, instance, run_strategy(machine))
        _conditions(status, instance)
        status["printableStatus"] = self._printable(machine, instance, status)
        if status != before:
            self.api.update_status({**machine, "status": status})

    def _printable(self, machine: Object, instance: Object | None, status: dict[str, Any]) -> str:
        uid = machine["metadata"]["uid"]
        now_in = phase(instance) if instance is not None else ""
        final = now_in in FINAL
        unscheduled = condition(status, "PodScheduled")
        stopping = deleting(instance or machine) or uid in self._stopping
        choice = (
            ("Terminating", deleting(machine)),
            (
                "Stopping",
                instance is not None and not final and stopping,
            ),
            ("Running", now_in == "Running"),
            ("ErrorPvcNotFound", condition(status, "Synchronized").get("reason") == "FailedPvcNotFound"),
            ("ErrorUnschedulable", unscheduled.get("reason") == "Unschedulable"),
            ("WaitingForVolumeBinding", self._waits_for_volumes(machine, instance)),
            ("Starting", (uid in self._starting) if instance is None else not final),
            ("CrashLoopBackOff", bool(status.get("startFailure")) and (instance is None or final)),
        )
        return next((text for text, holds in choice if holds), "Stopped")

    def _waits_for_volumes(self, machine: Object, instance: Object | None) -> bool:
        strategy = run_strategy(machine)
        ended = instance is not None and phase(instance) == "Succeeded"
        rerun = (instance is None and not (machine.get("status") or {}).get("runStrategy")) or not ended
        if strategy == "Halted" or (strategy == "RerunOnFailure" and not rerun):
            return False
        namespace, spec = machine["metadata"]["namespace"], machine["spec"]["template"]["spec"]
        found = (self.cluster[CLAIM].get(namespace, name) for name in claims(spec))
        return any(one is not None and one.get("status", {}).get("phase") != "Bound" for one in found)


def run_strategy(machine: Object) -> str:
    spec = machine["spec"]
    return str(spec.get("runStrategy") or ("Always" if spec.get("running") else "Halted"))


def _wants_start(status: dict[str, Any]) -> bool:
    return START in (status.get("stateChangeRequests") or [])


def _delay_left(status: dict[str, Any]) -> float:
    after = (status.get("startFailure") or {}).get("retryAfterTimestamp")
    return max(0.0, -seconds_since(after)) if after else 0.0


def _count_failures(status: dict[str, Any], instance: Object | None, strategy: str) -> None:
    """A guest that never ran is retried with backoff: 10 s, 40 s, 90 s …"""
    moments = ((instance or {}).get("status") or {}).get("phaseTransitionTimestamps") or []
    ran = any(one["phase"] == "Running" for one in moments)
    if ran or strategy == "Halted":
        status.pop("startFailure", None)
    elif instance is not None and phase(instance) == "Failed":
        before = status.get("startFailure") or {}
        uid = instance["metadata"]["uid"]
        if before.get("lastFailedVMIUID") == uid:
            return
        count = before.get("consecutiveFailCount", 0) + 1
        after = datetime.now(UTC) + timedelta(seconds=min(LONGEST_DELAY, 10 * count**2))
        status["startFailure"] = {
            "consecutiveFailCount": count,
            "lastFailedVMIUID": uid,
            "retryAfterTimestamp": after.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def _conditions(status: dict[str, Any], instance: Object | None) -> None:
    """The instance's conditions, and Ready with or without an instance."""
    if instance is None:
        choice = {"status": "False", "reason": "VMINotExists", "message": "VMI does not exist"}
        kept = [one for one in status.get("conditions") or [] if one["type"] != "Ready"]
    else:
        missing = {"status": "False", "reason": "VMIConditionMissing"}
        missing["message"] = "VMI is missing the Ready condition"
        found = copy.deepcopy((instance.get("status") or {}).get("conditions") or [])
        choice = next((one for one in found if one["type"] == "Ready"), missing)
        kept = [one for one in found if one["type"] != "Ready"]
    before = condition(status, "Ready")
    same = {part: before.get(part) for part in ("status", "reason", "message")} == {
        part: choice.get(part) for part in ("status", "reason", "message")
    }
    times = {"lastTransitionTime": before["lastTransitionTime"]} if same and before else {}
    ready = {"lastTransitionTime": now(), **choice, "type": "Ready", **times}
    status["conditions"] = [ready, *kept]
