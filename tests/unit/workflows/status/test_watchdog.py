"""A Workflow that does not move any more is detected, and one that waits for something is ignored."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from steps.model import names
from tests.unit.workflows.status.situations import (
    DISKS,
    IMPORT,
    NOW,
    RECORDED,
    Json,
    at,
    found,
    later,
    node,
    reflected,
    summary,
    upto,
    workflow,
)
from workflows.api.conditions import find
from workflows.stages import STAGES
from workflows.status.nodes import parse_time
from workflows.status.observed import Observed, observe
from workflows.status.reflect import reflect
from workflows.status.watchdog import (
    PATIENCE,
    Alarm,
    AlarmKind,
    find_alarm,
    is_unchanged,
    needs_pods,
    seconds_left,
    with_alarm,
)

LONG: Final = PATIENCE + timedelta(seconds=30)


def seen(*nodes: Json, **more: Any) -> Observed:
    made = observe(workflow(*nodes, **more))
    assert made is not None
    return made


def alarm(*nodes: Json, pods: list[Json] | None = None, after: timedelta = LONG, **more: Any) -> Alarm | None:
    one = seen(*nodes, **more)
    assert one.last_change is not None
    return find_alarm(one, pods, one.last_change + after)


def group(name: str, phase: str = "Running", **more: Any) -> Json:
    return node(name, phase, kind="DAG", **more)


def a_pod(stage: str, disk: str = "", *, phase: str = "Succeeded", end: float = 10) -> Json:
    terminated = {"terminated": {"finishedAt": at(end)}} if phase != "Running" else {"running": {}}
    labels = {names.LABEL_STAGE: stage, **({names.LABEL_DISK: disk} if disk else {})}
    statuses = [{"state": terminated}, {"state": terminated}]
    return {"metadata": {"labels": labels}, "status": {"phase": phase, "containerStatuses": statuses}}


HUNG = (
    *upto("end"),
    group("transfer"),
    node("disks", kind="TaskGroup", phase="Running"),
    group("disks(0:disk-0)"),
    node("start"),
)
"""The nodes that an older retry of `start` left: the stages after the transfer had no group."""


def test_a_workflow_without_steps_to_run_is_stalled() -> None:
    raised = alarm(*HUNG)
    assert raised is not None
    assert raised.kind is AlarmKind.STALLED
    assert "has not changed since 2026-11-21T12:00:10Z" in raised.message
    assert "migration.harvesterhci.io/retry=true" in raised.message


def test_no_alarm_before_the_time_limit() -> None:
    one = seen(*HUNG)
    assert find_alarm(one, None, later(129)) is None
    assert find_alarm(one, None, later(130)) is not None
    assert seconds_left(one, later(30)) == 100


def test_a_stage_that_is_never_started_is_stalled() -> None:
    raised = alarm(found())
    assert raised is not None
    assert raised.kind is AlarmKind.STALLED


def test_a_retry_in_argo_that_never_starts_is_stalled() -> None:
    raised = alarm(*upto("image"), node("image", "Running", "disk-0", kind="Retry"))
    assert raised is not None
    assert raised.kind is AlarmKind.STALLED


@pytest.mark.parametrize(
    "nodes",
    [
        (found(), node("approve-poweroff", "Running", kind="Suspend")),
        (found(), node("poweroff", "Running")),
        (found(), node("poweroff", "Pending")),
        (found(), group("transfer", "Pending", message="Waiting for the lock 0/2")),
        (
            found(),
            group(
                "transfer",
                message="Waiting for the lock 0/2",
                synchronizationStatus={"waiting": "vmferry/ConfigMap/vmferry-limits/x.machines"},
            ),
        ),
        (*upto("image"), node("image", "Pending", "disk-0", message="Unschedulable: 0/1 nodes")),
    ],
    ids=["gate", "at work", "pod is made", "lock", "lock after a retry", "no place"],
)
def test_a_waiting_workflow_raises_no_alarm(nodes: tuple[Json, ...]) -> None:
    assert alarm(*nodes, after=timedelta(days=3)) is None


@pytest.mark.parametrize(
    "more",
    [
        {"spec": {"suspend": True}},
        {"phase": "Succeeded"},
        {"phase": "Failed"},
        {"phase": "Error"},
        {"phase": "Pending", "message": "too many workflows are already running"},
    ],
    ids=json.dumps,
)
def test_an_ended_workflow_raises_no_alarm(more: Json) -> None:
    assert alarm(*HUNG, after=timedelta(days=3), **more) is None


def test_unreadable_nodes_raise_no_alarm() -> None:
    made = workflow(offloadNodeStatusVersion="7", startedAt=at(0))
    del made["status"]["nodes"]
    one = observe(made)
    assert one is not None
    assert find_alarm(one, None, later(9999)) is None


def test_the_back_off_is_shorter_than_the_time_limit() -> None:
    assert max(stage.retry.cap for stage in STAGES) < PATIENCE.total_seconds()


def test_any_write_counts_as_a_change() -> None:
    """As when `spec.suspend` is removed after a night: the steps ended long ago."""
    made = workflow(*HUNG)
    made["metadata"]["managedFields"] = [{"manager": "vmferry", "time": at(40000)}, {"manager": "odd"}]
    one = observe(made)
    assert one is not None
    assert one.last_change == later(40000)


def test_a_workflow_without_timestamps_raises_no_alarm() -> None:
    one = observe({"metadata": {"name": "x"}, "status": {"phase": "Running"}})
    assert one is not None
    assert one.last_change is None
    assert not is_unchanged(one, later(10**6))


# --- Argo


def test_argo_does_not_start_a_workflow() -> None:
    made = workflow()
    made["metadata"]["creationTimestamp"] = at(0)
    made["status"] = {}
    one = observe(made)
    assert one is not None
    assert find_alarm(one, None, later(119)) is None
    raised = find_alarm(one, None, later(120))
    assert raised is not None
    assert raised.kind is AlarmKind.NOT_ANSWERING
    assert "has had no status since 2026-11-21T12:00:00Z" in raised.message
    assert "workflow-controller runs and watches namespace vmferry" in raised.message


def test_argo_does_not_reconcile_a_retry() -> None:
    """Recording 4: right after `argo retry` the phase is empty but there are steps."""
    one = observe(RECORDED["4-just-retried"])
    assert one is not None
    assert one.last_change is not None
    raised = find_alarm(one, None, one.last_change + PATIENCE)
    assert raised is not None
    assert raised.kind is AlarmKind.NOT_ANSWERING


def test_argo_does_not_stop_a_workflow() -> None:
    gate = node("approve-poweroff", "Running", kind="Suspend")
    for nodes in ([found()], [found(), gate]):
        raised = alarm(*nodes, spec={"shutdown": "Stop"})
        assert raised is not None
        assert raised.kind is AlarmKind.NOT_ANSWERING
    assert alarm(found(), node("poweroff", "Running"), spec={"shutdown": "Stop"}) is None


EVICTED = {**a_pod("export", "disk-0"), "status": {"phase": "Failed", "reason": "Evicted"}}
"""Nothing says when its containers ended."""
EXPORTING = (*upto("export"), node("export", "Running", "disk-0"))


@pytest.mark.parametrize(
    ("pods", "raised"),
    [
        ([a_pod("export", "disk-0")], True),
        ([a_pod("export", "disk-0", phase="Failed")], True),
        ([a_pod("export", "disk-0", phase="Running")], False),
        ([a_pod("export", "disk-0"), a_pod("export", "disk-0", phase="Running")], False),
        ([a_pod("export", "disk-0", end=60)], False),
        ([a_pod("export", "disk-1"), a_pod("poweroff")], False),
        ([EVICTED], False),
        ([], False),
        (None, False),
    ],
)
def test_argo_does_not_notice_an_ended_pod(pods: list[Json] | None, *, raised: bool) -> None:
    one = seen(*EXPORTING)
    assert needs_pods(one, later(170))
    made = find_alarm(one, pods, later(170))
    assert (made is not None) is raised
    if made is not None:
        assert made.kind is AlarmKind.NOT_ANSWERING
        assert "the pod of export disk-0 has ended" in made.message


@pytest.mark.parametrize(("phase", "raised"), [("Failed", True), ("Running", False)])
def test_argo_does_not_notice_the_end_of_a_pod_that_waits_for_a_hook(phase: str, *, raised: bool) -> None:
    pod = a_pod("hook", phase=phase)
    pod["metadata"]["labels"][names.LABEL_POINT] = "before-poweroff"
    one = seen(found(), node("admit"), node("before-poweroff", "Running"))
    assert needs_pods(one, later(170))
    assert (find_alarm(one, [pod], later(170)) is not None) is raised


def test_pods_are_needed_only_for_an_unchanged_workflow() -> None:
    assert not needs_pods(seen(*EXPORTING), later(60))
    assert not needs_pods(seen(found(), node("approve-poweroff", "Running", kind="Suspend")), later(9999))
    assert not needs_pods(seen(*HUNG), later(9999))


@pytest.mark.parametrize("moment", RECORDED)
def test_the_real_argo_moved_all_the_time(moment: str) -> None:
    one = observe(RECORDED[moment])
    assert one is not None
    assert find_alarm(one, None, written(moment)) is None


def written(moment: str) -> datetime:
    times = [parse_time(entry["time"]) for entry in RECORDED[moment]["metadata"]["managedFields"]]
    return max(time for time in times if time)


# --- the import's status


def test_an_alarm_is_raised_and_cleared_while_the_import_runs() -> None:
    before = reflected(found())
    raised = alarm(found())
    assert raised is not None
    status = with_alarm(before, before, raised, later(200))
    assert (summary(status).status, summary(status).reason) == ("Unknown", "WorkflowStalled")
    assert summary(status).message == status.message == raised.message
    stalled = find(status.import_conditions, AlarmKind.STALLED)
    assert stalled is not None
    assert (stalled.status, stalled.last_transition_time) == ("True", at(200))
    assert stalled.message == raised.message
    moving = with_alarm(status, reflect(workflow(found()), IMPORT, status, later(300)), None, later(300))
    over = find(moving.import_conditions, AlarmKind.STALLED)
    assert over is not None
    assert (over.status, over.last_transition_time) == ("False", at(300))
    assert summary(moving).reason == "Running"


def test_a_repeated_alarm_changes_nothing() -> None:
    raised = alarm(found())
    before = reflected(found())
    status = with_alarm(before, before, raised, later(200))
    again = reflect(workflow(found()), IMPORT, status, later(500))
    assert again != status
    assert with_alarm(status, again, raised, later(500)) == status


def test_an_alarm_does_not_change_a_succeeded_import() -> None:
    done = reflected(*HUNG)
    assert done.import_status == "virtualMachineRunning"
    status = with_alarm(done, done, alarm(*HUNG), later(200))
    assert (summary(status).status, summary(status).reason) == ("True", "VirtualMachineRunning")
    assert status.message == done.message
    assert find(status.import_conditions, AlarmKind.STALLED) is not None


def test_an_alarm_that_was_never_raised_is_not_set() -> None:
    status = reflected(*upto("export", DISKS))
    assert with_alarm(status, status, None, NOW) == status
