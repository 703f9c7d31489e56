"""A namespace of the lab with imports, for the duration of a test, for any kind of source."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from steps.model import names
from steps.model.contract import StepError
from steps.model.kinds import (
    API_VERSION,
    CLAIM,
    CONFIG_MAP,
    IMAGE,
    IMPORT,
    IMPORTS,
    MACHINE,
    MIGRATION_PLAN,
    POD,
    SECRET,
    SERVICE,
    SOURCES,
    WORKFLOW,
    Kind,
    Object,
)
from steps.model.sources import SourceKind
from tests.real.argo.ground import RELEASE, Ground, eventually
from workflows.api.annotations import RETRY
from workflows.api.conditions import find
from workflows.api.status import Condition, ImportStatus
from workflows.status.phase import SUCCEEDED

MIB: Final = 1 << 20
RUNNING: Final = "virtualMachineRunning"
FAILED: Final = "VMMigrationFailed"
INVALID: Final = "virtualMachineImportInvalid"
ENDED: Final = (RUNNING, FAILED, INVALID)
NETWORKS: Final = ("vlan1", "vlan2")
T = TypeVar("T")


@dataclass
class Place:
    """A namespace with imports in it."""

    ground: Ground
    namespace: str
    made: list[Imported] = field(default_factory=list, kw_only=True)

    def document(self, vm: str, source: dict[str, str], *, name: str = "", **spec: Any) -> Object:
        """The VirtualMachineImport of a VM; `source` is kind, name and, if it differs, namespace."""
        return {
            "apiVersion": API_VERSION,
            "kind": "VirtualMachineImport",
            "metadata": {"name": name or vm.lower(), "namespace": self.namespace},
            "spec": {
                "virtualMachineName": vm,
                "sourceCluster": {"apiVersion": API_VERSION, "namespace": self.namespace, **source},
                **spec,
            },
        }

    def imported(self, name: str) -> Imported:
        made = Imported(self.ground, self.namespace, name)
        self.made.append(made)
        return made

    def all(self, kind: Kind) -> list[Object]:
        return self.ground.all(kind, self.namespace)

    def requests(self) -> list[Object]:
        """The requests of runs of this namespace, also of deleted imports."""
        found = self.ground.all(CONFIG_MAP, RELEASE, **{names.LABEL_NAMESPACE: self.namespace})
        return [one for one in found if one["metadata"]["name"].endswith("-request")]

    def verify_now(self, kind: SourceKind, name: str) -> None:
        """Let the controller verify a source at once, as a person may."""
        change: Object = {"metadata": {"annotations": {RETRY: "true"}}}
        self.ground.cluster.patch(SOURCES[kind], name, change, self.namespace)


@contextlib.contextmanager
def place(ground: Ground, name: str, *, networks: Sequence[str] = NETWORKS) -> Iterator[Place]:
    """A namespace that is removed afterwards; the test fails if anything of a run is left."""
    namespace(ground, name, networks)
    made = Place(ground, name)
    try:
        yield made
    finally:
        remove(ground, name)
    assert_nothing_left(made)


@dataclass(frozen=True)
class Seen:
    """An import and its Workflow at one time."""

    raw: Object | None
    workflow: Object | None

    @property
    def status(self) -> ImportStatus:
        return ImportStatus.read((self.raw or {}).get("status"))

    @property
    def summary(self) -> Condition:
        return find(self.status.import_conditions, SUCCEEDED) or Condition()

    @property
    def nodes(self) -> list[Object]:
        """The nodes of the Workflow."""
        return list((((self.workflow or {}).get("status") or {}).get("nodes") or {}).values())

    def leaf(self, template: str, phase: str) -> list[Object]:
        """The pod nodes of a stage that are in a phase."""
        return [
            node
            for node in self.nodes
            if node.get("templateName") == template and node["type"] == "Pod" and node["phase"] == phase
        ]

    def __str__(self) -> str:
        metadata = (self.raw or {}).get("metadata") or {"namespace": "?", "name": "not there"}
        status = self.status
        done = "".join(f" {row.disk_name} {row.percent} %" for row in status.disk_import_status)
        text = f"{status.import_status!r} {self.summary.reason}: {status.message}"
        # The number of nodes in each phase changes even when nothing else does.
        phases = Counter(str(node.get("phase")) for node in self.nodes)
        nodes = ", ".join(f"{number} {phase}" for phase, number in sorted(phases.items())) or "no nodes"
        return f"{metadata['namespace']}/{metadata['name']}: {text}{done}; {nodes}"


@dataclass
class Imported:
    """An import in the cluster."""

    ground: Ground
    namespace: str
    name: str

    @property
    def raw(self) -> Object | None:
        return self.ground.cluster.get(IMPORT, self.name, self.namespace)

    @property
    def status(self) -> ImportStatus:
        return ImportStatus.read((self.raw or {}).get("status"))

    @property
    def summary(self) -> Condition:
        return self.seen().summary

    def seen(self) -> Seen:
        """The current state: two requests, however much is read from it."""
        raw = self.raw
        run = ImportStatus.read((raw or {}).get("status")).workflow
        return Seen(raw, self.ground.cluster.get(WORKFLOW, run.name, RELEASE) if run else None)

    def when(self, look: Callable[[Seen], T | None], seconds: float, what: str = "") -> T:
        """Wait for `look` to return something true; the state may not stay the same for `seconds`."""
        seen = self.seen()

        def again() -> T | None:
            nonlocal seen
            seen = self.seen()
            return look(seen)

        return eventually(again, lambda: f"{what} of {seen}" if what else str(seen), seconds)

    def until(self, *statuses: str, seconds: float = 300) -> ImportStatus:
        """Wait for one of these statuses; fail at once if the import ends in another one."""

        def look(seen: Seen) -> ImportStatus | None:
            status = seen.status
            if status.import_status in statuses:
                return status
            over = status.import_status in ENDED and seen.summary.status != "Unknown"
            assert not over, f"{self.name} ended as {status.import_status}: {status.message}"
            return None

        return self.when(look, seconds)

    def leaves(self, status_: str) -> None:
        """Wait until the import leaves this status, as after its cause was fixed."""
        self.when(lambda seen: seen.status.import_status != status_, 90)

    def describe(self) -> str:
        return str(self.seen())

    def at(self, step: str, seconds: float = 240) -> None:
        """Wait until a step is running."""
        self.when(lambda seen: seen.leaf(step, "Running"), seconds, step)

    def leaf(self, template: str, phase: str) -> list[Object]:
        """The pod nodes of a stage that are in a phase."""
        return self.seen().leaf(template, phase)

    @property
    def workflow(self) -> Object | None:
        return self.seen().workflow

    @property
    def run(self) -> str:
        """The run's name, without the number of the Workflow."""
        workflow = self.workflow
        assert workflow is not None
        return str(workflow["metadata"]["labels"][names.LABEL_RUN])

    def pods(self, stage: str = "") -> list[Object]:
        labels = {names.LABEL_RUN: self.run, **({names.LABEL_STAGE: stage} if stage else {})}
        return self.ground.cluster.find(POD, RELEASE, labels)

    def annotate(self, **notes: str) -> None:
        marks = {f"migration.harvesterhci.io/{name}": value for name, value in notes.items()}
        self.ground.cluster.patch(IMPORT, self.name, {"metadata": {"annotations": marks}}, self.namespace)

    def change(self, **spec: Any) -> None:
        self.ground.cluster.patch(IMPORT, self.name, {"spec": spec}, self.namespace)

    def delete(self, *, seconds: float = 120) -> None:
        """Run `kubectl delete` and wait for its end."""
        self.ground.cluster.delete(IMPORT, self.name, self.namespace)
        eventually(lambda: self.raw is None, lambda: f"deletion of {self.describe()}", seconds)

    def events(self) -> list[str]:
        listed = self.ground.kubectl("get", "events", "-n", self.namespace, "-o", "json")
        return [
            one["reason"] for one in json.loads(listed)["items"] if one["involvedObject"]["name"] == self.name
        ]

    def machine(self, name: str = "") -> Object | None:
        return self.ground.cluster.get(MACHINE, name or self.name, self.namespace)


