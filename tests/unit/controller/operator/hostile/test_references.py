"""A tenant uses only Secrets and sources whose owner allows it (findings F2 and F7)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import pytest

from controller.operator.observe.secret import CONSENT, LABEL_CREDENTIALS
from controller.operator.options import Options, References
from controller.operator.routing import SourceKey
from controller.operator.sources.reconcile import SourceReconciler
from steps.model.grants import ALLOWED
from steps.model.kinds import IMPORT, REFERENCE_GRANT, SECRET, SOURCES, Object
from steps.model.names import LABEL_RUN
from steps.model.sources import SourceKind
from tests.unit.controller.operator.kubelet import Exited, Files, credentials
from tests.unit.controller.operator.world import KEY, World
from workflows.api.status import SourceStatus

OVA: Final = SOURCES[SourceKind.OVA]
VMWARE: Final = SOURCES[SourceKind.VMWARE]
SOURCE: Final = SourceKey(OVA, "tenant", "s")


class Tenant:
    """A person with one namespace, whose OvaSource points at a server of their own."""

    def __init__(self, options: Options | None = None) -> None:
        self.world = World()
        self.cluster = self.world.cluster
        self.cluster.namespaces |= {"tenant", "kube-system"}
        self.sent: list[Mapping[str, bytes]] = []
        """The credentials that the source was checked with."""
        self.world.script.answer = self._verify
        self.reconciler = SourceReconciler(
            self.cluster, options or Options(), self.world.checks, lambda: self.world.now
        )

    def _verify(self, _pod: Object, files: Files) -> Exited:
        self.sent.append(credentials(files))
        return Exited(0)

    def secret(self, namespace: str, **parts: Any) -> Object:
        data = {key: encoded(value) for key, value in {"username": "root", "password": "TOP-SECRET"}.items()}
        metadata = {"name": "db-admin", "namespace": namespace, **parts.pop("metadata", {})}
        made = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}
        return self.cluster.put({**made, **parts})

    def source(self, **credentials: str) -> SourceStatus:
        """Create the source, and the controller's look at it."""
        spec = {"url": "https://tenant.example/x.ova", "credentials": {"name": "db-admin", **credentials}}
        metadata = {"name": "s", "namespace": "tenant", "generation": 1}
        self.cluster.put(
            {"apiVersion": OVA.api_version, "kind": OVA.kind, "metadata": metadata, "spec": spec}
        )
        self.reconciler.reconcile(SOURCE)
        self.world.kubelet.sync()
        self.reconciler.reconcile(SOURCE)
        found = self.cluster.peek(OVA, "s", "tenant")
        assert found is not None
        return SourceStatus.read(found["status"])


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


REFERENCES: Final = pytest.mark.parametrize("references", list(References))


@REFERENCES
def test_a_secret_of_another_namespace_is_not_sent(references: References) -> None:
    tenant = Tenant(Options(cross_namespace_references=references))
    tenant.secret("kube-system")
    status = tenant.source(namespace="kube-system")
    assert tenant.sent == []
    assert f"kubectl annotate secret -n kube-system db-admin {CONSENT}=tenant/OvaSource/s" in status.message


def test_a_message_does_not_reveal_whether_the_secret_exists() -> None:
    tenant = Tenant()
    without = tenant.source(namespace="kube-system").message
    tenant.secret("kube-system")
    assert tenant.source(namespace="kube-system").message == without


def test_a_secret_that_names_the_source_is_used() -> None:
    tenant = Tenant()
    tenant.secret("kube-system", metadata={"annotations": {CONSENT: "a/VmwareSource/b, tenant/OvaSource/s"}})
    assert tenant.source(namespace="kube-system").status == "clusterReady"
    assert tenant.sent == [{"username": b"root", "password": b"TOP-SECRET"}]


@pytest.mark.parametrize("name", ["tenant/OvaSource/s2", "tenant/VmwareSource/s", "other/OvaSource/s", "*"])
def test_consent_is_for_the_named_source_only(name: str) -> None:
    tenant = Tenant()
    tenant.secret("kube-system", metadata={"annotations": {CONSENT: name}})
    assert tenant.source(namespace="kube-system").status == "clusterNotReady"
    assert tenant.sent == []


