"""Two imports whose VMs get one name only after both VMs are known."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.contract import Exit, StepError
from steps.model.kinds import CONFIG_MAP, IMPORT, V2V_API_VERSION
from steps.model.plan import ImportRef
from steps.targets.cluster.run_objects import RunObjects
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster
from tests.unit.steps.targets.harvester.test_run import a_request
from tests.unit.steps.targets.harvester.world import World


def a_run(
    cluster: FakeCluster,
    name: str,
    *,
    namespace: str = "default",
    api: str = IMPORT.api_version,
    **status: Any,
) -> World:
    """A run of an import of that name, whose VM gets the name web01."""
    world = World(uid=f"uid-{name}", cluster=cluster)
    update = {
        "run": f"vmi-{name}-0a1b2c3d-g1",
        "import_": ImportRef(api_version=api, name=name, namespace=namespace, uid=f"uid-{name}"),
    }
    world.plan = world.plan.model_copy(update=update)
    metadata = {"name": name, "namespace": namespace, "uid": f"uid-{name}"}
    cluster.put({"apiVersion": api, "kind": IMPORT.kind, "metadata": metadata, "status": status})
    cluster.put(a_request(world.plan, f"request-{name}"))
    return world


def publish(world: World) -> None:
    RunObjects(world.plan, world.cluster, "vmferry").publish_machine(world.machine, world.shape)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def test_of_two_imports_of_one_name_the_later_one_is_refused(cluster: FakeCluster) -> None:
    first, second = a_run(cluster, "a"), a_run(cluster, "b")
    publish(first)
    with pytest.raises(StepError) as caught:
        publish(second)
    assert caught.value.code is Exit.CONFLICT
    assert "import a is creating VirtualMachine default/web01" in str(caught.value)
    assert "targetVirtualMachineName" in str(caught.value)
    publish(first)


def test_an_import_in_another_namespace_is_not_named(cluster: FakeCluster) -> None:
    publish(a_run(cluster, "payroll", namespace="finance"))
    with pytest.raises(StepError) as caught:
        publish(a_run(cluster, "b"))
    assert "an import in another namespace" in str(caught.value)
    assert "payroll" not in str(caught.value)
    assert "finance" not in str(caught.value)


@pytest.mark.parametrize(
    "phase", ["virtualMachineRunning", "virtualMachineImportInvalid", "VMMigrationFailed"]
)
def test_an_import_that_has_ended_takes_no_name(cluster: FakeCluster, phase: str) -> None:
    publish(a_run(cluster, "a", importStatus=phase))
    publish(a_run(cluster, "b"))


@pytest.mark.parametrize("value", ["True", "False"])
def test_an_import_of_the_second_dialect_that_has_ended_takes_no_name(
    cluster: FakeCluster, value: str
) -> None:
    first = a_run(cluster, "a", api=V2V_API_VERSION, conditions=[{"type": "Succeeded", "status": value}])
    publish(first)
    publish(a_run(cluster, "b"))


def test_an_import_of_the_second_dialect_in_progress_takes_its_name(cluster: FakeCluster) -> None:
    publish(a_run(cluster, "a", api=V2V_API_VERSION))
    with pytest.raises(StepError, match="import a is creating"):
        publish(a_run(cluster, "b"))


def test_an_import_that_was_deleted_takes_no_name(cluster: FakeCluster) -> None:
    publish(a_run(cluster, "a"))
    cluster.drop(IMPORT, "a", "default")
    publish(a_run(cluster, "b"))


def test_another_name_or_namespace_is_free(cluster: FakeCluster) -> None:
    publish(a_run(cluster, "a"))
    other = a_run(cluster, "b")
    other.machine = other.machine.model_copy(update={"name": "web02"})
    publish(other)
    elsewhere = a_run(cluster, "c")
    target = elsewhere.plan.target.model_copy(update={"namespace": "vmferry"})
    elsewhere.plan = elsewhere.plan.model_copy(update={"target": target})
    publish(elsewhere)


def test_at_the_same_moment_one_of_both_sees_the_other(cluster: FakeCluster) -> None:
    """Both have published before any of them looks."""
    first, second = a_run(cluster, "a"), a_run(cluster, "b")
    publish(first)
    with pytest.raises(StepError):
        publish(second)
    for found in cluster.all(CONFIG_MAP, "vmferry"):
        found["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    publish(first)
    with pytest.raises(StepError):
        publish(second)
