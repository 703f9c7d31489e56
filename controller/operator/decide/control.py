"""Requests of a person about a running import: suspend, resume, approve a gate, cancel. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from controller.operator.decide.actions import (
    Action,
    ApproveGate,
    EmitEvent,
    NameClaims,
    RemoveAnnotation,
    StopWorkflow,
    SuspendWorkflow,
    SyncRequest,
)
from controller.operator.observe.facts import Facts
from controller.operator.options import Options
from steps.model.kinds import GROUP, Object
from steps.model.naming import shown
from steps.model.plan import Gate, OnFailure
from steps.model.workflow_nodes import nodes_of
from workflows import mounts
from workflows.api.annotations import APPROVE
from workflows.plan import mark_reasons, source_mark
from workflows.stages import ADMIT, NAME_CLAIMS
from workflows.status.nodes import Phase
from workflows.status.observed import Observed, json_list
from workflows.status.phase import PARKED

QUEUE_SECONDS: Final = 60.0
"""Seconds that a suspended import may keep its place in a queue: those behind it get no lock."""
CANCELLED: Final = f"{GROUP}/cancelled"
"""Annotation of a Workflow that was stopped because of `spec.cancel`."""
SUSPENDED: Final = f"{GROUP}/suspended"
"""Annotation of a Workflow that is suspended because of `spec.suspend`: since when. The controller resumes
only these."""
SUSPENDED_SECONDS: Final = f"{GROUP}/suspended-seconds"
"""Annotation of a Workflow: how long it was suspended before. A short resume starts no new time."""


def control_workflow(facts: Facts, options: Options, now: datetime) -> Iterator[Action]:
    """The actions on a Workflow that has not ended."""
    seen, spec = facts.seen, facts.import_.spec
    if seen is None or facts.workflow is None:
        return
    if seen.stopped:
        if seen.paused:  # its exit handler could not run
            yield SuspendWorkflow(seen.name, suspended=False)
        return
    if spec.cancel:
        yield StopWorkflow(seen.name, cancelled=True)
        return
    since, earlier = _suspended_since(facts.workflow), _earlier_seconds(facts.workflow)
    elapsed = max((now - since).total_seconds(), 0.0) if since else 0.0
    if spec.suspend and (not seen.paused or (SUSPENDED in _annotations(facts.workflow) and since is None)):
        yield SuspendWorkflow(seen.name, suspended=True, earlier_seconds=earlier)
    elif spec.suspend and since and _is_in_the_way(seen, earlier + elapsed, options):
        yield EmitEvent(PARKED, _PARKED_MESSAGE, warning=True)
        yield StopWorkflow(seen.name, parked=True)
        return
    elif not spec.suspend and SUSPENDED in _annotations(facts.workflow):
        yield SuspendWorkflow(seen.name, suspended=False, earlier_seconds=earlier + int(elapsed))
    yield from _name_claims(facts, seen)
    yield from _approve(facts, seen)


def _name_claims(facts: Facts, seen: Observed) -> Iterator[Action]:
    """Say what the pods with all disks mount, if the Workflow waits for that: `admit` has created the claims.

    Every reconcile says the same, until Argo has seen it.
    """
    nodes = tuple(_waiting_nodes(facts.workflow, NAME_CLAIMS))
    plan = facts.request.plan if facts.request is not None else None
    if nodes and plan is not None and facts.machine is not None:
        rows = json_list(seen.output(ADMIT, None, "disks"))
        yield NameClaims(seen.name, nodes, mounts.words(plan, facts.machine, rows))


_PARKED_MESSAGE: Final = (
    "The import was suspended for so long that it is stopped, so that other imports of its source can run; "
    "it resumes from completed work when spec.suspend is false"
)


def _is_in_the_way(seen: Observed, seconds: float, options: Options) -> bool:
    """Whether a suspended Workflow has kept others from running for long enough.

    Argo does nothing with a suspended Workflow. So it keeps its locks, and its place in the queue for a lock;
    and only the first in a queue gets the lock (argo-workflows 4.1.2, workflow/controller/operator.go,
    operate; workflow/sync/semaphore.go, checkAcquire).
    """
    if seen.holds_place:
        return seconds > options.suspend_timeout_seconds
    return seen.in_queue and seconds > QUEUE_SECONDS


def _suspended_since(workflow: Object) -> datetime | None:
    """None if it is not suspended by us, or if the time cannot be read, as that of an earlier version."""
    try:
        since = datetime.fromisoformat(_annotations(workflow).get(SUSPENDED, ""))
    except ValueError:
        return None
    return since if since.tzinfo else None


def _earlier_seconds(workflow: Object) -> int:
    text = _annotations(workflow).get(SUSPENDED_SECONDS, "")
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def sync_request(facts: Facts) -> Iterator[Action]:
    """A changed `spec.onFailure` or `spec.markSource` reaches the exit handler of the Workflow that runs."""
    request = facts.request
    if request is None or request.plan is None:
        return
    spec, plan = facts.import_.spec, request.plan
    is_usable = not any(mark_reasons(spec, plan.source.kind))
    wanted = plan.model_copy(
        update={
            "on_failure": spec.on_failure or OnFailure.KEEP_OFF,
            "mark": source_mark(spec) if is_usable else plan.mark,
        }
    )
    if wanted != plan:
        yield SyncRequest(wanted, request.spec_digest)


def was_cancelled(workflow: Object | None) -> bool:
    return workflow is not None and CANCELLED in _annotations(workflow)


def _approve(facts: Facts, seen: Observed) -> Iterator[Action]:
    """Approve the named gates that are reached. The others stay in the annotation."""
    if APPROVE not in facts.annotations:
        return
    value = facts.annotations[APPROVE]
    words = [word.strip() for word in value.split(",") if word.strip()]
    unknown = [word for word in words if word not in list(Gate)]
    if unknown or not words:
        known = ", ".join(Gate)
        message = f"annotation {APPROVE}: {shown(value)} is not a gate; write {known}"
        yield EmitEvent("ApprovalUnknown", message, warning=True)
        yield RemoveAnnotation(APPROVE)
        return
    for gate in Gate:
        nodes = tuple(_waiting_nodes(facts.workflow, f"approve-{gate}"))
        if gate in words and nodes:
            left = ",".join(word for word in words if word != gate)
            yield ApproveGate(seen.name, nodes, gate, _annotation_author(facts.raw, APPROVE), left)
            return
    if all(seen.succeeded(f"approve-{word}") or word not in facts.import_.spec.approvals for word in words):
        yield RemoveAnnotation(APPROVE)


def _waiting_nodes(workflow: Object | None, stage: str) -> Iterator[str]:
    """Ids of the nodes at which the Workflow waits for a person, or for the controller."""
    for name, node in nodes_of((workflow or {}).get("status") or {}).items():
        if not isinstance(node, dict):
            continue
        open_ = node.get("type") == "Suspend" and node.get("phase") == Phase.RUNNING
        if open_ and node.get("templateName") == stage:
            yield name


def _annotation_author(raw: Object, annotation: str) -> str:
    """Who wrote an annotation: the API server records only the client's name (metadata.managedFields)."""
    writers = [
        entry.get("manager", "")
        for entry in raw["metadata"].get("managedFields") or []
        if f"f:{annotation}" in _fields(entry)
    ]
    return writers[-1] if writers else "an unknown client"


def _fields(entry: Any) -> Any:
    return ((entry.get("fieldsV1") or {}).get("f:metadata") or {}).get("f:annotations") or {}


def _annotations(resource: Object) -> dict[str, str]:
    return resource["metadata"].get("annotations") or {}
