"""A cluster in memory with everything that an import needs, and the controller's reconciles, one by one.

The test replaces Argo: `World.argo` writes a Workflow's status as the real Argo shows it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from controller.operator.cache import StatusCache
from controller.operator.checkpods.runner import CheckPods
from controller.operator.observe.facts import run_of
from controller.operator.options import Options
from controller.operator.reconcile import reconcile
from steps.model import names
from steps.model.kinds import (
    CONFIG_MAP,
    EVENT,
    IMPORT,
    MACHINE,
    NAD,
    POD,
    SECRET,
    SOURCES,
    STORAGE_CLASS,
    WORKFLOW,
    WORKFLOW_TEMPLATE,
    Object,
)
from steps.model.log_text import to_lines
from steps.model.sources import SourceKind
from steps.model.target_answer import TargetAnswer
from steps.runtime.program import MACHINE as MACHINE_FILE
from tests.unit.builders import a_machine
from tests.unit.controller.operator.kubelet import FakeNode, Kubelet, Scripted
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster
from tests.unit.workflows.status.situations import exited
from workflows import argo_names
from workflows.api.conditions import find
from workflows.api.status import Condition, ImportStatus
from workflows.status.phase import SUCCEEDED

KEY = ("default", "web")
UID = "6f1d0000-0000-4000-8000-000000000001"
START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
GATE = "approve-poweroff"


class World:
    """See above."""

    def __init__(self, **spec: Any) -> None:
        self.cluster = FakeCluster()
        self.options = Options()
        self.now = START
        self.foreign: str | None = None
        self.script = Scripted()
        self.target_answer: TargetAnswer | None = TargetAnswer()
        self.asked: list[str] = []
        """The pods in which the target was asked, once for each look at them."""
        self.kubelet = Kubelet(FakeNode(self.cluster), self.script, self._seconds)
        self.checks = CheckPods(self.cluster, self.options, clock=self._seconds)
        self.ledger = StatusCache(lambda: self.foreign, clock=self._seconds)
        self._surroundings()
        self.apply(**spec)

    def _seconds(self) -> float:
        return self.now.timestamp()

    # --- a user

    def apply(self, **spec: Any) -> None:
        """`kubectl apply` of the import; omitted fields keep their values."""
        given = {
            "virtualMachineName": "web01",
            "sourceCluster": {
                "apiVersion": "migration.harvesterhci.io/v1beta1",
                "kind": "VmwareSource",
                "name": "vcenter",
                "namespace": "default",
            },
        }
        found = self.cluster.peek(IMPORT, KEY[1], KEY[0])
        if found is None:
            metadata = {"name": KEY[1], "namespace": KEY[0], "uid": UID, "generation": 1}
            self.cluster.put(_object(IMPORT, metadata, spec=given | spec))
            return
        found["spec"] |= spec
        found["metadata"]["generation"] += 1

    def annotate(self, **notes: str) -> None:
        marks = {f"migration.harvesterhci.io/{name}": value for name, value in notes.items()}
        self.cluster.patch(IMPORT, KEY[1], {"metadata": {"annotations": marks}}, KEY[0])

    def delete(self) -> None:
        self.cluster.drop(IMPORT, KEY[1], KEY[0])
        found = self.cluster.peek(IMPORT, KEY[1], KEY[0])
        if found is not None:
            found["metadata"]["deletionTimestamp"] = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    # --- the controller

    def look(self, times: int = 1) -> float | None:
        """Reconcile, each time a few seconds after the last one."""
        again: float | None = None
        for _ in range(times):
            self.now += timedelta(seconds=5)
            again = reconcile(self.cluster, self.options, KEY, self.ledger, lambda: self.now, self.checks)
            self.kubelet.sync()
            self._answer_for_target()
        return again

    def _answer_for_target(self) -> None:
        """End the pods in which dry runs ask the target; with None they run on."""
        for pod in self.cluster.all(POD, self.options.namespace):
            name = pod["metadata"]["name"]
            request = self.cluster.peek(CONFIG_MAP, name, self.options.namespace)
            if not name.endswith("-dry-run-1") or "status" in pod or request is None:
                continue
            self.asked.append(name)
            if self.target_answer is not None:
                log = "\n".join(["before", *to_lines(self.target_answer.to_output())])
                self.cluster.logs[self.options.namespace, name] = log
                pod["status"] = {"phase": "Succeeded"}

    # --- Argo

    def argo(self, *nodes: Object, phase: str = "Running", name: str = "", **more: Any) -> None:
        """Write the newest Workflow's status as Argo does.

        `tests.unit.workflows.status.situations` makes the nodes. A Workflow that succeeds or fails has run
        its exit handler, here one that has left nothing unless a test gives another.
        """
        if phase in ("Succeeded", "Failed") and not any(".onExit" in node["name"] for node in nodes):
            nodes = (*nodes, exited())
        workflow = self.cluster.peek(WORKFLOW, name or self.workflows()[-1], self.options.namespace)
        assert workflow is not None
        run = workflow["metadata"]["name"]
        renamed = {str(number): _renamed(node, run) for number, node in enumerate(nodes)}
        workflow["status"] = {"phase": phase, "nodes": renamed, **more}

    def found(self) -> None:
        """Publish the result of preflight."""
        metadata = {"name": names.machine(self.run), "namespace": self.options.namespace}
        data = {MACHINE_FILE: a_machine().to_json()}
        self.cluster.put(_object(CONFIG_MAP, metadata, data=data))

    # --- current objects

    @property
    def raw(self) -> Object | None:
        return self.cluster.peek(IMPORT, KEY[1], KEY[0])

    @property
    def status(self) -> ImportStatus:
        assert self.raw is not None
        return ImportStatus.read(self.raw.get("status"))

    @property
    def summary(self) -> Condition:
        found = find(self.status.import_conditions, SUCCEEDED)
        assert found is not None
        return found

    @property
    def run(self) -> str:
        assert self.raw is not None
        return run_of(self.raw, self.status)

    def notes(self) -> Mapping[str, str]:
        assert self.raw is not None
        return self.raw["metadata"].get("annotations") or {}

    def workflows(self) -> list[str]:
        return [one["metadata"]["name"] for one in self.cluster.all(WORKFLOW, self.options.namespace)]

    def workflow(self) -> Object:
        found = self.cluster.peek(WORKFLOW, self.workflows()[-1], self.options.namespace)
        assert found is not None
        return found

    def secret(self, name: str) -> Object | None:
        return self.cluster.peek(SECRET, name, self.options.namespace)

    def events(self) -> list[str]:
        return [one["reason"] for one in self.cluster.all(EVENT, KEY[0])]

    def warnings(self) -> list[str]:
        return [one["reason"] for one in self.cluster.all(EVENT, KEY[0]) if one["type"] == "Warning"]

    # --- inside

    def _surroundings(self) -> None:
        self.cluster.namespaces |= {"harvester-system"}
        put, release = self.cluster.put, self.options.namespace
        put(_object(STORAGE_CLASS, {"name": "fast"}))
        default = {"storageclass.kubernetes.io/is-default-class": "true"}
        put(_object(STORAGE_CLASS, {"name": "default", "annotations": default}, provisioner="local"))
        put(_object(NAD, {"name": "vlan1", "namespace": "default"}))
        put(_object(WORKFLOW_TEMPLATE, {"name": "vmferry-vmware", "namespace": release}))
        limits = {"default.machines": "2", "default.streams": "4"}
        put(_object(CONFIG_MAP, {"name": argo_names.LIMITS, "namespace": release}, data=limits))
        self.set_password("secret")
        self.set_source("clusterReady")

    def set_password(self, password: str) -> None:
        data = {
            key: base64.b64encode(value.encode()).decode()
            for key, value in {"username": "ferry", "password": password}.items()
        }
        self.cluster.put(_object(SECRET, {"name": "credentials", "namespace": "default"}, data=data))

    def set_source(self, status: str, message: str = "", reason: str = "") -> None:
        """Write the status of the source; with `reason`, the condition about its error says it since now."""
        metadata = {"name": "vcenter", "namespace": "default", "generation": 1}
        spec = {
            "endpoint": "https://vcenter/sdk",
            "dc": "DC0",
            "credentials": {"name": "credentials", "namespace": "default"},
        }
        state: Object = {"status": status, "message": message, "observedGeneration": 1}
        if reason:
            error = {"type": "ClusterError", "status": "True", "reason": reason, "message": message}
            state["conditions"] = [{**error, "lastTransitionTime": self.now.strftime("%Y-%m-%dT%H:%M:%SZ")}]
        self.cluster.put(_object(SOURCES[SourceKind.VMWARE], metadata, spec=spec, status=state))


def vm_of_others(name: str) -> Object:
    return _object(MACHINE, {"name": name, "namespace": "default"}, spec={})


def _object(kind: Any, metadata: Object, **parts: Any) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **parts}


def _renamed(node: Object, run: str) -> Object:
    return {**node, "name": run + "." + node["name"].partition(".")[2]}