def assert_nothing_left(made: Place) -> None:
    """Assert that nothing of any import is left in the release namespace."""
    mine = {names.LABEL_NAMESPACE: made.namespace}

    def left() -> list[str]:
        kinds = (WORKFLOW, CONFIG_MAP, SECRET, CLAIM, SERVICE, POD)
        return [
            f"{kind.kind} {one['metadata']['name']}"
            for kind in kinds
            for one in made.ground.cluster.find(kind, RELEASE, mine)
        ]

    eventually(lambda: not left(), lambda: f"left in {RELEASE}: {left()}", 90)


def bytes_of(ground: Ground, namespace: str, claim: str, length: int | None = None) -> str:
    """SHA-256 of a claim's bytes, or of the first `length` of them, as the host reads them.

    A claim is larger than its disk if the image's file is.
    """
    from tests.real.standins.api import Api  # noqa: PLC0415

    path = ground.lab.disk(Api(ground.lab.kubeconfig), namespace, claim)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        left = sys.maxsize if length is None else length
        while block := file.read(min(MIB, left)):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def claims_of(machine: Object) -> list[str]:
    volumes = machine["spec"]["template"]["spec"]["volumes"]
    return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes]


def images_of(where: Place) -> list[Object]:
    return where.all(IMAGE)


def namespace(ground: Ground, name: str, networks: Sequence[str] = NETWORKS) -> None:
    """Make a new namespace with the networks that manifests name."""
    remove(ground, name)
    ground.kubectl("create", "namespace", name)
    for network in networks:
        ground.apply(
            {
                "apiVersion": "k8s.cni.cncf.io/v1",
                "kind": "NetworkAttachmentDefinition",
                "metadata": {"name": network, "namespace": name},
                "spec": {"config": '{"cniVersion": "0.3.1", "type": "bridge", "bridge": "mgmt-br"}'},
            }
        )


def remove(ground: Ground, name: str) -> None:
    """Delete a namespace; its plans and imports first, as the controller may need objects in it."""
    for kind in (MIGRATION_PLAN, *IMPORTS.values()):
        with contextlib.suppress(StepError):
            _delete_all(ground, kind, name)
    ground.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=true", "--timeout=300s")


def _delete_all(ground: Ground, kind: Kind, namespace: str) -> None:
    for one in ground.cluster.find(kind, namespace):
        ground.cluster.delete(kind, one["metadata"]["name"], namespace)
    eventually(
        lambda: not ground.cluster.find(kind, namespace), f"the {kind.plural} of {namespace} to go", 180
    )
