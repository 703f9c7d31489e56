"""The state of a stand-in cluster, and what KubeVirt's controllers do with it.

Behaves as KubeVirt v1.8.4 does: pkg/virt-api/rest/lifecycle.go (start, stop), pkg/virt-controller/watch/vm
(run strategies, the condition Ready), pkg/storage/export/export and pkg/storage/admitters/vmexport.go
(exports). Time passes in ticks: each read of an object is one. So no test waits.
"""

from __future__ import annotations

import copy
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.unit.steps.providers.kubevirt.documents import CLAIMS, NAMESPACE, Json, claim, vm

GATE_OFF: Final = (
    'admission webhook "virtualmachineexport-validator.export.kubevirt.io" denied the request: '
    "vm export feature gate not enabled"
)
NO_INSTANCE: Final = ("False", "VMINotExists")
Key = tuple[str, str]
"""Plural and name, in the namespace of the tests."""


class Refusal(Exception):  # noqa: N818 - an answer
    """An error answer: status, reason and message of a Status."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


@dataclass
class Cluster:
    """One namespace with a VM, and the controllers of KubeVirt."""

    gate: bool = True
    harvester: bool = False
    stop_ticks: int = 2
    """Ticks until a guest has shut down; a guest that ignores ACPI is ended after its grace period."""
    export_ticks: int = 1
    denied: set[tuple[str, str]] = field(default_factory=set)
    """Verbs and resources that the account lacks."""
    kubevirt_visible: bool = True
    keeps_ended: bool = False
    """Before 1.8: under RerunOnFailure an instance that has succeeded stays."""
    objects: dict[Key, Json] = field(default_factory=dict)
    stops: int = 0
    """How often the VM was asked to stop."""
    starts: int = 0
    grace: int | None = None
    """The grace period of the last stop."""
    formats: tuple[str, ...] = ("raw", "gzip")
    external: str = ""
    """Base of the external links; empty: KubeVirt knows no Ingress."""
    internal: str = ""
    certificate: str = ""
    _clock: datetime = datetime(2026, 11, 30, 10, 0, tzinfo=UTC)
    _version: int = 100
    _due: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in CLAIMS:
            self.put("persistentvolumeclaims", claim(name))
        self.put("virtualmachines", vm())
        self.put("network-attachment-definitions", {"metadata": {"name": "vlan10", "namespace": NAMESPACE}})
        self._start_instance(self.vm)
        self.instance["status"]["phase"] = "Running"
        self._sync()

    @property
    def vm(self) -> Json:
        return self.objects["virtualmachines", "web"]

    @property
    def instance(self) -> Json:
        return self.objects["virtualmachineinstances", "web"]

    @property
    def has_instance(self) -> bool:
        return ("virtualmachineinstances", "web") in self.objects

    def put(self, plural: str, document: Json) -> Json:
        document["metadata"].setdefault("uid", str(uuid.uuid4()))
        document["metadata"].setdefault("creationTimestamp", self.now())
        self.objects[plural, document["metadata"]["name"]] = document
        self._touch(document)
        return document

    def now(self) -> str:
        self._clock += timedelta(seconds=1)
        return self._clock.strftime("%Y-%m-%dT%H:%M:%SZ")

    def held(self) -> int:
        """Exports and Secrets."""
        return sum(plural in ("virtualmachineexports", "secrets") for plural, _ in self.objects)

    def halt(self) -> None:
        """Somebody else stops the VM, and it is off at once."""
        self.vm["spec"]["runStrategy"] = "Halted"
        self.objects.pop(("virtualmachineinstances", "web"), None)
        self._sync()

    def end_guest(self, phase: str = "Succeeded") -> None:
        """The guest shuts itself down."""
        self.instance["status"]["phase"] = phase
        self._sync()

    # --- the API server

    def get(self, plural: str, name: str) -> Json:
        self.tick()
        found = self.objects.get((plural, name))
        if found is None:
            raise Refusal(404, "NotFound", f'{plural} "{name}" not found')
        return found

    def create(self, plural: str, document: Json, *, dry_run: bool) -> Json:
        name = document["metadata"]["name"]
        if plural == "virtualmachineexports":
            if not self.gate:
                raise Refusal(400, "BadRequest", GATE_OFF)
            if document["spec"]["source"].get("apiGroup") not in (None, ""):
                raise Refusal(422, "Invalid", "PVC API group must be missing or blank")
        if dry_run:
            return document
        if (plural, name) in self.objects:
            raise Refusal(409, "AlreadyExists", f'{plural} "{name}" already exists')
        document = copy.deepcopy(document)
        document["metadata"].pop("uid", None)
        return self.put(plural, document)

    def patch(self, plural: str, name: str, change: Json) -> Json:
        found = self.get(plural, name)
        version = change.get("metadata", {}).pop("resourceVersion", None)
        if version not in (None, found["metadata"]["resourceVersion"]):
            raise Refusal(409, "Conflict", "the object has been modified; please apply your changes")
        before = copy.deepcopy(found["spec"])
        _merge(found, change)
        if found["spec"] != before:
            found["metadata"]["generation"] += 1
        self._touch(found)
        self._sync()
        return found

    def delete(self, plural: str, name: str, uid: str) -> None:
        found = self.objects.get((plural, name))
        if found is None:
            raise Refusal(404, "NotFound", f'{plural} "{name}" not found')
        if uid and uid != found["metadata"]["uid"]:
            raise Refusal(409, "Conflict", "the UID in the precondition does not match")
        del self.objects[plural, name]
        self._collect(found["metadata"]["uid"])

    def _collect(self, uid: str) -> None:
        """The garbage collector: what an object owned goes with it."""
        for key, other in list(self.objects.items()):
            owners = other["metadata"].get("ownerReferences", ())
            if any(owner["uid"] == uid for owner in owners):
                del self.objects[key]

    def allows(self, verb: str, resource: str) -> bool:
        return (verb, resource) not in self.denied

    # --- start and stop (virt-api)

    def stop(self, grace: int | None) -> None:
        self.stops, self.grace = self.stops + 1, grace
        strategy, running = self.run_strategy, self.has_instance and not self._is_final()
        if strategy in ("RerunOnFailure", "Manual"):
            if not running:
                raise Refusal(409, "Conflict", "VM is not running")
            self.vm["status"]["stateChangeRequests"] = [
                {"action": "Stop", "uid": self.instance["metadata"]["uid"]}
            ]
        elif strategy == "Halted":
            raise Refusal(409, "Conflict", "Halted only supports manual stop requests with a shorter grace")
        else:
            self._set_running(running=False)
        if running and grace is not None:
            self.instance["spec"]["terminationGracePeriodSeconds"] = grace
        self._sync()

    def start(self) -> None:
        self.starts += 1
        if self.has_instance and not self._is_final():
            raise Refusal(409, "Conflict", "VM is already running")
        if self.run_strategy == "Halted":
            self._set_running(running=True)
        elif self.run_strategy in ("RerunOnFailure", "Manual"):
            self.vm["status"]["stateChangeRequests"] = [{"action": "Start"}]
        else:
            raise Refusal(409, "Conflict", f"{self.run_strategy} does not support manual start requests")
        self._sync()

    def _set_running(self, *, running: bool) -> None:
        spec = self.vm["spec"]
        if "running" in spec:
            spec["running"] = running
        else:
            spec["runStrategy"] = "Always" if running else "Halted"
        self.vm["metadata"]["generation"] += 1

    @property
    def run_strategy(self) -> str:
        spec = self.vm["spec"]
        if "running" in spec:
            return "Always" if spec["running"] else "Halted"
        return str(spec["runStrategy"])

    # --- the controllers

    def tick(self) -> None:
        """Let a little time pass."""
        for name in [name for name in self._due if self._due[name] > 0]:
            self._due[name] -= 1
        if self.has_instance:
            self._advance_instance()
        self._sync()

    def _advance_instance(self) -> None:
        instance = self.instance
        status, metadata = instance["status"], instance["metadata"]
        if "deletionTimestamp" in metadata:
            hard = instance["spec"].get("terminationGracePeriodSeconds") == 0
            if hard or not self._due.setdefault("stop", self.stop_ticks):
                self._due.pop("stop", None)
                del self.objects["virtualmachineinstances", "web"]
        elif status["phase"] == "Pending":
            status["phase"] = "Scheduling"
            status["conditions"] = [_condition("Ready", "False", "PodNotExists", None)]
        elif status["phase"] == "Scheduling":
            status["phase"] = "Running"
            status["conditions"] = [_condition("Ready", "True", "", self.now())]

    def _sync(self) -> None:
        """virt-controller, for the VM and then for the exports."""
        if ("virtualmachines", "web") in self.objects:
            self._sync_run_strategy()
            self._sync_conditions()
        for (plural, _), export in list(self.objects.items()):
            if plural == "virtualmachineexports":
                self._sync_export(export)

    def _sync_run_strategy(self) -> None:
        status, strategy = self.vm["status"], self.run_strategy
        requests = status.get("stateChangeRequests", [])
        if self.has_instance:
            wants_stop = any(request["action"] == "Stop" for request in requests)
            ended = strategy == "Halted" or wants_stop or (self._is_final() and strategy == "Always")
            if ended or (self._is_final() and strategy == "RerunOnFailure" and not self.keeps_ended):
                self.instance["metadata"].setdefault("deletionTimestamp", self.now())
            return
        wants_start = any(request["action"] == "Start" for request in requests)
        if strategy in ("Always", "Once") or wants_start:
            self._start_instance(self.vm)
        status["stateChangeRequests"] = []

    def _start_instance(self, machine: Json) -> None:
        document: Json = {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstance",
            "metadata": {"name": "web", "namespace": NAMESPACE},
            "spec": copy.deepcopy(machine["spec"]["template"]["spec"]),
            "status": {"phase": "Pending", "conditions": []},
        }
        self.put("virtualmachineinstances", document)

    def _sync_conditions(self) -> None:
        """A condition is replaced when its status or reason changes, with the time of that."""
        status = self.vm["status"]
        wanted = _condition("Ready", *NO_INSTANCE, self.now())
        if self.has_instance:
            own = self.instance["status"]["conditions"]
            wanted = own[0] if own else _condition("Ready", "False", "VMIConditionMissing", self.now())
        conditions = status.setdefault("conditions", [])
        before = copy.deepcopy(conditions)
        if not conditions:
            conditions.append(dict(wanted))
        elif (conditions[0]["status"], conditions[0]["reason"]) != (wanted["status"], wanted["reason"]):
            conditions[0] = dict(wanted)
        shown = "Stopped" if not self.has_instance or self._is_final() else "Running"
        if self.has_instance and "deletionTimestamp" in self.instance["metadata"]:
            shown = "Stopping"
        if status.get("printableStatus") != shown or status["conditions"] != before:
            status["printableStatus"] = shown
            self._touch(self.vm)

    def _is_final(self) -> bool:
        return self.instance["status"]["phase"] in ("Succeeded", "Failed")

    def _sync_export(self, export: Json) -> None:
        name, source = export["metadata"]["name"], export["spec"]["source"]["name"]
        status = export.setdefault("status", {})
        used = self.has_instance and not self._is_final() and source in CLAIMS
        if used:
            self._due.pop(name, None)
            message = f"PersistentVolumeClaim {NAMESPACE}/{source} is in use"
            status |= {"phase": "Pending", "links": {}}
            status["conditions"] = [_condition("Ready", "False", "InUse", self.now(), message)]
            return
        has_token = ("secrets", export["spec"]["tokenSecretRef"]) in self.objects
        if not has_token or self._due.setdefault(name, self.export_ticks):
            status |= {"phase": "Pending", "links": {}}
            status["conditions"] = [_condition("Ready", "False", "PodPending", self.now())]
            return
        status |= {"phase": "Ready", "links": self._links(name, source)}
        status["conditions"] = [_condition("Ready", "True", "PodReady", self.now())]

    def _links(self, export: str, source: str) -> Json:
        files = {"raw": "disk.img", "gzip": "disk.img.gz", "dir": "dir", "tar.gz": "disk.tar.gz"}
        proxied = f"/api/export.kubevirt.io/v1beta1/namespaces/{NAMESPACE}/virtualmachineexports/{export}"
        bases = {"internal": self.internal, "external": self.external and self.external + proxied}
        return {
            kind: {
                "cert": self.certificate,
                "volumes": [
                    {
                        "name": source,
                        "formats": [
                            {"format": one, "url": f"{base}/volumes/{source}/{files[one]}"}
                            for one in self.formats
                        ],
                    }
                ],
            }
            for kind, base in bases.items()
            if base
        }

    def _touch(self, document: Json) -> None:
        self._version += 1
        document["metadata"]["resourceVersion"] = str(self._version)


def _condition(kind: str, status: str, reason: str, time: str | None, message: str = "") -> Json:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": time,
    }


def _merge(target: Json, change: Json) -> None:
    """A JSON merge patch (RFC 7396)."""
    for key, value in change.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            part: Any = target.get(key)
            if not isinstance(part, dict):
                part = target[key] = {}
            _merge(part, value)
        else:
            target[key] = value
