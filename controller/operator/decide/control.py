"""Requests of a person about a running import: suspend, resume, approve a gate, cancel. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from controller.operator.decide.actions import (
    Action,
    ApproveGate,
    EmitEvent,
    RemoveAnnotation,
    StopWorkflow,
    SuspendWorkflow,
    SyncRequest,
)
from controller.operator.observe.facts import Facts
from steps.model.kinds import GROUP, Object
from steps.model.plan import Gate, OnFailure
from workflows.api.annotations import APPROVE
from workflows.status.nodes import Phase
from workflows.status.observed import Observed
from workflows.status.packed import nodes_of

CANCELLED: Final = f"{GROUP}/cancelled"
"""Annotation of a Workflow that was stopped because of `spec.cancel`."""
SUSPENDED: Final = f"{GROUP}/suspended"
"""Annotation of a Workflow suspended because of `spec.suspend`: the controller resumes only these."""


def control_workflow(facts: Facts) -> Iterator[Action]:
    """The actions on a Workflow that has not ended."""
    seen, spec = facts.seen, facts.import_.spec
    if seen is None or facts.workflow is None:
        return
    if spec.cancel:
        if not seen.stopped:
            yield StopWorkflow(seen.name, cancelled=True)
        return
    is_ours = SUSPENDED in _annotations(facts.workflow)
    if spec.suspend and not seen.paused:
        yield SuspendWorkflow(seen.name, suspended=True)
    elif not spec.suspend and is_ours:
        yield SuspendWorkflow(seen.name, suspended=False)
    yield from _approve(facts, seen)


def sync_request(facts: Facts) -> Iterator[Action]:
    """A changed `spec.onFailure` reaches the exit handler of the Workflow that runs."""
    request = facts.request
    if request is None or request.plan is None:
        return
    wanted = facts.import_.spec.on_failure or OnFailure.KEEP_OFF
    if request.plan.on_failure is not wanted:
        yield SyncRequest(request.plan.model_copy(update={"on_failure": wanted}), request.spec_digest)


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
        yield EmitEvent(
            "ApprovalUnknown", f"annotation {APPROVE}: {value!r} is not a gate; write {known}", warning=True
        )
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
    """Ids of the nodes at which the Workflow waits for a stage's approval."""
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