COPY: Final = {"labels": {LABEL_RUN: "vmi-x", LABEL_CREDENTIALS: "true"}}


@pytest.mark.parametrize(
    "metadata",
    [{}, {"labels": {LABEL_CREDENTIALS: "false"}}, COPY, {"annotations": {CONSENT: "tenant/OvaSource/s"}}],
    ids=["bare", "labelled-false", "our-copy", "consent-without-label"],
)
def test_a_secret_of_the_release_namespace_needs_our_label(metadata: Object) -> None:
    tenant = Tenant()
    tenant.secret("vmferry", metadata=metadata)
    assert tenant.source(namespace="vmferry").status == "clusterNotReady"
    assert tenant.sent == []


@pytest.mark.parametrize("copy", [True, False])
def test_a_source_in_the_release_namespace_needs_the_label_too(copy: bool) -> None:
    """An installation with a single namespace: one `kubectl label`, and everything works as before."""
    world = World()
    labels = {LABEL_CREDENTIALS: "true"} | ({LABEL_RUN: "vmi-x"} if copy else {})
    secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c", "namespace": "vmferry"}}
    secret |= {"data": {"username": encoded("u"), "password": encoded("p")}}
    world.cluster.put(secret)
    source: Object = {"apiVersion": VMWARE.api_version, "kind": VMWARE.kind}
    source["metadata"] = {"name": "v", "namespace": "vmferry", "generation": 1}
    source["spec"] = {"endpoint": "https://vcenter/sdk", "credentials": {"name": "c"}}
    world.cluster.put(source)
    reconciler = SourceReconciler(world.cluster, Options(), world.checks, lambda: world.now)
    key = SourceKey(VMWARE, "vmferry", "v")

    def status() -> SourceStatus:
        for _ in range(2):
            reconciler.reconcile(key)
            world.kubelet.sync()
        found = world.cluster.peek(VMWARE, "v", "vmferry")
        assert found is not None
        return SourceStatus.read(found["status"])

    assert "kubectl label secret -n vmferry c migration.harvesterhci.io/credentials=true" in status().message
    secret["metadata"]["labels"] = labels
    world.cluster.put(secret)
    assert status().status == ("clusterNotReady" if copy else "clusterReady")


@pytest.mark.parametrize(
    "kind", ["kubernetes.io/service-account-token", "kubernetes.io/dockerconfigjson", "helm.sh/release.v1"]
)
def test_a_secret_of_another_type_is_not_sent(kind: str) -> None:
    tenant = Tenant()
    tenant.secret("tenant", type=kind)
    assert tenant.source().status == "clusterNotReady"
    assert tenant.sent == []


def test_only_the_keys_of_the_provider_are_sent() -> None:
    tenant = Tenant()
    found = tenant.secret("tenant")
    found["data"] |= {"root.key": encoded("PRIVATE"), "caCert": encoded("for vSphere")}
    tenant.cluster.put(found)
    tenant.source()
    assert tenant.sent == [{"username": b"root", "password": b"TOP-SECRET"}]


def test_a_secret_that_the_controller_may_not_read_is_reported() -> None:
    tenant = Tenant()
    tenant.cluster.denied.add(("get", SECRET))
    assert "cannot be read" in tenant.source().message


# --- sources


def cross(options: Options | None = None) -> World:
    """An import of the namespace `default` that names a source of the namespace `infra`."""
    reference = {"kind": "VmwareSource", "name": "vcenter", "namespace": "infra"}
    world = World(sourceCluster=reference)
    world.options = options or Options()
    world.cluster.namespaces |= {"infra"}
    return world


