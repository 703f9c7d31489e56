"""A Workflow that does not move: the message of the import, and how a retry restarts it."""

from __future__ import annotations

from datetime import timedelta

from steps.model import names
from steps.model.kinds import CONFIG_MAP, POD, SECRET, WORKFLOW, Object
from tests.unit.controller.operator.world import KEY, World
from tests.unit.workflows.status.situations import RELEASE, at, exited, found, node, upto
from workflows.api.annotations import RETRY
from workflows.api.conditions import find
from workflows.api.status import Condition
from workflows.status.watchdog import PATIENCE, AlarmKind

DONE = (*upto("end"), node("start"))


def still(*nodes: Object, **more: str) -> World:
    """An import whose Workflow has had this state for longer than the time limit."""
    world = World()
    world.look()
    world.argo(*nodes, **more)
    world.look()
    world.now += PATIENCE
    return world


def condition(world: World, kind: AlarmKind) -> Condition:
    made = find(world.status.import_conditions, kind)
    return made or Condition()


def test_the_alarm_is_one_event_with_a_remedy() -> None:
    world = still(found())
    assert condition(world, AlarmKind.STALLED).status == ""
    world.look()
    assert condition(world, AlarmKind.STALLED).status == "True"
    assert world.summary.reason == "WorkflowStalled"
    assert f"annotate the import with {RETRY}=true" in world.status.message
    before = world.cluster.writes()
    world.look(3)
    assert world.cluster.writes() == before
    assert world.events().count("WorkflowStalled") == 1
    world.argo(found(), node("poweroff", "Running"))
    world.look()
    assert condition(world, AlarmKind.STALLED).status == "False"
    assert world.summary.reason == "Running"


def test_an_import_is_requeued_at_the_time_limit() -> None:
    world = World()
    world.look()
    world.argo(found())
    again = world.look()
    assert again is not None
    assert 0 < again <= PATIENCE.total_seconds() + 1
    world.now += timedelta(seconds=again - 5)
    world.look()
    assert condition(world, AlarmKind.STALLED).status == "True"
    assert world.look() == world.options.recheck_seconds


def test_a_retry_stops_a_stalled_workflow_then_starts() -> None:
    world = still(found())
    world.look()
    run = world.workflows()[0]
    world.annotate(retry="true")
    world.look()
    assert world.workflow()["spec"]["shutdown"] == "Stop"
    assert RETRY in world.notes()
    assert "RetryIgnored" not in world.events()
    assert "StalledWorkflowStopped" in world.warnings()
    world.look(2)  # Argo has not reconciled it yet
    assert RETRY in world.notes()
    world.argo(found(), phase="Failed", message="Stopped with strategy 'Stop'")
    world.look(2)
    assert world.workflows() == [f"{run}-r1"]
    assert RETRY not in world.notes()


def test_a_retry_of_a_running_import_is_ignored() -> None:
    world = World()
    world.look()
    world.argo(found(), node("poweroff", "Running"))
    world.annotate(retry="true")
    world.look()
    assert "shutdown" not in world.workflow()["spec"]
    assert "RetryIgnored" in world.events()
    assert RETRY not in world.notes()


def test_a_stalled_cleanup_after_success_is_reported_and_retried() -> None:
    world = still(*DONE)
    world.look()
    assert world.status.import_status == "virtualMachineRunning"
    assert condition(world, AlarmKind.STALLED).status == "True"
    assert (world.summary.status, world.summary.reason) == ("True", "VirtualMachineRunning")
    assert world.events().count("WorkflowStalled") == 1
    run = world.workflows()[0]
    assert world.secret(names.credentials(run)) is not None
    world.annotate(retry="true")
    world.look()
    assert world.workflow()["spec"]["shutdown"] == "Stop"
    world.argo(*DONE, exited(), phase="Failed", message="Stopped with strategy 'Stop'")
    world.look(2)
    assert world.workflows() == [run]
    assert world.cluster.all(SECRET, "vmferry") == []
    assert RETRY not in world.notes()
    assert world.status.import_status == "virtualMachineRunning"


def test_a_retry_after_success_is_ignored_while_cleanup_runs() -> None:
    world = World()
    world.look()
    world.argo(*DONE, node(RELEASE, "Running"))
    world.look(2)
    world.annotate(retry="true")
    world.look()
    assert "shutdown" not in world.workflow()["spec"]
    assert RETRY not in world.notes()


def test_argo_never_reconciled_the_workflow() -> None:
    world = World()
    world.look(2)
    world.workflow()["metadata"]["creationTimestamp"] = at(0)
    world.now += PATIENCE
    world.look()
    assert condition(world, AlarmKind.NOT_ANSWERING).status == "True"
    assert "has had no status since" in world.status.message
    assert world.events().count("ArgoNotAnswering") == 1


def test_a_pod_that_ended_without_argo_raises_an_alarm() -> None:
    world = still(found(), node("poweroff", "Running"))
    pod = ended_pod(world, "poweroff")
    world.look()
    assert condition(world, AlarmKind.NOT_ANSWERING).status == ""  # the pod has just ended
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = at(0)
    world.look()
    assert "the pod of poweroff has ended" in condition(world, AlarmKind.NOT_ANSWERING).message


def test_pods_are_read_only_if_the_workflow_does_not_move() -> None:
    world = World()
    world.look()
    world.argo(found(), node("poweroff", "Running"))
    world.look()
    assert all(call.kind is not POD for call in world.cluster.calls)


def test_without_the_right_to_list_pods_it_continues() -> None:
    world = still(found(), node("poweroff", "Running"))
    ended_pod(world, "poweroff")
    world.cluster.denied.add(("list", POD))
    world.look()
    assert world.summary.reason == "Running"


def ended_pod(world: World, stage: str) -> Object:
    """A pod of the run that has just ended; returns the object itself, so that a test can change it."""
    name, labels = f"{world.run}-{stage}", {names.LABEL_RUN: world.run, names.LABEL_STAGE: stage}
    ends = {"finishedAt": world.now.strftime("%Y-%m-%dT%H:%M:%SZ")}
    world.cluster.put(
        {
            "apiVersion": POD.api_version,
            "kind": POD.kind,
            "metadata": {"name": name, "namespace": "vmferry", "labels": labels},
            "status": {"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": ends}}]},
        }
    )
    found = world.cluster.peek(POD, name, "vmferry")
    assert found is not None
    return found


def test_a_stalled_workflow_is_not_written() -> None:
    world = still(found())
    before = [call for call in world.cluster.writes() if WORKFLOW.plural in call or CONFIG_MAP.plural in call]
    world.look(3)
    after = [call for call in world.cluster.writes() if WORKFLOW.plural in call or CONFIG_MAP.plural in call]
    assert after == before
    assert KEY[1] in str(world.cluster.writes()[-1])
