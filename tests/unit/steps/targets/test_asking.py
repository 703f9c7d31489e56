"""The checks of the target by its three callers: `admit`, `vmferry plan`, and the dry run in a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from controller.cli import dryrun
from controller.local.cluster_target import KUBECONFIG
from steps.admit import refuse_excess
from steps.ask_target import answer_of
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, IMAGE, MACHINE, NODE, RESOURCE_QUOTA, STORAGE_CLASS
from steps.model.plan import ImportLimits
from steps.model.target_answer import TargetAnswer
from steps.runtime import kubeapi
from steps.runtime.stop import Stop
from steps.targets import in_cluster
from steps.targets.cluster.run_objects import RunObjects
from tests.unit.builders import a_nic
from tests.unit.steps.targets.harvester.fake_cluster import READ
from tests.unit.steps.targets.harvester.world import World as HarvesterWorld
from tests.unit.steps.targets.kubevirt.world import World as KubeVirtWorld

World = HarvesterWorld | KubeVirtWorld
WORLDS: Final[dict[str, Callable[..., World]]] = {"harvester": HarvesterWorld, "kubevirt": KubeVirtWorld}
RELEASE: Final = "vmferry"


@pytest.fixture(params=list(WORLDS))
def world(request: pytest.FixtureRequest) -> World:
    return WORLDS[request.param](disks=2)


def of_admit(world: World) -> TargetAnswer:
    """What the step finds, with the same scratch as a run."""
    objects = RunObjects(world.plan, world.cluster, RELEASE)
    needs = objects.scratch_needs(world.machine.disks)
    target = in_cluster(world.plan, world.cluster, Stop(), machine=world.machine, scratch=needs)
    try:
        refuse_excess(world.plan, world.machine)
        volumes = target.name_volumes(world.shape, None)
        return TargetAnswer(admission=target.admit(world.shape, volumes), volumes=volumes)
    except StepError as error:
        return TargetAnswer.refusal(error)


def of_dry_run(world: World) -> TargetAnswer:
    return answer_of(world.plan, world.machine, world.cluster, Stop(), RELEASE)


def of_command_line(world: World, monkeypatch: pytest.MonkeyPatch) -> TargetAnswer:
    monkeypatch.setenv(KUBECONFIG, "/nowhere")
    monkeypatch.setattr(kubeapi, "connect", lambda *_, **__: world.cluster)
    return dryrun._ask_target(world.plan, world.machine, world.shape, Stop())


def words(answer: TargetAnswer) -> tuple[set[tuple[str, str, str]], list[str]]:
    """Findings and refusals. Sets, because the order does not matter."""
    found = {(one.check, str(one.verdict), one.message) for one in answer.admission.findings}
    return found, sorted(one.message for one in answer.refused)


def quota(world: World) -> None:
    world.cluster.put(
        {
            "apiVersion": RESOURCE_QUOTA.api_version,
            "kind": RESOURCE_QUOTA.kind,
            "metadata": {"name": "team", "namespace": "default"},
            "spec": {"hard": {"requests.storage": "1Gi"}},
        }
    )


def no_node(world: World) -> None:
    for node in world.cluster.all(NODE):
        node["status"]["allocatable"] = {"cpu": "1", "memory": "1Gi", "pods": "110"}


def no_network(world: World) -> None:
    world.machine = world.machine.model_copy(update={"nics": (a_nic(network="x"),)})
    rows = world.plan.target.model_copy(update={"networks": world.plan.target.networks})
    world.plan = world.plan.model_copy(update={"target": rows})


def taken(world: World) -> None:
    vm = {"apiVersion": MACHINE.api_version, "kind": MACHINE.kind, "spec": {}}
    spec = {"runStrategy": "Halted", "template": {"spec": {}}}
    world.cluster.put({**vm, "metadata": {"name": "web01", "namespace": "default"}, "spec": spec})


def no_class(world: World) -> None:
    for found in world.cluster.all(STORAGE_CLASS):
        world.cluster.drop(STORAGE_CLASS, found["metadata"]["name"])


CHANGES: Final[dict[str, Callable[[World], None]]] = {
    "accepted": lambda _: None,
    "quota": quota,
    "node": no_node,
    "network": no_network,
    "name": taken,
    "class": no_class,
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_three_callers_report_the_same(
    world: World, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    CHANGES[change](world)
    admit, asked = words(of_admit(world)), words(of_dry_run(world))
    assert asked == admit
    assert words(of_command_line(world, monkeypatch)) == admit
    assert bool(admit[1]) == (change not in ("accepted", "network"))


def test_to_ask_changes_nothing(world: World) -> None:
    kinds = (IMAGE, CLAIM, MACHINE)
    before = {kind: world.cluster.all(kind) for kind in kinds}
    world.cluster.calls.clear()
    answer = of_dry_run(world)
    assert answer.volumes.names
    assert {kind: world.cluster.all(kind) for kind in kinds} == before
    assert {call.verb for call in world.cluster.calls} <= {*READ, "create"}


def test_the_limits_of_the_installation_are_reported_with_the_rest(world: World) -> None:
    quota(world)
    limits = ImportLimits(max_scratch_per_namespace=1 << 20)
    world.plan = world.plan.model_copy(update={"limits": limits})
    (first, second) = [one.message for one in of_dry_run(world).refused]
    assert "the quota of namespace default is too small" in first
    assert "of scratch, which namespace default may not use" in second


def test_a_vm_with_more_than_an_import_may_have_is_refused(world: World) -> None:
    world.plan = world.plan.model_copy(update={"limits": ImportLimits(max_disks=1)})
    (only,) = of_dry_run(world).refused
    assert only.code == Exit.UNSUPPORTED


def test_a_target_that_does_not_answer_is_not_checked(world: World) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise StepError(Exit.UNREACHABLE, "the API server does not answer")

    world.cluster.find = away  # type: ignore[method-assign]
    world.cluster.get = away  # type: ignore[method-assign]
    answer = of_dry_run(world)
    assert answer.refused == ()
    assert [one.message for one in answer.admission.findings] == ["the API server does not answer"]
