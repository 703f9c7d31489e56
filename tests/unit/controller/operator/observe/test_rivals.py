"""Two imports of one VM, or with one name, at a time: one starts, the other reports why it waits."""

from __future__ import annotations

import contextlib
import threading
from typing import Any, cast

import pytest

from controller.operator.options import Options, References
from controller.operator.reconcile import reconcile
from steps.model import names
from steps.model.kinds import (
    CONFIG_MAP,
    IMPORT,
    SOURCES,
    STORAGE_CLASS,
    WORKFLOW,
    WORKFLOW_TEMPLATE,
    Kind,
    Object,
)
from steps.model.machine import Machine
from steps.model.sources import SourceKind
from steps.runtime.cluster import Cluster
from steps.runtime.program import MACHINE
from tests.unit.builders import a_machine
from tests.unit.controller.operator.kubelet import described
from tests.unit.controller.operator.world import World
from tests.unit.workflows.status.situations import failed, found, node, upto
from workflows.api.conditions import find
from workflows.api.status import Condition, ImportStatus
from workflows.status.phase import SUCCEEDED

Key = tuple[str, str]
OLD: Key = ("default", "old")
YOUNG: Key = ("default", "young")
TENANT: Key = ("tenant", "secret-project")
DONE = (*upto("end"), node("start"))
MINUTES = {OLD: "10", TENANT: "20", YOUNG: "30"}


class Rivals(World):
    """Imports that are reconciled one by one; the order does not depend on their age."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster.drop(IMPORT, "web", "default")
        self.cluster.namespaces |= {"tenant"}
        self.options = Options(cross_namespace_references=References.ALLOW)

    def ask(self, key: Key, vm: str = "web01", **spec: Any) -> None:
        source = {"kind": "VmwareSource", "name": "vcenter", "namespace": "default"}
        metadata = {
            "name": key[1],
            "namespace": key[0],
            "uid": f"uid-of-{key[1]}",
            "generation": 1,
            "creationTimestamp": f"2026-11-21T11:{MINUTES[key]}:00Z",
        }
        given = {"virtualMachineName": vm, "sourceCluster": source, **spec}
        self.cluster.put(
            {"apiVersion": IMPORT.api_version, "kind": IMPORT.kind, "metadata": metadata, "spec": given}
        )

    def see(self, *keys: Key, times: int = 1) -> float | None:
        again: float | None = None
        for key in keys * times:
            again = reconcile(self.cluster, self.options, key, self.ledger, lambda: self.now, self.checks)
            self.kubelet.sync()
        return again

    def import_(self, key: Key) -> Object:
        stored = self.cluster.peek(IMPORT, key[1], key[0])
        assert stored is not None
        return stored

    def status_of(self, key: Key) -> ImportStatus:
        return ImportStatus.read(self.import_(key).get("status"))

    def summary_of(self, key: Key) -> Condition:
        made = find(self.status_of(key).import_conditions, SUCCEEDED)
        assert made is not None
        return made

    def publish(self, run: str, machine: Machine) -> None:
        """Publish the result of a run's preflight."""
        metadata = {"name": names.machine(run), "namespace": "vmferry"}
        kind = {"apiVersion": CONFIG_MAP.api_version, "kind": CONFIG_MAP.kind}
        self.cluster.put({**kind, "metadata": metadata, "data": {MACHINE: machine.to_json()}})

    def add_source(self, kind: Kind, name: str, spec: Object) -> None:
        """A further source that is ready."""
        metadata = {"name": name, "namespace": "default", "generation": 1}
        status = {"status": "clusterReady", "observedGeneration": 1}
        made = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
        self.cluster.put({**made, "spec": spec, "status": status})
        template = {"name": f"vmferry-{kind.kind.removesuffix('Source').lower()}", "namespace": "vmferry"}
        kinds = {"apiVersion": WORKFLOW_TEMPLATE.api_version, "kind": WORKFLOW_TEMPLATE.kind}
        self.cluster.put({**kinds, "metadata": template})

    def begun(self) -> set[str]:
        """The imports that have a Workflow."""
        made = self.cluster.all(WORKFLOW, "vmferry")
        return {one["metadata"]["labels"][names.LABEL_NAME] for one in made}

    def ran(self, key: Key, *nodes: Object, phase: str) -> None:
        """Write to an import's Workflow, as Argo does."""
        run = self.status_of(key).workflow
        assert run is not None
        self.argo(*nodes, phase=phase, name=run.name)


