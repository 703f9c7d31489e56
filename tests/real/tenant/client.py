"""A tenant: a namespace, and the API with the token of an account that has the role `edit` there."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from ruamel.yaml import YAML

from controller.operator.observe.source import READY
from steps.model.contract import StepError
from steps.model.kinds import EVENT, IMPORT, SECRET, SOURCES, Kind, Object
from steps.model.sources import SourceKind
from steps.runtime import kubeapi
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from tests.real.controller import apiserver
from tests.real.simulator import Simulator
from workflows.api.conditions import find
from workflows.api.status import Condition, ImportStatus, SourceStatus
from workflows.status.phase import SUCCEEDED

SECONDS: Final = 600.0
"""For anything on a busy machine."""
EDITOR: Final = "editor"
PRODUCTS: Final = (
    {"apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["*"]},
    {"apiGroups": ["kubevirt.io"], "resources": ["virtualmachines"], "verbs": ["*"]},
    {"apiGroups": ["cdi.kubevirt.io"], "resources": ["datavolumes"], "verbs": ["*"]},
    {"apiGroups": ["harvesterhci.io"], "resources": ["virtualmachineimages"], "verbs": ["*"]},
    {"apiGroups": ["gateway.networking.k8s.io"], "resources": ["referencegrants"], "verbs": ["*"]},
)
"""What products aggregate to `edit` in other clusters."""
T = TypeVar("T")


@dataclass(frozen=True)
class Tenant:
    """A person with a namespace: the role `edit` there, and nothing else."""

    namespace: str
    kubeconfig: Path
    cluster: Cluster
    """The API with the tenant's token."""
    kube: Path

    def kubectl(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run kubectl with the tenant's token."""
        return subprocess.run(
            [self.kube, "kubectl", *arguments],
            input=given,
            env={
                **os.environ,
                "KUBECONFIG": str(self.kubeconfig),
                "KUBECACHEDIR": str(self.kubeconfig.parent),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def refusal(self, *arguments: str, given: str = "") -> str:
        """What kubectl says when the API server refuses. A request that is not refused fails the test."""
        done = self.kubectl(*arguments, given=given)
        assert done.returncode != 0, f"not refused: kubectl {' '.join(arguments)}: {done.stdout}"
        assert "orbidden" in done.stderr or "denied" in done.stderr or "cannot" in done.stderr, done.stderr
        return done.stderr

    # --- objects

    def secret(self, name: str, **data: str | bytes) -> Object:
        encoded = {
            key.replace("__", "."): base64.b64encode(
                text.encode() if isinstance(text, str) else text
            ).decode()
            for key, text in data.items()
        }
        return self.cluster.create(self.an_object(SECRET, name, data=encoded))

    def ova(self, name: str, url: str, **spec: Any) -> Object:
        return self.cluster.create(self.an_object(SOURCES[SourceKind.OVA], name, spec={"url": url, **spec}))

    def vcenter(self, name: str, simulator: Simulator, login: str = "vcenter", **spec: Any) -> Object:
        given = {"endpoint": simulator.url, "dc": "DC0", "credentials": {"name": login}, **spec}
        return self.cluster.create(self.an_object(SOURCES[SourceKind.VMWARE], name, spec=given))

    def login(self, simulator: Simulator, name: str = "vcenter", password: str = "") -> Object:
        ca = simulator.ca.read_text()
        return self.secret(
            name, username=simulator.username, password=password or simulator.password, caCert=ca
        )

    def import_(
        self,
        name: str,
        source: str,
        kind: SourceKind = SourceKind.OVA,
        metadata: Object | None = None,
        **spec: Any,
    ) -> Object:
        reference = {"kind": str(kind), "name": source, **spec.pop("reference", {})}
        wanted = {"virtualMachineName": f"{self.namespace}-{name}", "sourceCluster": reference, **spec}
        made = self.an_object(IMPORT, name, spec=wanted)
        made["metadata"] |= metadata or {}
        return self.cluster.create(made)

    def an_object(self, kind: Kind, name: str, **fields: Any) -> Object:
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **fields}

    # --- what the tenant sees

    def get(self, kind: Kind, name: str) -> Object | None:
        return self.cluster.get(kind, name, self.namespace)

    def status(self, name: str) -> ImportStatus:
        return ImportStatus.read((self.get(IMPORT, name) or {}).get("status"))

    def summary(self, name: str) -> Condition:
        return find(self.status(name).import_conditions, SUCCEEDED) or Condition()

    def source(self, name: str, kind: SourceKind = SourceKind.OVA) -> SourceStatus:
        return SourceStatus.read((self.get(SOURCES[kind], name) or {}).get("status"))

    def reason(self, name: str, kind: SourceKind = SourceKind.OVA) -> str:
        """Why a source is not ready."""
        found = find(self.source(name, kind).conditions, "ClusterError")
        return found.reason if found and found.status == "True" else ""

    def until(self, name: str, reason: str = "") -> str:
        """Wait until an import has the reason, or any; returns its message."""
        eventually(
            lambda: self.summary(name).reason and (not reason or self.summary(name).reason == reason),
            lambda: f"import {name}: {self.summary(name)}",
        )
        return self.summary(name).message

    def until_ready(self, name: str, kind: SourceKind = SourceKind.OVA) -> None:
        """Wait until a source can be used."""
        eventually(lambda: self.source(name, kind).status == READY, lambda: str(self.source(name, kind)))

    def until_not_ready(self, name: str, kind: SourceKind = SourceKind.OVA) -> str:
        """Wait until a source has a verdict that it cannot be used; returns the reason."""
        return eventually(lambda: self.reason(name, kind), lambda: str(self.source(name, kind)))

    def annotate(self, kind: Kind, name: str, **notes: str | None) -> None:
        marks = {f"migration.harvesterhci.io/{key}": value for key, value in notes.items()}
        self.cluster.patch(kind, name, {"metadata": {"annotations": marks}}, self.namespace)

    def everything(self) -> str:
        """All that the tenant can read of imports, sources and Events, as text."""
        kinds = (IMPORT, *SOURCES.values(), EVENT)
        return json.dumps([self.cluster.find(kind, self.namespace) for kind in kinds])


def admit(kubectl: Callable[..., str], kubeconfig: Path, folder: Path, namespace: str) -> Tenant:
    """Make the editor of a namespace. `kubectl` runs with the rights of an administrator.

    `kubeconfig` is the administrator's; that of the tenant is in `folder`. The token ends by itself.
    """
    where = ("--namespace", namespace)
    account = f"--serviceaccount={namespace}:{EDITOR}"
    kubectl(*where, "create", "serviceaccount", EDITOR)
    kubectl(*where, "create", "rolebinding", EDITOR, "--clusterrole=edit", account)
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "products", "namespace": namespace},
        "rules": PRODUCTS,
    }
    kubectl("create", "-f", "-", given=json.dumps(role))
    kubectl(*where, "create", "rolebinding", "products", "--role=products", account)
    token = kubectl("create", "token", EDITOR, *where, "--duration=24h").strip()
    return with_token(kubeconfig, folder / f"{namespace}.kubeconfig", namespace, token)


def with_token(kubeconfig: Path, path: Path, namespace: str, token: str) -> Tenant:
    """A client of the cluster of a kubeconfig that has a token and nothing else; `path` is its own."""
    config: dict[str, Any] = YAML(typ="safe").load(kubeconfig.read_text())
    config["users"] = [{"name": one["name"], "user": {"token": token}} for one in config["users"]]
    path.write_text(json.dumps(config))
    cluster = kubeapi.connect(Stop(), kubeconfig=str(path))
    return Tenant(namespace, path, cluster, apiserver.PROGRAM)


def eventually(look: Callable[[], T | None], what: str | Callable[[], str], seconds: float = SECONDS) -> T:
    """Wait for `look` to return something true, and return it.

    Raises:
        AssertionError: with the state (`what`), after so many seconds.
    """
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.1)
    return found


def refused(call: Callable[[], object]) -> str:
    """The refusal of a request of a client. A request that is not refused fails the test."""
    try:
        found = call()
    except StepError as error:
        return str(error)
    raise AssertionError(f"not refused: {str(found)[:300]}")
