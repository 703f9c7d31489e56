"""A person asks to undo an import: back to the VM at its source. Pure.

A Workflow that has only the exit handler does the work (decision 0008), so that no part of it needs both the
source's credentials and rights at the target. Nothing that the import made is deleted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from controller.operator.decide import leftovers
from controller.operator.decide.actions import (
    Action,
    AddFinalizer,
    DeleteSecrets,
    DeleteWorkflows,
    EmitEvent,
    RemoveAnnotation,
    RunUndo,
    UpdateStatus,
)
from controller.operator.observe.facts import ENDED, Facts
from steps.model.plan import TargetKind
from steps.model.restore import RestoreState
from workflows.api.annotations import UNDO
from workflows.api.conditions import put
from workflows.api.status import Condition, ConditionStatus, ImportPhase, ImportStatus
from workflows.stages import EXIT_STAGES, HALT
from workflows.status.leftovers import leftovers as left_by
from workflows.status.marked import with_marked
from workflows.status.messages import failure_message
from workflows.status.observed import Observed
from workflows.status.phase import SUCCEEDED, has_succeeded
from workflows.status.restored import UNDOING, UNDONE, read_restored, with_restored

MOST_NAMED: Final = 20
"""Objects that the message names."""


def decide(facts: Facts, now: datetime) -> Iterator[Action]:
    """The actions for the annotation `undo`."""
    request, credentials = facts.request, facts.resolved.credentials
    if facts.undo is not None:
        if facts.undo.phase in ENDED:
            yield from _end(facts, facts.undo, now)
        return
    if credentials is None and request is not None:
        credentials = request.credentials
    if request is None or request.plan is None or facts.machine is None:
        message = "There is nothing to undo: the import has changed nothing, or its request was deleted"
        yield from _refuse("NothingToUndo", message)
    elif facts.seen is not None and not facts.has_ended:
        if has_succeeded(facts.status):  # its exit handler still runs: the end of the Workflow comes first
            return
        yield from _refuse("UndoIgnored", "The import is running; cancel it, then undo it")
    elif credentials is None:
        yield from _refuse("UndoIgnored", f"It cannot be undone now: {facts.resolved.message}")
    else:
        yield AddFinalizer()
        yield UpdateStatus(_undoing(facts.status, now))
        if facts.cleanup is not None:  # it would run at the same time
            yield DeleteWorkflows((facts.cleanup.name,))
        yield RunUndo(request.plan, request.cleanups.attempts, credentials)


def _refuse(reason: str, message: str) -> Iterator[Action]:
    yield EmitEvent(reason, message, warning=True)
    yield RemoveAnnotation(UNDO)


def _undoing(status: ImportStatus, now: datetime) -> ImportStatus:
    message = "Undoing: vmferry stops the VM at the target, then starts the VM at its source"
    return _with_summary(status, ConditionStatus.UNKNOWN, UNDOING, message, now)


def _end(facts: Facts, seen: Observed, now: datetime) -> Iterator[Action]:
    """The result; the run's Workflows are deleted, so that nobody resumes from what is stale.

    The annotation is removed last: until then the same is done again, also by another controller.
    """
    status, done = _result(facts, seen, now)
    yield UpdateStatus(status)
    if done and facts.request is not None and has_succeeded(facts.status):
        yield DeleteSecrets(facts.request.run)
    of_run = [name for name, _ in facts.other_workflows]
    if facts.seen is not None:
        of_run.append(facts.seen.name)
    yield DeleteWorkflows((*of_run, seen.name) if done else (seen.name,))
    yield RemoveAnnotation(UNDO)


def _result(facts: Facts, seen: Observed, now: datetime) -> tuple[ImportStatus, bool]:
    """The status after an undo, and whether the VM at the target is stopped and the source as it was."""
    restored, halt = read_restored(seen), seen.leaf(HALT)
    conditions = with_restored(facts.status.import_conditions, restored, now)
    status = facts.status.model_copy(update={"import_conditions": with_marked(conditions, restored, now)})
    status = leftovers.with_result(facts, status, left_by(seen), now)
    # The first step of a Workflow that is stopped before it starts has failed, too.
    ended = (leaf for leaf in seen.leaves if leaf.stage in EXIT_STAGES)
    failed = next((leaf for leaf in ended if leaf.phase.failed), None)
    if (
        halt is None
        or not halt.phase.succeeded
        or restored.state is RestoreState.FAILED
        or failed is not None
    ):
        why = restored.message or (failure_message(failed) if failed else seen.error or "it was stopped")
        message = f"The undo failed: {why}; annotate the import with {UNDO}=true to try again"
        return _with_summary(status, ConditionStatus.FALSE, "UndoFailed", message, now), False
    source = restored.message or "the VM at its source needed no start"
    message = f"Undone: {source}. {_remains(facts, seen)}"
    status = status.model_copy(update={"import_status": str(ImportPhase.FAILED), "powered_off": ""})
    return _with_summary(status, ConditionStatus.FALSE, UNDONE, message, now), True


def _remains(facts: Facts, seen: Observed) -> str:
    """What remains at the target, and how to delete it."""
    names = _texts(seen.output(HALT, None, "remaining"))
    if not names:
        return "Nothing remains at the target"
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    selector = f"-l migration.harvesterhci.io/import-uid={facts.raw['metadata']['uid']}"
    commands = (f"kubectl delete -n {facts.vm_namespace} {kinds} {selector}" for kinds in _kinds(facts))
    delete = " && ".join(commands)
    listed = ", ".join(names[:MOST_NAMED])
    return f"These remain at the target, stopped: {listed}{more}; to delete them: {delete}"


def _kinds(facts: Facts) -> tuple[str, ...]:
    """The kinds of what an import makes at its target, for one kubectl after the other.

    kubectl waits until the objects do not exist any more. Harvester refuses to delete an image while a claim
    is made from it.
    """
    plan = facts.request.plan if facts.request else None
    if plan is not None and plan.target.kind is TargetKind.KUBEVIRT:
        return ("vm,datavolumes.cdi.kubevirt.io,pvc",)
    return ("vm,pvc", "virtualmachineimages.harvesterhci.io")


def _texts(text: str) -> list[str]:
    try:
        listed = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return []
    return [name[:200] for name in listed if isinstance(name, str)] if isinstance(listed, list) else []


def _with_summary(
    status: ImportStatus, succeeded: ConditionStatus, reason: str, message: str, now: datetime
) -> ImportStatus:
    summary = Condition(type=SUCCEEDED, status=succeeded, reason=reason, message=message)
    return status.model_copy(
        update={
            "step": "",
            "message": message,
            "import_conditions": put(status.import_conditions, summary, now),
        }
    )
