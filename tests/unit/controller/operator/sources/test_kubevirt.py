"""A KubeVirtSource in the controller: its checks, its credentials as files, grants, limits."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any, Final

import pytest

from controller.operator.checkpods.runner import CheckPods
from controller.operator.options import Options
from controller.operator.routing import SourceKey
from controller.operator.sources.reconcile import SourceReconciler
from steps.model import names
from steps.model.kinds import CONFIG_MAP, SECRET, SOURCES, WORKFLOW_TEMPLATE, Object
from steps.model.plan import Plan, SourcePlan
from steps.model.sources import SourceKind
from steps.runtime.program import PLAN
from tests.unit.controller.operator.kubelet import (
    Container,
    Exited,
    FakeNode,
    Files,
    Kubelet,
    Scripted,
    check_pods,
    credentials,
    request,
)
from tests.unit.controller.operator.world import World
from workflows.api.status import SourceStatus

KIND: Final = SOURCES[SourceKind.KUBEVIRT]
ENDPOINT: Final = "https://api.example:6443"
ALLOWED: Final = "migration.harvesterhci.io/allowed-namespaces"


def kubeconfig(token: str) -> str:
    return json.dumps(
        {
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
            "clusters": [{"name": "c", "cluster": {"server": ENDPOINT}}],
            "users": [{"name": "u", "user": {"token": token}}],
        }
    )


class KubeVirtPlace:
    """A KubeVirtSource in a namespace, the controller, and a kubelet whose checks end with `answer`."""

    def __init__(self, namespace: str = "default") -> None:
        self.world, self.namespace = World(), namespace
        self.cluster = self.world.cluster
        self.answer = Exited(0)
        self.mounted: list[dict[str, bytes]] = []
        """The credentials of each check."""
        self.pods: list[Object] = []
        self.plans: list[SourcePlan] = []
        scripted = Scripted(lambda *_: self.answer)

        def start(pod: Object, files: Files) -> Container:
            self.pods.append(pod)
            self.mounted.append(credentials(files))
            self.plans.append(SourcePlan.model_validate_json(request(files)))
            return scripted(pod, files)

        self.kubelet = Kubelet(FakeNode(self.cluster), start, self._seconds)
        self.is_due = False
        self.checks = CheckPods(self.cluster, Options(), lambda _: self._requeue(), self._seconds)
        self.reconciler = SourceReconciler(self.cluster, Options(), self.checks, lambda: self.world.now)
        self.cluster.namespaces |= {namespace}
        release = self.world.options.namespace
        template = {"name": "vmferry-kubevirt", "namespace": release}
        self.cluster.put({**_typed(WORKFLOW_TEMPLATE), "metadata": template})
        self.set_token("first")
        self.put_source()

    def put_source(self, **annotations: str) -> None:
        metadata = {
            "name": "cluster",
            "namespace": self.namespace,
            "generation": 1,
            "annotations": annotations,
        }
        login = {"name": "login", "namespace": self.namespace}
        spec = {"endpoint": ENDPOINT, "namespace": "shop", "credentials": login}
        before = self.cluster.peek(KIND, "cluster", self.namespace)
        status = before["status"] if before is not None else {}
        self.cluster.put({**_typed(KIND), "metadata": metadata, "spec": spec, "status": status})

    def set_token(self, token: str) -> None:
        keys = {"kubeconfig": kubeconfig(token), "other": "not for the step"}
        data = {key: base64.b64encode(text.encode()).decode() for key, text in keys.items()}
        metadata = {"name": "login", "namespace": self.namespace}
        self.cluster.put({**_typed(SECRET), "metadata": metadata, "data": data})

    def look(self, later: float = 0) -> float | None:
        """Reconcile the source until nothing is due now."""
        self.world.now += timedelta(seconds=later)
        self.is_due, again = True, None
        while self.is_due:
            self.is_due = False
            again = self.reconciler.reconcile(SourceKey(KIND, self.namespace, "cluster"))
            self.kubelet.sync()
            self.checks.poll()
        return again

    @property
    def status(self) -> SourceStatus:
        found = self.cluster.peek(KIND, "cluster", self.namespace)
        assert found is not None
        return SourceStatus.read(found.get("status"))

    def import_from_it(self) -> None:
        reference = {**_typed(KIND), "name": "cluster", "namespace": self.namespace}
        self.world.apply(sourceCluster=reference)
        self.world.look(2)

    def _requeue(self) -> None:
        self.is_due = True

    def _seconds(self) -> float:
        return self.world.now.timestamp()


def _typed(kind: Any) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.kind}


def test_it_is_verified_and_verified_again() -> None:
    place = KubeVirtPlace()
    assert place.look() == Options().recheck_seconds
    assert place.status.status == "clusterReady"
    place.look(Options().recheck_seconds)
    assert len(place.mounted) == 2
    assert check_pods(place.cluster) == []


def test_a_cluster_without_the_feature_gate_is_not_ready_with_the_words_of_the_check() -> None:
    place = KubeVirtPlace()
    place.answer = Exited(16, "the feature gate VMExport is off. turn it on: kubectl patch kubevirt")
    place.look()
    assert place.status.status == "clusterNotReady"
    assert "kubectl patch kubevirt" in place.status.message
    place.answer = Exited(0)
    place.look(3600)
    assert place.status.status == "clusterReady"


def test_a_new_kubeconfig_is_checked_at_the_next_reconcile() -> None:
    place = KubeVirtPlace()
    place.look()
    place.set_token("second")
    place.look(1)
    assert [b"second" in mounted["kubeconfig"] for mounted in place.mounted] == [False, True]


def test_the_kubeconfig_is_a_file_and_nothing_else_is_mounted() -> None:
    place = KubeVirtPlace()
    place.look()
    assert [set(mounted) for mounted in place.mounted] == [{"kubeconfig"}]
    assert "first" not in json.dumps(place.pods)
    assert place.plans[0].vm_namespace == "shop"


def test_an_import_starts_with_the_kubeconfig_in_a_secret_of_its_run() -> None:
    place = KubeVirtPlace()
    place.look()
    place.import_from_it()
    assert place.world.workflows() == [place.world.run]
    secret = place.world.secret(names.credentials(place.world.run))
    assert secret is not None
    assert set(secret["data"]) == {"kubeconfig"}
    assert '"first"' not in json.dumps(place.world.workflow())
    request_ = place.cluster.peek(CONFIG_MAP, names.request(place.world.run), place.world.options.namespace)
    assert request_ is not None
    plan = Plan.model_validate_json(request_["data"][PLAN])
    assert (plan.source.kind, plan.source.endpoint) == (SourceKind.KUBEVIRT, ENDPOINT)


@pytest.mark.parametrize("granted", [False, True])
def test_an_import_of_another_namespace_needs_a_grant(granted: bool) -> None:
    place = KubeVirtPlace("sources")
    place.look()
    if granted:
        place.put_source(**{ALLOWED: "default"})
    place.import_from_it()
    assert bool(place.world.workflows()) is granted
    if not granted:
        assert place.world.summary.reason == "SourceNotPermitted"
        command = f"kubectl annotate kubevirtsources -n sources cluster {ALLOWED}=default"
        assert command in place.world.summary.message