def both(**young: Any) -> Rivals:
    made = Rivals()
    made.ask(OLD, targetVirtualMachineName="one")
    made.ask(YOUNG, **{"targetVirtualMachineName": "two", **young})
    return made


# --- one VM


@pytest.mark.parametrize("first", [(OLD, YOUNG), (YOUNG, OLD)])
def test_the_older_of_two_imports_of_one_vm_starts(first: tuple[Key, Key]) -> None:
    world = both()
    world.see(*first, times=2)
    assert world.begun() == {"old"}
    summary = world.summary_of(YOUNG)
    assert (summary.status, summary.reason) == ("Unknown", "VirtualMachineTaken")
    assert "import old" in summary.message
    assert "starts when that one has succeeded" in summary.message
    assert not world.import_(YOUNG)["metadata"].get("finalizers"), "it has nothing to release"


def test_the_other_import_starts_when_the_first_one_ends() -> None:
    world = both()
    world.see(OLD, YOUNG)
    assert world.see(YOUNG) == 15.0
    world.ran(OLD, *DONE, phase="Succeeded")
    world.see(OLD, YOUNG, times=2)
    assert world.begun() == {"old", "young"}


@pytest.mark.parametrize(
    ("old", "young"),
    [
        ({"vm": "/DC0/vm/prod/web01"}, {"vm": "web01"}),
        ({"vm": "web01", "folder": "prod"}, {"vm": "/DC0/vm/prod/web01"}),
        ({"vm": "/DC0/vm/prod/web01/"}, {"vm": "/DC0/vm/prod/web01"}),
    ],
)
def test_an_inventory_path_and_a_name_may_mean_one_vm(old: dict[str, Any], young: dict[str, Any]) -> None:
    world = Rivals()
    world.ask(OLD, targetVirtualMachineName="one", **old)
    world.ask(YOUNG, targetVirtualMachineName="two", **young)
    world.see(YOUNG, OLD, times=2)
    assert world.begun() == {"old"}
    assert world.summary_of(YOUNG).reason == "VirtualMachineTaken"


def test_inventory_paths_of_two_vms_with_one_name_clash_only_at_the_target() -> None:
    world = Rivals()
    world.ask(OLD, "/DC0/vm/prod/web01")
    world.ask(YOUNG, "/DC0/vm/test/web01")
    world.see(YOUNG, OLD, times=2)
    assert world.begun() == {"old"}
    assert world.summary_of(YOUNG).reason == "NameTaken"
    world.import_(YOUNG)["spec"]["targetVirtualMachineName"] = "two"
    world.cluster.patch(IMPORT, YOUNG[1], {"spec": {"targetVirtualMachineName": "two"}}, YOUNG[0])
    world.see(YOUNG, times=2)
    assert world.begun() == {"old", "young"}


@pytest.mark.parametrize("end", ["failed", "refused", "deleted"])
def test_a_held_import_is_not_a_rival(end: str) -> None:
    world = both()
    world.see(OLD, YOUNG)
    if end == "deleted":
        world.cluster.finish(IMPORT, OLD[1], OLD[0])
        world.cluster.drop(IMPORT, OLD[1], OLD[0])
    else:
        stage = "preflight" if end == "refused" else "export"
        world.ran(OLD, failed(stage, 14, "no"), phase="Failed")
        world.see(OLD, times=2)
    world.see(YOUNG)
    assert "young" in world.begun()


