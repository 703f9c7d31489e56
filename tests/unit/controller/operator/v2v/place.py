"""A cluster in memory with an import of `v2v.kubevirt.io`, and the controller's reconciles, one by one.

A Secret is checked in pods of the stand-in for the kubelet; `answer` is how a check ends.
"""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any, Final

from controller.operator import v2v_state
from controller.operator.checkpods.check import Owner
from controller.operator.checkpods.runner import CheckPods
from controller.operator.observe.facts import run_of
from controller.operator.reconcile import reconcile
from controller.operator.routing import ImportKey, SourceKey
from controller.operator.sources.reconcile import SourceReconciler
from controller.operator.sources.users import SecretUsers
from steps.model.kinds import (
    CONFIG_MAP,
    DATA_VOLUME,
    EVENT,
    IMPORTS,
    MACHINE,
    RESOURCE_MAPPING,
    SECRET,
    SECRET_SOURCES,
    V2V_IMPORT,
    WORKFLOW_TEMPLATE,
    Object,
)
from steps.model.sources import SourceKind
from tests.unit.controller.operator.kubelet import Exited, FakeNode, Kubelet, Scripted
from tests.unit.controller.operator.world import UID, World
from tests.unit.workflows.status.situations import found, node
from workflows.api.status import ImportStatus
from workflows.api.v2v import V2vCondition, V2vStatus

KEY: Final = ImportKey("default", "web", V2V_IMPORT)
SECRET_KEY: Final = SourceKey(SECRET_SOURCES[SourceKind.VMWARE], "default", "vcenter-login")
LOGIN: Final = """\
# API URL of the vCenter
apiUrl: "https://vcenter.example.com/sdk"
username: administrator@vsphere.local
password: 0123456
thumbprint: 21:EA:74:11:59:89:5E:20:D5:D9:A2:39:5C:6A:2D:36:38:B2:52:2B
"""
POD_ROW: Final = {"source": {"name": "VM Network"}, "target": {"name": "pod"}, "type": "pod"}