def add_source(world: World, **metadata: Any) -> None:
    found = world.cluster.peek(VMWARE, "vcenter", "default")
    assert found is not None
    place = {"name": "vcenter", "namespace": "infra", "generation": 1, **metadata}
    world.cluster.put({**found, "metadata": place, "status": {**found["status"], "message": "INFRA"}})
    data = {"username": encoded("ferry"), "password": encoded("secret")}
    credentials = {"name": "credentials", "namespace": "infra"}
    world.cluster.put({"apiVersion": "v1", "kind": "Secret", "metadata": credentials, "data": data})
    stored = world.cluster.peek(VMWARE, "vcenter", "infra")
    assert stored is not None
    stored["spec"] = {**stored["spec"], "credentials": credentials}


def test_an_import_of_another_namespace_needs_a_grant() -> None:
    world = cross()
    world.look(2)
    without = world.status.message
    add_source(world)
    world.look(2)
    assert world.workflows() == []
    assert world.status.message == without, "it does not reveal whether the source exists"
    assert f"kubectl annotate vmwaresources -n infra vcenter {ALLOWED}=default" in without
    secrets = [call for call in world.cluster.calls if call.kind == SECRET and call.namespace == "infra"]
    assert secrets == [], "nothing of the other namespace is read"


@pytest.mark.parametrize("allowed", ["default", "team-a, default", "*"])
def test_the_owner_of_the_source_allows_it(allowed: str) -> None:
    world = cross()
    add_source(world, annotations={ALLOWED: allowed})
    world.look()
    assert len(world.workflows()) == 1


@pytest.mark.parametrize("allowed", ["", "defaults", "def", "team-a"])
def test_a_grant_for_others_is_no_grant(allowed: str) -> None:
    world = cross()
    add_source(world, annotations={ALLOWED: allowed})
    world.look()
    assert world.workflows() == []


GROUP: Final = "migration.harvesterhci.io"


def grant(**changes: Any) -> Object:
    from_ = {"group": GROUP, "kind": "VirtualMachineImport", "namespace": "default"}
    spec: Object = {"from": [from_], "to": [{"group": GROUP, "kind": "VmwareSource"}]} | changes
    kind = {"apiVersion": REFERENCE_GRANT.api_version, "kind": REFERENCE_GRANT.kind}
    return {**kind, "metadata": {"name": "g", "namespace": "infra"}, "spec": spec}


@pytest.mark.parametrize(
    ("changes", "begun"),
    [
        ({}, 1),
        ({"to": [{"group": GROUP, "kind": "VmwareSource", "name": "vcenter"}]}, 1),
        ({"to": [{"group": GROUP, "kind": "VmwareSource", "name": "another"}]}, 0),
        ({"to": [{"group": GROUP, "kind": "OvaSource"}]}, 0),
        ({"to": [{"group": "", "kind": "VmwareSource"}]}, 0),
        ({"from": [{"group": GROUP, "kind": "VirtualMachineImport", "namespace": "other"}]}, 0),
        ({"from": [{"group": GROUP, "kind": "OvaSource", "namespace": "default"}]}, 0),
        ({"from": None, "to": "all"}, 0),
    ],
)
def test_a_reference_grant_allows_it(changes: Object, begun: int) -> None:
    world = cross()
    add_source(world)
    world.cluster.put(grant(**changes))
    world.look()
    assert len(world.workflows()) == begun


def test_a_cluster_without_the_gateway_api_has_annotations_only() -> None:
    world = cross()
    world.cluster.kinds.discard(REFERENCE_GRANT)
    add_source(world)
    world.look()
    assert world.workflows() == []


def test_a_grant_that_is_taken_back_stops_a_retry() -> None:
    world = cross()
    add_source(world, annotations={ALLOWED: "default"})
    world.look()
    world.argo(phase="Failed")
    add_source(world)
    world.annotate(retry="true")
    world.look(2)
    assert len(world.workflows()) == 1
    assert "does not allow imports of default" in world.status.message


def test_an_installation_may_allow_everything() -> None:
    world = cross(Options(cross_namespace_references=References.ALLOW))
    add_source(world)
    world.look()
    assert len(world.workflows()) == 1


def test_a_running_import_is_not_affected() -> None:
    found = World()
    found.look(2)
    assert len(found.workflows()) == 1
    assert found.cluster.peek(IMPORT, *reversed(KEY)) is not None