def test_a_retry_waits_for_the_import_that_started_meanwhile() -> None:
    world = both()
    world.see(OLD, YOUNG)
    world.ran(OLD, found(), failed("export", 13, "scratch is full"), phase="Failed")
    world.see(OLD, YOUNG, times=2)
    mark = {"metadata": {"annotations": {"migration.harvesterhci.io/retry": "true"}}}
    world.cluster.patch(IMPORT, OLD[1], mark, OLD[0])
    assert world.see(OLD) == 15.0
    assert "scratch is full (a retry waits: import young imports web01" in world.status_of(OLD).message
    world.ran(YOUNG, *DONE, phase="Succeeded")
    world.see(YOUNG, OLD, times=2)
    run = world.status_of(OLD).workflow
    assert run is not None
    assert run.name.endswith("-r1")


@pytest.mark.parametrize(
    "held", [{"suspend": True}, {"cancel": True}, {"dryRun": True}, {"storageClass": "slow"}]
)
def test_an_older_import_that_does_not_start_claims_nothing(
    held: dict[str, Any],
) -> None:
    world = Rivals()
    world.script.answer = lambda *_: described(a_machine())
    world.ask(OLD, **held)
    world.ask(YOUNG)
    world.see(OLD, YOUNG)
    assert world.begun() == {"young"}


def test_an_older_import_that_waits_for_its_source_goes_first() -> None:
    """Both waited; otherwise the one that is reconciled first would start."""
    world = both()
    world.set_source("clusterNotReady")
    world.see(OLD, YOUNG)
    world.set_source("clusterReady")
    world.see(YOUNG, OLD)
    assert world.begun() == {"old"}


def test_an_import_in_another_namespace_is_not_named() -> None:
    world = Rivals()
    world.ask(TENANT)
    world.ask(YOUNG)
    world.see(TENANT, YOUNG)
    assert world.begun() == {"secret-project"}
    summary = world.summary_of(YOUNG).message
    assert "an import in another namespace imports web01" in summary
    assert "secret" not in str(world.import_(YOUNG))
    assert "tenant" not in str(world.import_(YOUNG))


def test_an_import_that_may_not_use_the_source_delays_nobody() -> None:
    """It is older, in another namespace and without a grant, or with a source without credentials."""
    world = Rivals()
    world.options = Options()
    world.ask(TENANT)
    world.ask(YOUNG)
    world.see(TENANT)
    assert world.summary_of(TENANT).reason == "SourceNotPermitted"
    world.see(YOUNG)
    assert world.begun() == {"young"}


@pytest.mark.parametrize("namespace", ["tenant", "default"])
def test_an_import_that_waits_for_its_mapping_delays_no_other_namespace(namespace: str) -> None:
    """Anybody can name a mapping that does not exist, or that may not be used."""
    world = Rivals()
    world.ask(TENANT, importMapping={"name": "none", "namespace": namespace})
    world.ask(YOUNG)
    world.see(TENANT)
    assert world.summary_of(TENANT).reason == "MappingNotFound"
    world.see(YOUNG)
    assert world.begun() == {"young"}


@pytest.mark.parametrize("changed", ["spec", "source"])
def test_an_import_that_runs_elsewhere_delays_nobody(changed: str) -> None:
    """It began with a source of its own, and then pretends to import the VM of other people."""
    world = Rivals()
    secret = {"name": "credentials", "namespace": "default"}
    spec = {"endpoint": "https://tenant.example/sdk", "dc": "DC0", "credentials": secret}
    world.add_source(SOURCES[SourceKind.VMWARE], "elsewhere", spec)
    own = {"kind": "VmwareSource", "name": "elsewhere", "namespace": "default"}
    world.ask(TENANT, sourceCluster=own)
    world.see(TENANT)
    assert world.begun() == {"secret-project"}
    if changed == "spec":
        world.import_(TENANT)["spec"]["sourceCluster"] = {**own, "name": "vcenter"}
    else:
        found = world.cluster.peek(SOURCES[SourceKind.VMWARE], "elsewhere", "default")
        assert found is not None
        found["spec"]["endpoint"] = "https://vcenter/sdk"
    world.ask(YOUNG)
    world.see(TENANT, YOUNG)
    assert world.begun() == {"secret-project", "young"}


