"""A real API server with the chart and the real controller, and tenants with the role `edit`.

Kubernetes' own controllers run: they aggregate roles and collect garbage. The kubelet is a stand-in: check
pods are child processes that run the real programs. Argo is played by the test (`play`): nothing runs a step.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import secrets
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from steps.model import names
from steps.model.kinds import CONFIG_MAP, IMPORT, SECRET, WORKFLOW, Kind, Object
from steps.runtime.cluster import Cluster
from tests.real.controller import apiserver, crowd
from tests.real.controller.apiserver import ApiServer
from tests.real.simulator import Simulator
from tests.real.standins import crds
from tests.real.tenant.client import Tenant, admit, eventually
from tests.real.tenant.supervisor import Supervisor
from tests.real.tenant.web import Web, served
from tests.unit.controller.operator.kubelet import Kubelet
from workflows.api.status import ImportStatus

RELEASE: Final = crowd.RELEASE
ADDRESS: Final = "127.0.0.2"
"""Of the sources. The guard allows this one, and no other loopback address."""
HEALTH: Final = "http://127.0.0.1:8080"


@dataclass
class Ground:
    """Everything that an attempt needs."""

    server: ApiServer
    admin: Cluster
    web: Web
    kubelet: Kubelet
    simulator: Simulator
    controller: Supervisor
    numbers: Iterator[int] = field(default_factory=itertools.count)

    name: ClassVar[str] = "API server"
    release: ClassVar[str] = RELEASE

    def tenant(self) -> Tenant:
        """A new namespace with its editor."""
        space = f"tenant-{next(self.numbers)}-{secrets.token_hex(2)}"
        self.server.make_namespace(space)
        return admit(self.server.kubectl, self.server.kubeconfig, self.server.folder, space)

    # --- the release namespace

    def of(self, kind: Kind, uid: str) -> list[str]:
        """Names of the objects of an import in the release namespace."""
        found = self.admin.find(kind, RELEASE, {names.LABEL_UID: uid})
        return [one["metadata"]["name"] for one in found]

    def objects(self, uid: str) -> dict[str, str]:
        """Versions of all objects of an import in the release namespace by their names."""
        return {
            f"{kind.kind}/{one['metadata']['name']}": one["metadata"]["uid"]
            for kind in (CONFIG_MAP, SECRET, WORKFLOW)
            for one in self.admin.find(kind, RELEASE, {names.LABEL_UID: uid})
        }

    def workflow(self, uid: str) -> Object | None:
        """The Workflow of an import, when it exists."""
        found = self.admin.find(WORKFLOW, RELEASE, {names.LABEL_UID: uid})
        return found[-1] if found else None

    def started(self, made: Object) -> Object:
        """Wait for the Workflow of an import."""
        metadata = made["metadata"]

        def state() -> str:
            now = self.admin.get(IMPORT, metadata["name"], metadata["namespace"]) or {}
            return f"{metadata['name']}: {ImportStatus.read(now.get('status')).message}"

        return eventually(lambda: self.workflow(metadata["uid"]), state)

    def play(self, workflow: Object, *nodes: Object, phase: str = "Running", **more: Any) -> None:
        """Write the status of a Workflow as Argo does. `situations.node` makes the nodes."""
        name = workflow["metadata"]["name"]
        renamed = {
            str(number): {**node, "name": f"{name}.{node['name'].partition('.')[2]}"}
            for number, node in enumerate(nodes)
        }
        before = self.admin.get(WORKFLOW, name, RELEASE) or {}
        gone = dict.fromkeys((before.get("status") or {}).get("nodes") or {})
        status = {"phase": phase, "nodes": {**gone, **renamed}, **more}
        change: Object = {"status": status}
        if phase in ("Succeeded", "Failed"):
            change["metadata"] = {"labels": {"workflows.argoproj.io/phase": phase}}
        self.admin.patch(WORKFLOW, name, change, RELEASE)

    # --- the controller

    @contextlib.contextmanager
    def without_controller(self) -> Iterator[None]:
        """The body runs while there is no controller; afterwards there is another one."""
        self.controller.stop()
        yield
        self.controller.start()

    def log(self) -> bytes:
        """What all controllers have logged."""
        return self.controller.log.read_bytes()

    def memory(self) -> int:
        """Bytes that a controller has used at most until now."""
        return self.controller.peak

    def assert_alive(self) -> None:
        """The controller works, and it never ended for another reason than a slow machine."""
        eventually(_is_healthy, "the health of the controller")
        assert self.controller.faults() == [], "a controller has ended"

    def assert_serves(self, other: Tenant) -> None:
        """The controller still starts an import of somebody else."""
        name = f"honest-{secrets.token_hex(3)}"
        other.ova(name, f"{self.web.url}/{name}.ovf")
        self.started(other.import_(name, name))


@contextlib.contextmanager
def prepared(folder: Path) -> Iterator[Ground]:
    """The ground, in a network namespace of its own."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(apiserver.own_network())
        server = stack.enter_context(apiserver.running(folder))
        stack.enter_context(apiserver.managers(server))
        options = crowd.install(
            server,
            *("--set-json", f'sourceNetwork.allowed=["{ADDRESS}/32"]'),
            *("--set", "controller.deletionTimeoutSeconds=20"),
            *("--set", "controller.recheckSeconds=15"),
            *("--set", "bootCheck.allowed=true"),
        )
        admin = server.connect()
        for thing in crds.definitions():
            admin.create(thing)
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        eventually(lambda: _is_aggregated(server), "the role edit")
        web = stack.enter_context(served(ADDRESS))
        inventory = {"datacenters": [{"name": "DC0", "vms": []}]}
        simulator = stack.enter_context(Simulator.start(inventory, folder / "vcenter", listen=f"{ADDRESS}:0"))
        kubelet = stack.enter_context(crowd.kubelet(server))
        kubeconfig = server.kubeconfig_of(RELEASE, "vmferry-controller")
        controller = Supervisor(server, options, kubeconfig)
        controller.start()
        stack.callback(controller.stop)
        yield Ground(server, admin, web, kubelet, simulator, controller)


def _is_healthy() -> bool:
    with contextlib.suppress(OSError):
        answer: http.client.HTTPResponse
        with urllib.request.urlopen(f"{HEALTH}/healthz", timeout=30) as answer:  # noqa: S310 - our own
            return answer.status == 200
    return False


def _is_aggregated(server: ApiServer) -> bool:
    rules = server.kubectl("get", "clusterrole", "edit", "-o", "json")
    return "virtualmachineimports" in rules and '"secrets"' in rules