class V2vWorld(World):
    """See above."""

    def __init__(self, **spec: Any) -> None:
        self.sources_due: set[SourceKey] = set()
        self.uses = SecretUsers(self.sources_due.add)
        self.answer = Exited(0)
        self.tick = 5.0
        """Seconds before a reconcile."""
        super().__init__(**spec)
        script = Scripted(lambda *_: self.answer)
        self.kubelet = Kubelet(FakeNode(self.cluster), script, self._seconds)
        self.checks = CheckPods(self.cluster, self.options, self._due_again, self._seconds)
        self.sources = SourceReconciler(
            self.cluster, self.options, self.checks, lambda: self.now, secrets=self.uses
        )

    def _due_again(self, owner: Owner) -> None:
        self.sources_due.add(SourceKey(*owner))

    def _surroundings(self) -> None:
        super()._surroundings()
        template = {"name": "vmferry-ovirt", "namespace": self.options.namespace}
        self.cluster.put(
            {
                "apiVersion": WORKFLOW_TEMPLATE.api_version,
                "kind": WORKFLOW_TEMPLATE.kind,
                "metadata": template,
            }
        )
        self.put_secret("vcenter-login", vmware=LOGIN)

    # --- a user

    def apply(self, **spec: Any) -> None:
        given: Object = {
            "providerCredentialsSecret": {"name": "vcenter-login"},
            "source": {"vmware": {"vm": {"name": "web01"}, "mappings": {"networkMappings": [POD_ROW]}}},
            "startVm": True,
        }
        there = self.cluster.peek(V2V_IMPORT, KEY.name, KEY.namespace)
        if there is None:
            metadata = {"name": KEY.name, "namespace": KEY.namespace, "uid": UID, "generation": 1}
            self.cluster.put(an_object(V2V_IMPORT.api_version, V2V_IMPORT.kind, metadata, given | spec))
            return
        there["spec"] |= spec
        there["metadata"]["generation"] += 1

    def put_secret(self, name: str, namespace: str = "default", **blobs: str) -> None:
        data = {key: base64.b64encode(text.encode()).decode() for key, text in blobs.items()}
        there = self.cluster.peek(SECRET, name, namespace)
        metadata = there["metadata"] if there is not None else {"name": name, "namespace": namespace}
        self.cluster.put({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})

    def put_mapping(self, name: str, spec: Object, namespace: str = "default") -> None:
        metadata = {"name": name, "namespace": namespace}
        self.cluster.put(an_object(RESOURCE_MAPPING.api_version, RESOURCE_MAPPING.kind, metadata, spec))

    def annotate(self, **notes: str) -> None:
        marks = {f"migration.harvesterhci.io/{name}": value for name, value in notes.items()}
        self.cluster.patch(V2V_IMPORT, KEY.name, {"metadata": {"annotations": marks}}, KEY.namespace)

    def delete(self) -> None:
        self.cluster.drop(V2V_IMPORT, KEY.name, KEY.namespace)
        there = self.cluster.peek(V2V_IMPORT, KEY.name, KEY.namespace)
        if there is not None:
            there["metadata"]["deletionTimestamp"] = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    # --- the controller

    def look(self, times: int = 1) -> float | None:
        """Reconcile the import, each time a few seconds after the last one; without its Secret."""
        again: float | None = None
        for _ in range(times):
            self.now += timedelta(seconds=self.tick)
            again = reconcile(
                self.cluster,
                self.options,
                KEY,
                self.ledger,
                lambda: self.now,
                self.checks,
                secrets=self.uses,
            )
            self.kubelet.sync()
        return again

    def checks_of(self) -> list[SourceKey]:
        """The Secrets that are needed."""
        return [SourceKey(*source) for source in self.uses._needs]

    def check_secrets(self) -> None:
        """Reconcile the Secrets until nothing is due now."""
        for _ in range(6):
            for key in sorted(self.sources_due):
                self.sources_due.discard(key)
                self.sources.reconcile(key)
            self.kubelet.sync()
            self.checks.poll()

    def begin(self) -> None:
        """Until the Workflow exists."""
        self.look()
        self.check_secrets()
        self.look()

    def preflight_done(self) -> None:
        """Preflight and admit have succeeded, and their result is there."""
        self.found()
        self.argo(found(), node("poweroff", "Running"))
        self.look()

    # --- current objects

    @property
    def raw(self) -> Object | None:
        return self.cluster.peek(V2V_IMPORT, KEY.name, KEY.namespace)

    @property
    def status(self) -> ImportStatus:
        """The engine's."""
        known = v2v_state.read_import(self.cluster, self.options.namespace, UID)
        return known if known is not None else ImportStatus()

    @property
    def run(self) -> str:
        assert self.raw is not None
        return run_of(self.raw, self.status)

    @property
    def shown(self) -> V2vStatus:
        assert self.raw is not None
        return V2vStatus.read(self.raw.get("status"))

    def condition(self, kind: str) -> V2vCondition:
        found_one = self.shown.condition(kind)
        assert found_one is not None, [one.type for one in self.shown.conditions]
        return found_one

    def verdicts(self) -> dict[str, tuple[str, str]]:
        """Status and reason of every condition."""
        return {one.type: (one.status, one.reason) for one in self.shown.conditions}

    def progress(self) -> str:
        return str(self.notes().get("vmimport.v2v.kubevirt.io/progress", ""))

    def event_texts(self) -> list[str]:
        return [f"{one['reason']}: {one['message']}" for one in self.cluster.all(EVENT, KEY.namespace)]

    def made(self) -> list[str]:
        """The kinds of objects outside of the release namespace that the controller has made."""
        writes = [call for call in self.cluster.calls if call.verb == "create"]
        return sorted({call.kind.kind for call in writes if call.namespace != self.options.namespace})


def an_object(api_version: str, kind: str, metadata: Object, spec: Object) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}


__all__ = ["CONFIG_MAP", "DATA_VOLUME", "IMPORTS", "KEY", "MACHINE", "V2vWorld"]