UUID = "42110ea9-2c3d-4e5f-8a6b-7c8d9e0f1a2b"
DIFFERENT = [
    {"virtualMachineName": "web02"},
    {"folder": "prod"},
    {"folder": ""},
    {"folder": "/DC0/vm"},
    {"sourceCluster": {"kind": "VmwareSource", "name": "other", "namespace": "default"}},
    {"sourceCluster": {"kind": "OpenstackSource", "name": "vcenter", "namespace": "default"}},
    {"virtualMachineName": None, "sourceCluster": None},
    {"virtualMachineName": 7, "sourceCluster": "x", "folder": []},
]


@pytest.mark.parametrize("other", DIFFERENT)
def test_another_vm_is_not_a_rival(other: dict[str, Any]) -> None:
    world = both(folder="test")
    world.import_(OLD)["spec"] |= other
    world.see(YOUNG)
    assert world.begun() == {"young"}


@pytest.mark.parametrize("folder", [None, "test", "/DC0/vm/test", "/test/"])
def test_a_folder_that_may_be_the_same_is_a_rival(folder: str | None) -> None:
    world = both(folder="test")
    world.import_(OLD)["spec"]["folder"] = folder
    world.see(YOUNG)
    assert world.begun() == set()


ADDRESSES = [("https://VCENTER/sdk/", {"old"}), ("https://x/sdk", {"old", "young"})]


@pytest.mark.parametrize(("endpoint", "begun"), ADDRESSES)
def test_two_sources_may_be_one_vcenter(endpoint: str, begun: set[str]) -> None:
    world = both(sourceCluster={"kind": "VmwareSource", "name": "same", "namespace": "default"})
    secret = {"name": "credentials", "namespace": "default"}
    world.add_source(
        SOURCES[SourceKind.VMWARE], "same", {"endpoint": endpoint, "dc": "DC0", "credentials": secret}
    )
    world.see(OLD, YOUNG)
    assert world.begun() == begun


@pytest.mark.parametrize("by_name", [OLD, YOUNG])
def test_one_vm_by_name_and_by_id_is_a_rival(by_name: Key) -> None:
    """The result of the first one's preflight shows that they are the same."""
    world = both()
    other = YOUNG if by_name == OLD else OLD
    world.import_(other)["spec"]["virtualMachineName"] = UUID
    world.see(OLD)
    run = world.status_of(OLD).workflow
    assert run is not None
    world.publish(run.name, a_machine(name="web01", instance_uuid=UUID.upper()))
    world.ran(OLD, found(), phase="Running")
    world.see(OLD, YOUNG)
    assert world.begun() == {"old"}
    assert world.summary_of(YOUNG).reason == "VirtualMachineTaken"


def test_two_imports_of_one_ova_may_run_together() -> None:
    world = Rivals()
    source = {"kind": "OvaSource", "name": "ova", "namespace": "default"}
    world.add_source(SOURCES[SourceKind.OVA], "ova", {"url": "https://files.example/web.ova"})
    world.ask(OLD, targetVirtualMachineName="one", sourceCluster=source)
    world.ask(YOUNG, targetVirtualMachineName="two", sourceCluster=source)
    world.see(OLD, YOUNG)
    assert world.begun() == {"old", "young"}


# --- imported before


def imported(first: Key, second: Key) -> Rivals:
    """The VM was imported by the first, and is imported again by the second."""
    world = Rivals()
    world.ask(first, targetVirtualMachineName="one")
    world.see(first)
    world.ran(first, *DONE, phase="Succeeded")
    world.see(first, times=2)
    world.ask(second, targetVirtualMachineName="two")
    world.see(second)
    return world


def warning_of(world: Rivals, key: Key) -> str:
    made = find(world.status_of(key).import_conditions, "ImportedBefore")
    return made.message if made else ""


def test_a_vm_that_was_imported_before_is_a_warning() -> None:
    world = imported(OLD, YOUNG)
    assert world.begun() == {"old", "young"}
    assert "import old has imported web01 of VmwareSource default/vcenter before" in warning_of(world, YOUNG)
    assert "ImportedBefore" in world.warnings()
    run = world.status_of(YOUNG).workflow
    assert run is not None
    world.argo(found(), phase="Running", name=run.name)
    world.see(YOUNG, times=2)
    assert warning_of(world, YOUNG), "it stays while the import runs"


