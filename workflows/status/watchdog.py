"""Whether a running Workflow still makes progress: Argo may be down, or the Workflow cannot end. Pure.

There are two alarms, each a condition of the import. They are raised only after a Workflow has not changed
for `PATIENCE`: no client has written to it, and none of its steps has started or ended.

    ArgoNotAnswering   Argo has not started the Workflow, does not stop it, or does not see that a pod ended
    WorkflowStalled    no step is running and the Workflow waits for nothing, so it will not continue

Approvals, locks, unschedulable pods and `spec.suspend` are valid reasons to wait. So is the back-off before
another attempt, which is shorter than `PATIENCE`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from steps.model import names
from workflows.api.annotations import RETRY
from workflows.api.conditions import TIME, find, keep_times, put
from workflows.api.status import Condition, ConditionStatus, ImportStatus
from workflows.stages import STAGES
from workflows.status.nodes import Leaf, Phase
from workflows.status.observed import Observed
from workflows.status.phase import SUCCEEDED

PATIENCE: Final = timedelta(minutes=2)
_GATES: Final = frozenset(stage.name for stage in STAGES if stage.gate or stage.answer)
_ENDED: Final = ("Succeeded", "Failed")
Pods = Sequence[Mapping[str, Any]]


class AlarmKind(enum.StrEnum):
    """Types of the conditions, and reasons of `Succeeded` while they are True."""

    NOT_ANSWERING = "ArgoNotAnswering"
    STALLED = "WorkflowStalled"


@dataclass(frozen=True)
class Alarm:
    """What is wrong, and what to do about it."""

    kind: AlarmKind
    message: str


def seconds_left(seen: Observed, now: datetime) -> float:
    """Seconds until an unchanged Workflow reaches `PATIENCE`; 0 or less after that."""
    return (
        (PATIENCE - (now - seen.last_change)).total_seconds()
        if seen.last_change
        else PATIENCE.total_seconds()
    )


def is_unchanged(seen: Observed, now: datetime) -> bool:
    """Whether a running Workflow has not changed for `PATIENCE`."""
    return not seen.phase.fulfilled and seconds_left(seen, now) <= 0


def needs_pods(seen: Observed, now: datetime) -> bool:
    """Whether the alarm depends on the pods of the run."""
    return is_unchanged(seen, now) and any(_has_pod(leaf) for leaf in seen.leaves)


def find_alarm(seen: Observed, pods: Pods | None, now: datetime) -> Alarm | None:
    """The alarm about a Workflow; `pods` are the pods of its run, None if they cannot be listed."""
    if not is_unchanged(seen, now):
        return None
    since = seen.last_change.astimezone(UTC).strftime(TIME) if seen.last_change else "?"
    if not seen.has_phase:
        return _not_answering_alarm(seen, f"it has had no status since {since}")
    if seen.unreadable:
        return None
    busy = [leaf for leaf in seen.leaves if _is_busy(leaf)]
    if seen.stopped and not any(map(_has_pod, busy)):
        return _not_answering_alarm(seen, f"a stop was requested at {since}, and it has not ended")
    if step := _unnoticed_end(busy, pods or (), now):
        return _not_answering_alarm(
            seen, f"the pod of {step} has ended, but the Workflow shows it as running"
        )
    waits = busy or seen.waits or seen.paused or seen.stopped or seen.phase is not Phase.RUNNING
    return None if waits else _stalled_alarm(seen, since)


def with_alarm(
    before: ImportStatus, status: ImportStatus, alarm: Alarm | None, now: datetime
) -> ImportStatus:
    """The status with the alarm: as a condition, and as the message while the import runs.

    An earlier alarm that no longer holds becomes False. `before` is the status as it was last written: a
    condition that is the same there keeps its times.
    """
    conditions = status.import_conditions
    for kind in AlarmKind:
        if alarm is not None and alarm.kind is kind:
            raised = Condition(type=kind, status=ConditionStatus.TRUE, reason=kind, message=alarm.message)
            conditions = put(conditions, raised, now)
        elif find(conditions, kind) is not None:
            conditions = put(
                conditions, Condition(type=kind, status=ConditionStatus.FALSE, reason="Moving"), now
            )
    result = status.model_copy(update={"import_conditions": conditions})
    summary = find(conditions, SUCCEEDED)
    if alarm is not None and summary is not None and summary.status == ConditionStatus.UNKNOWN:
        condition = Condition(
            type=SUCCEEDED, status=ConditionStatus.UNKNOWN, reason=alarm.kind, message=alarm.message
        )
        update = {"message": alarm.message, "import_conditions": put(conditions, condition, now)}
        result = result.model_copy(update=update)
    return result.model_copy(
        update={"import_conditions": keep_times(before.import_conditions, result.import_conditions)}
    )


# --- inside


def _is_busy(leaf: Leaf) -> bool:
    return leaf.phase in (Phase.RUNNING, Phase.PENDING)


def _has_pod(leaf: Leaf) -> bool:
    """Whether a pod of this stage should be running."""
    return _is_busy(leaf) and leaf.stage not in _GATES


def _unnoticed_end(busy: Iterable[Leaf], pods: Pods, now: datetime) -> str:
    """A stage whose pods all ended `PATIENCE` ago, but that the Workflow shows as running; else empty."""
    for leaf in busy:
        own_pods = [pod for pod in pods if _stage(pod) == (leaf.stage, leaf.disk or "")]
        if own_pods and all(_ended_long_ago(pod, now) for pod in own_pods):
            return leaf.title
    return ""


def _stage(pod: Mapping[str, Any]) -> tuple[str, str]:
    """The stage of a pod, or the point at which it waits for a hook, and its disk."""
    labels = pod["metadata"].get("labels") or {}
    stage = labels.get(names.LABEL_POINT) or labels.get(names.LABEL_STAGE, "")
    return stage, labels.get(names.LABEL_DISK, "")


def _ended_long_ago(pod: Mapping[str, Any], now: datetime) -> bool:
    status = pod.get("status") or {}
    containers = status.get("containerStatuses") or []
    ends = [
        ((container.get("state") or {}).get("terminated") or {}).get("finishedAt") for container in containers
    ]
    known = [datetime.fromisoformat(end) for end in ends if end]
    ended = status.get("phase") in _ENDED and len(known) == len(containers)
    return ended and bool(known) and now - max(known) >= PATIENCE


def _not_answering_alarm(seen: Observed, sign: str) -> Alarm:
    return Alarm(
        AlarmKind.NOT_ANSWERING,
        f"Argo's controller does not act on Workflow {seen.namespace}/{seen.name}: {sign}. Make sure that "
        f"workflow-controller runs and watches namespace {seen.namespace}; the import then continues",
    )


def _stalled_alarm(seen: Observed, since: str) -> Alarm:
    return Alarm(
        AlarmKind.STALLED,
        f"Workflow {seen.namespace}/{seen.name} has not changed since {since}: no step is running and the "
        "Workflow waits for nothing. Make sure that Argo's workflow-controller runs. If it does, annotate "
        f"the import with {RETRY}=true: vmferry stops the Workflow, and a new one resumes the import",
    )