def test_an_earlier_import_of_another_namespace_is_not_named() -> None:
    world = imported(TENANT, YOUNG)
    assert "an import in another namespace has imported web01" in warning_of(world, YOUNG)
    for word in ("secret", "tenant"):
        assert word not in str(world.import_(YOUNG))


def test_an_earlier_import_of_another_vm_is_no_warning() -> None:
    world = imported(OLD, YOUNG)
    world.import_(OLD)["spec"]["virtualMachineName"] = "web02"
    third: Key = ("default", "third")
    MINUTES[third] = "40"
    world.ask(third, vm="web03")
    world.see(third)
    assert "third" in world.begun()
    assert warning_of(world, third) == ""


# --- one name


def test_the_younger_of_two_imports_with_one_name_is_refused_and_recovers() -> None:
    world = Rivals()
    world.ask(OLD, vm="web01", targetVirtualMachineName="shop")
    world.ask(YOUNG, vm="Shop")
    world.see(YOUNG, OLD, times=2)
    assert world.begun() == {"old"}
    assert world.status_of(YOUNG).import_status == "virtualMachineImportInvalid"
    summary = world.summary_of(YOUNG)
    assert summary.reason == "NameTaken"
    assert "import old is creating VirtualMachine default/shop" in summary.message
    assert "spec.targetVirtualMachineName" in summary.message
    world.import_(YOUNG)["spec"]["targetVirtualMachineName"] = "shop-2"
    world.see(YOUNG)
    assert world.begun() == {"old", "young"}


def test_a_refused_import_still_goes_before_younger_ones() -> None:
    """Two imports that wait for a third must not both start when it is deleted."""
    world = Rivals()
    third: Key = ("default", "third")
    MINUTES[third] = "40"
    for key, vm in ((OLD, "a"), (YOUNG, "b"), (third, "c")):
        world.ask(key, vm=vm, targetVirtualMachineName="shop")
    world.see(OLD, YOUNG, third)
    world.cluster.finish(IMPORT, OLD[1], OLD[0])
    world.cluster.drop(IMPORT, OLD[1], OLD[0])
    world.see(third, YOUNG)
    assert "young" in world.begun()
    assert "third" not in world.begun()
    assert "import young is" in world.summary_of(third).message


def test_the_same_name_in_another_namespace_is_another_vm() -> None:
    world = Rivals()
    world.ask(TENANT, vm="a", targetVirtualMachineName="shop")
    world.ask(YOUNG, vm="b", targetVirtualMachineName="shop")
    world.see(TENANT, YOUNG)
    assert world.begun() == {"secret-project", "young"}


# --- at the same moment


class Meeting:
    """The cluster, one request at a time; a list of imports waits shortly for another one to happen too."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._lock = cluster, threading.Lock()
        self._meet = threading.Barrier(2)

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                answer = getattr(self._cluster, name)(*args, **kwargs)
            if (name, args[0]) == ("page", IMPORT):
                with contextlib.suppress(threading.BrokenBarrierError):
                    self._meet.wait(0.5)
            return answer

        return call


def test_of_two_concurrent_reconciles_only_one_starts() -> None:
    """The older one was refused so far, so its status claims nothing, and it is about to start."""
    world = both()
    world.import_(OLD)["spec"]["storageClass"] = "slow"
    world.see(OLD)
    metadata = {"name": "slow"}
    kind = {"apiVersion": STORAGE_CLASS.api_version, "kind": STORAGE_CLASS.kind}
    world.cluster.put({**kind, "metadata": metadata})
    meeting, faults = Meeting(world.cluster), list[BaseException]()

    def look(key: Key) -> None:
        try:
            reconcile(cast("Cluster", meeting), world.options, key, world.ledger, lambda: world.now)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=look, args=(key,)) for key in (OLD, YOUNG)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert faults == []
    assert len(world.begun()) == 1
