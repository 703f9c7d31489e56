"""Decides the actions for an import from its facts only. Pure: no clock, no API, no memory.

The order of the actions is part of the decision: a status that names a Workflow is written before that
Workflow is created, so that a controller killed in between creates the same one, and never a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from controller.operator.decide import control, deletion, expiry, hooks, leftovers, undo
from controller.operator.decide.actions import (
    Action,
    AddFinalizer,
    DeleteCredentials,
    DeleteRuns,
    DeleteSecrets,
    DeleteWorkflows,
    DryRun,
    EmitEvent,
    RemoveAnnotation,
    RemoveFinalizer,
    StopWorkflow,
    SubmitWorkflow,
    SyncCredentials,
    UpdateStatus,
)
from controller.operator.decide.dryrun import PLANNED, with_drift
from controller.operator.decide.status import (
    failed_at_first,
    refusal_status,
    rival_status,
    waiting_status,
    with_link,
    with_mapping,
    with_source_outage,
    with_start_message,
)
from controller.operator.observe.facts import Facts, is_other_vm
from controller.operator.observe.source import REFUSED, SOURCE_NOT_READY, WITHDRAWN
from controller.operator.options import InitFailure, Options
from steps.model.contract import Exit
from steps.model.plan import DiskForm, DiskWay, Plan
from workflows import argo_names, texts
from workflows.api.annotations import RETRY, UNDO
from workflows.api.conditions import find, put
from workflows.api.status import (
    Condition,
    ConditionStatus,
    ImportPhase,
    ImportStatus,
    WorkflowReference,
)
from workflows.plan import run_name
from workflows.stages import STAGES
from workflows.status import watchdog
from workflows.status.phase import CANCELLED, PARKED, SUCCEEDED, has_succeeded
from workflows.status.reflect import announce, reflect
from workflows.status.restored import is_stale

SECRET_SECONDS: Final = 30.0
"""Seconds until an import that waits for a Secret notices its change."""
RIVAL_SECONDS: Final = 15.0
"""Seconds until an import starts after the end of its rival."""
START_SECONDS: Final = 15.0
"""Seconds until KubeVirt's messages about a starting VM are noticed."""
OF_CREDENTIALS: Final = {Exit.DENIED.word, Exit.UNTRUSTED.word, Exit.INVALID.word}
"""Reasons for which a check refuses the content of a Secret. Others, such as NotFound, wait for a person:
the VM would be powered off at an unexpected time."""
WITH_CREDENTIALS: Final = {stage.name for stage in STAGES if stage.check and stage.credentials}
IMPORTED_BEFORE: Final = "ImportedBefore"
"""Type of the condition, and reason of the Event, about an earlier import of the same VM."""
FIRST_CONTACT: Final = (
    "SecretNotFound",
    "SecretNotPermitted",
    "SecretDenied",
    "SecretInvalid",
    SOURCE_NOT_READY,
)
"""Reasons for which the source cannot be reached at first."""
FINAL: Final = (ImportPhase.RUNNING, ImportPhase.INVALID, ImportPhase.FAILED)


@dataclass(frozen=True)
class Decision:
    """The actions, in order, and the maximum seconds until the next reconcile."""

    actions: tuple[Action, ...]
    requeue_seconds: float

    @property
    def makes_dry_run(self) -> bool:
        """Whether a dry run starts or continues."""
        return any(isinstance(action, DryRun) for action in self.actions)

    @property
    def starts_workflow(self) -> bool:
        """Whether a Workflow will be created."""
        return any(isinstance(action, SubmitWorkflow) for action in self.actions)


def decide(facts: Facts, options: Options, now: datetime) -> Decision:
    """The next actions for an import; none when nothing must change."""
    if facts.deletion_time:
        actions, seconds = deletion.decide(facts, options, now)
        return Decision((*hooks.end_hooks(facts), *actions), seconds)
    return Decision(tuple(_actions(facts, options, now)), _requeue_seconds(facts, options, now))


def _requeue_seconds(facts: Facts, options: Options, now: datetime) -> float:
    """Seconds until the next reconcile: earlier if a Secret may change or a Workflow may stall."""
    if facts.rival is not None:  # the end of another import causes no event here
        return min(options.recheck_seconds, RIVAL_SECONDS)
    if facts.start_message:  # VMs are not watched
        return min(options.recheck_seconds, START_SECONDS)
    if _waits_for_credentials(facts.status) or _waits_in_v2v(facts):  # Secrets are not watched
        return min(options.recheck_seconds, SECRET_SECONDS)
    if facts.seen is None or facts.has_ended:
        return options.recheck_seconds
    has_hook = hooks.is_waiting(facts)
    if has_hook or (facts.seen.in_queue and facts.import_.spec.suspend):
        return min(options.recheck_seconds, hooks.HOOK_SECONDS if has_hook else control.QUEUE_SECONDS)
    left = watchdog.seconds_left(facts.seen, now)
    return min(options.recheck_seconds, left + 1) if left > 0 else options.recheck_seconds


def _waits_in_v2v(facts: Facts) -> bool:
    """Whether an import of the other dialect waits for its Secret, or is checked again soon."""
    waits = bool(facts.resolved.reason) or facts.status.import_status == ImportPhase.INVALID
    return facts.dialect is not None and waits


def _actions(facts: Facts, options: Options, now: datetime) -> Iterator[Action]:
    if _is_foreign_status(facts):
        yield from _handle_foreign_status(facts, now)
    elif (UNDO in facts.annotations or facts.undo is not None) and not facts.other_controller:
        yield from undo.decide(facts, now)
    elif has_succeeded(facts.status):
        yield from _end_succeeded(facts, now)
    elif facts.other_controller:
        yield waiting_status(facts, facts.status, "OtherController", facts.other_controller, now)
    elif expiry.has_expired(facts.status):
        yield from _follow_expired(facts, options, now)
    elif facts.seen is not None:
        yield from _follow_workflow(facts, options, now)
    elif facts.status.workflow is not None and facts.status.import_status not in (
        ImportPhase.NEW,
        ImportPhase.INVALID,
    ):
        yield from _after_workflow(facts, options, now, reflect(None, facts.import_, facts.status, now))
    else:
        yield from _start_or_wait(facts, options, now)


def _end_succeeded(facts: Facts, now: datetime) -> Iterator[Action]:
    """A succeeded import. Its Workflow should end by itself; a retry stops a stalled one."""
    if facts.seen is None or facts.has_ended:
        yield from _settle_succeeded(facts, now)
        return
    alarm = watchdog.find_alarm(facts.seen, facts.pods, now)
    yield UpdateStatus(watchdog.with_alarm(facts.status, facts.status, alarm, now))
    if RETRY not in facts.annotations or facts.seen.stopped:
        return
    if alarm is not None:
        yield from _stop_stalled(facts)
    else:
        yield RemoveAnnotation(RETRY)


def _settle_succeeded(facts: Facts, now: datetime) -> Iterator[Action]:
    """A succeeded import whose Workflow has ended: it keeps its finalizer until its source is clean."""
    found = leftovers.at_source(facts, now)
    status = leftovers.with_leftovers(facts, facts.status, found, now)
    if status != facts.status:
        yield UpdateStatus(status)
    if found.needs_cleanup:
        yield from leftovers.next_cleanup(facts, now)
        return
    # The finalizer is removed in a reconcile that writes no status, which would change the version.
    yield from _release_succeeded(facts, remove_finalizer=facts.has_finalizer and status == facts.status)


def _stop_stalled(facts: Facts) -> Iterator[Action]:
    """Stop a stalled Workflow. The annotation stays, because the retry follows after that."""
    if facts.seen is not None:
        message = f"Workflow {facts.seen.name} is stalled; the retry stops it"
        yield EmitEvent("StalledWorkflowStopped", message, warning=True)
        yield StopWorkflow(facts.seen.name)


def _release_succeeded(facts: Facts, *, remove_finalizer: bool = False) -> Iterator[Action]:
    """The remaining actions for a succeeded import.

    It has nothing to release and needs no finalizer: after an uninstall nothing would remove the finalizer.
    """
    has_copy = facts.request is not None and facts.request.credentials is not None
    if facts.request is not None and has_copy and _is_at_rest(facts):
        yield DeleteSecrets(facts.request.run)
    if remove_finalizer and _is_at_rest(facts):
        yield RemoveFinalizer()
    if RETRY in facts.annotations and facts.request is not None:
        yield RemoveAnnotation(RETRY)


def _is_at_rest(facts: Facts) -> bool:
    """Whether no Workflow runs: an exit handler still needs the credentials."""
    return facts.seen is None or facts.has_ended


# --- a status of another controller


def _is_foreign_status(facts: Facts) -> bool:
    """Whether vm-import-controller wrote the status, or the status names the run of another import.

    vm-import-controller writes no Workflow and none of our conditions.
    """
    status = facts.status
    if status.workflow is not None:
        return bool(status.import_status) and not facts.run
    return bool(status.import_status) and find(status.import_conditions, SUCCEEDED) is None


def _handle_foreign_status(facts: Facts, now: datetime) -> Iterator[Action]:
    """An ended import stays unchanged. A running one waits for a person: the state of its VM is unknown."""
    status = facts.status
    if facts.other_controller or status.import_status == ImportPhase.RUNNING:
        return
    if RETRY in facts.annotations:
        fresh = ImportStatus(import_conditions=status.import_conditions)
        message = "Taken over from another controller; the import starts from the beginning"
        yield waiting_status(facts, fresh, "TakenOver", message, now)
    elif status.import_status not in FINAL:
        message = (
            f"Another controller left this import in the phase {status.import_status}; check the VM and its "
            f"disks, then annotate the import with {RETRY}=true to start the import again"
        )
        if message != status.message:
            yield EmitEvent("ForeignStatus", message, warning=True)
            yield UpdateStatus(status.model_copy(update={"message": message}))


# --- no Workflow


def _start_or_wait(facts: Facts, options: Options, now: datetime) -> Iterator[Action]:
    """An import that has not started: start it, or report why it cannot start."""
    if _has_ended_at_first(facts):
        return
    if facts.fault:
        yield refusal_status(facts, (facts.fault,), now)
    elif facts.resolved.reason in REFUSED:
        yield refusal_status(facts, (facts.resolved.message,), now)
    elif facts.resolved.reason:
        yield from _wait_for_source(facts, options, now)
    elif facts.wait.reason or facts.reasons:
        yield _status_without_plan(facts, now)
    elif facts.import_.spec.dry_run:
        yield from _dry_run(facts)
    elif hold := _hold(facts):
        yield waiting_status(facts, facts.status, hold.reason, hold.message, now)
    elif (
        facts.status.import_status == ImportPhase.INVALID
        and facts.status.workflow
        and not _is_retry_requested(facts)
    ):
        # A check refused it, its Workflow was deleted, and nothing has been corrected.
        yield from _expire(facts, options, now)
    elif facts.rival is not None:
        yield rival_status(facts, facts.rival, now)
    else:
        yield from _start(facts, options, now)


def _wait_for_source(facts: Facts, options: Options, now: datetime) -> Iterator[Action]:
    reason, message = facts.resolved.reason, facts.resolved.message
    if _is_final(facts, options):
        yield failed_at_first(facts, reason, message, now)
        return
    yield waiting_status(facts, facts.status, reason, message, now)
    yield from _withdraw_credentials(facts)


def _status_without_plan(facts: Facts, now: datetime) -> UpdateStatus:
    """An import that waits for its mapping or its namespace, or that must be corrected."""
    if facts.wait.reason:
        return waiting_status(facts, facts.status, facts.wait.reason, facts.wait.message, now)
    return refusal_status(facts, facts.reasons, now, facts.refusal)


def _is_final(facts: Facts, options: Options) -> bool:
    """Whether a source that cannot be reached at first is the end (setting `v2v.initFailure`)."""
    return (
        facts.dialect is not None
        and options.v2v.init_failure is InitFailure.FINAL
        and facts.resolved.reason in FIRST_CONTACT
        and facts.status.workflow is None
    )


def _has_ended_at_first(facts: Facts) -> bool:
    """Whether that was the end of an import, and nobody requests a retry."""
    status = facts.status
    ended = status.import_status == ImportPhase.FAILED and status.workflow is None
    return ended and facts.dialect is not None and RETRY not in facts.annotations


class _Hold(NamedTuple):
    """Why an import must not start: a reason and a message."""

    reason: str
    message: str


def _hold(facts: Facts) -> _Hold | None:
    spec = facts.import_.spec
    if spec.cancel:
        return _Hold(CANCELLED, "Cancelled before it started; set spec.cancel to false to start")
    if spec.suspend:
        return _Hold("Paused", "Not started: spec.suspend is true; set it to false to start")
    return None


def _dry_run(facts: Facts) -> Iterator[Action]:
    """A dry run happens once for each spec, and again on request."""
    status, credentials = facts.status, facts.resolved.credentials
    condition = find(status.import_conditions, PLANNED)
    is_new = condition is None or status.observed_generation != facts.import_.metadata.generation
    if facts.plan is not None and credentials is not None and (is_new or RETRY in facts.annotations):
        yield DryRun(facts.plan, credentials, is_requested=RETRY in facts.annotations)
    elif RETRY in facts.annotations:
        yield RemoveAnnotation(RETRY)


def _start(facts: Facts, options: Options, now: datetime) -> Iterator[Action]:
    """Announce and create a Workflow; reuse the existing request if it is for the same VM.

    After the VM was started at its source, everything that was copied is stale: a new run takes its place.
    """
    plan, credentials = facts.plan, facts.resolved.credentials
    if plan is None or credentials is None:
        return
    old = facts.run
    resumes = bool(old) and not _is_other_vm(facts, plan) and not is_stale(facts.status)
    run = old if resumes else _new_run(facts, plan)
    attempt = _attempt_number(facts) if resumes else 0
    name = argo_names.workflow_name(run, attempt)
    yield AddFinalizer()
    yield UpdateStatus(_announcement(facts, name, run, options, now))
    for reason, message in _warnings(facts):
        yield EmitEvent(reason, message, warning=True)
    if old and not resumes:
        yield DeleteRuns((old,))
    yield SubmitWorkflow(plan.model_copy(update={"run": run}), attempt, facts.digest, credentials)
    if facts.other_workflows or facts.seen or facts.cleanup:
        yield from _delete_earlier(facts, everything=True)
    if RETRY in facts.annotations:
        yield RemoveAnnotation(RETRY)


def _warnings(facts: Facts) -> Iterator[tuple[str, str]]:
    """Reasons and messages of what a person should know about an import that starts."""
    if facts.imported_before:
        yield IMPORTED_BEFORE, facts.imported_before
    if facts.unchecked_networks:
        yield "NetworksNotChecked", facts.unchecked_networks


def _new_run(facts: Facts, plan: Plan) -> str:
    """The name of a new run. Its number is the import's generation, or the next one after the last run's.

    The name of the last run is not used again: its claims may still be deleted.
    """
    if not facts.run:
        return plan.run
    metadata = facts.import_.metadata
    last = int(facts.run.rpartition("-g")[2])
    return run_name(metadata.name, metadata.uid, max(metadata.generation, last + 1))


def _attempt_number(facts: Facts) -> int:
    """The number of the Workflow for the request. An announced Workflow keeps its number until it exists."""
    announced = facts.status.workflow
    last = argo_names.attempt_of(announced.name) if announced else -1
    pending = facts.seen is None and facts.status.import_status == ImportPhase.NEW
    return last if pending else last + 1


def _is_other_vm(facts: Facts, plan: Plan) -> bool:
    """Whether nothing of the run can be reused: another VM, another namespace, or another way to copy."""
    earlier = facts.request.plan if facts.request else None
    if earlier is None:
        return False
    # What was copied in one way is of no use for the other.
    moved = earlier.target.namespace != plan.target.namespace
    return moved or is_other_vm(earlier, plan) or _ways(earlier) != _ways(plan)


def _ways(plan: Plan) -> tuple[DiskWay, frozenset[str]]:
    """How the disks are copied: for the VM, and which of its disks land on volumes, as the rows name them."""
    plain = (rule.disk for rule in plan.target.disks if rule.form is DiskForm.VOLUME)
    return plan.target.way, frozenset(plain)


def _announcement(facts: Facts, name: str, run: str, options: Options, now: datetime) -> ImportStatus:
    generation = int(run.rpartition("-g")[2])
    reference = WorkflowReference(
        name=name, namespace=options.namespace, generation=generation, link=options.link(name)
    )
    status = leftovers.without_leftovers(announce(facts.import_, facts.status, reference, now))
    if not facts.imported_before:
        return status
    condition = Condition(
        type=IMPORTED_BEFORE, status=ConditionStatus.TRUE, reason="SameVM", message=facts.imported_before
    )
    conditions = put(status.import_conditions, condition, now)
    return status.model_copy(update={"import_conditions": conditions})


# --- a Workflow exists


def _follow_workflow(facts: Facts, options: Options, now: datetime) -> Iterator[Action]:
    status = reflect(
        facts.workflow,
        facts.import_,
        facts.status,
        now,
        shape=facts.inspected_shape,
        machine=facts.machine,
        holder_names=facts.holder_names,
        hooks=facts.request.plan.hooks if facts.request and facts.request.plan else (),
        hook_objects=facts.hook_objects,
    )
    status = with_mapping(facts, with_drift(facts, with_link(status, options), now), now)
    status = with_start_message(facts.status, status, facts.start_message, now)
    status = with_source_outage(facts, status, now)
    yield from _delete_earlier(facts)
    yield from hooks.run_hooks(facts, now)
    if facts.has_ended:
        yield from _after_workflow(facts, options, now, status)
        return
    status = leftovers.without_leftovers(status)
    alarm = None if facts.seen is None else watchdog.find_alarm(facts.seen, facts.pods, now)
    yield UpdateStatus(watchdog.with_alarm(facts.status, status, alarm, now))
    yield from control.sync_request(facts)
    yield from control.control_workflow(facts, options, now)
    yield from _sync_credentials(facts)
    if RETRY in facts.annotations and facts.seen is not None and facts.seen.stopped:
        return  # the retry starts when the Workflow has ended
    if RETRY in facts.annotations and alarm is not None:
        yield from _stop_stalled(facts)
    elif RETRY in facts.annotations:
        message = "The import is running; it can be retried only after it has failed"
        yield EmitEvent("RetryIgnored", message, warning=True)
        yield RemoveAnnotation(RETRY)
    elif facts.spec_changed and facts.status.observed_generation != facts.import_.metadata.generation:
        message = "The spec was changed while the import was running; a retry applies the change"
        yield EmitEvent("SpecChanged", message, warning=True)


def _after_workflow(facts: Facts, options: Options, now: datetime, status: ImportStatus) -> Iterator[Action]:
    """The Workflow has ended or was deleted: the import succeeded, failed, or is retried."""
    if has_succeeded(status):
        yield UpdateStatus(status)
        if not leftovers.at_source(facts.with_status(status), now).needs_cleanup:
            yield from _release_succeeded(facts)
    elif not _is_retry_requested(facts):
        yield from _settle_failed(facts.with_status(status), options, now)
    elif obstacle := _retry_obstacle(facts):
        yield from _postpone_retry(facts, status, obstacle)
    else:
        if status.import_status != facts.status.import_status:
            yield UpdateStatus(status)  # the result, before the retry starts
        yield from _start(facts.with_status(status), options, now)


def _settle_failed(facts: Facts, options: Options, now: datetime) -> Iterator[Action]:
    """An import that has failed, and that nobody retries: release its source, and in the end its scratch."""
    found = leftovers.at_source(facts, now)
    if not found.is_pending and expiry.is_due(facts, options, now):
        yield from _expire(facts, options, now)
        return
    yield UpdateStatus(leftovers.with_leftovers(facts, facts.status, found, now))
    if found.is_pending:
        yield from leftovers.next_cleanup(facts, now)
    if found.is_pending or facts.seen is not None:
        yield from _sync_credentials(facts)
    if not found.is_pending:
        yield from _withdraw_credentials(facts)


def _withdraw_credentials(facts: Facts) -> Iterator[Action]:
    """Delete the run's copy of the credentials if it has no use any more, or may not be used.

    Without a Workflow only the controller can retry, and it makes a new copy.
    """
    is_useless = facts.resolved.reason in WITHDRAWN or (
        facts.seen is None and facts.status.import_status == ImportPhase.FAILED
    )
    if is_useless and facts.request is not None and facts.request.credentials is not None:
        yield DeleteCredentials(facts.request.run)


def _expire(facts: Facts, options: Options, now: datetime) -> Iterator[Action]:
    """Delete the run of a failed import when it is time."""
    if expiry.is_due(facts, options, now):
        yield DeleteRuns(facts.runs)
        yield UpdateStatus(expiry.expired_status(facts.status, options, now))


def _follow_expired(facts: Facts, options: Options, now: datetime) -> Iterator[Action]:
    """An import whose run has expired starts from the beginning, and only if a person asks for it."""
    if not _is_retry_requested(facts):
        if facts.runs:
            yield DeleteRuns(facts.runs)
        elif facts.has_finalizer:
            yield RemoveFinalizer()
    elif obstacle := _retry_obstacle(facts):
        yield from _postpone_retry(facts, facts.status, obstacle)
    else:
        yield from _start(facts, options, now)


def _is_retry_requested(facts: Facts) -> bool:
    """Whether a person requests a retry: by annotation, a changed spec or Secret, a removed cancel."""
    spec = facts.import_.spec
    if spec.suspend or spec.cancel:
        return False
    if RETRY in facts.annotations or facts.spec_changed or control.was_cancelled(facts.workflow):
        return True
    if facts.is_checked_again:
        return True
    if _was_parked(facts.status):
        return True
    return _waits_for_credentials(facts.status) and facts.has_new_credentials


def _was_parked(status: ImportStatus) -> bool:
    """Whether the import was stopped because it was suspended for too long."""
    summary = find(status.import_conditions, SUCCEEDED)
    return summary is not None and summary.reason == PARKED


def _waits_for_credentials(status: ImportStatus) -> bool:
    """Whether a check refused the import for a reason that a changed Secret may fix."""
    summary = find(status.import_conditions, SUCCEEDED)
    is_about_credentials = summary is not None and summary.reason in OF_CREDENTIALS
    return (
        status.import_status == ImportPhase.INVALID
        and status.step in WITH_CREDENTIALS
        and is_about_credentials
    )


def _retry_obstacle(facts: Facts) -> str:
    """Why a requested retry cannot start; empty when it can."""
    waits = facts.resolved.message or facts.wait.message
    obstacle = facts.fault or waits or texts.message(facts.reasons)
    return obstacle or (facts.rival.message if facts.rival else "")


def _postpone_retry(facts: Facts, status: ImportStatus, obstacle: str) -> Iterator[Action]:
    """A requested retry cannot start: the reason is added to the error message."""
    summary = find(status.import_conditions, SUCCEEDED)
    failed = summary.message if summary else status.message
    message = f"{failed} (a retry waits: {obstacle})"
    if message != facts.status.message:
        yield EmitEvent("RetryWaits", obstacle, warning=True)
    yield UpdateStatus(status.model_copy(update={"message": message}))


def _sync_credentials(facts: Facts) -> Iterator[Action]:
    """A changed password reaches the next step, and a retry in Argo."""
    request, fresh = facts.request, facts.resolved.credentials
    if (
        request
        and request.plan
        and fresh is not None
        and facts.uses_source_of_run
        and (request.credentials is None or dict(request.credentials) != dict(fresh))
    ):
        yield SyncCredentials(request.plan, fresh)


def _delete_earlier(facts: Facts, *, everything: bool = False) -> Iterator[Action]:
    """Delete Workflows of earlier attempts: a retry of one in Argo would use the same scratch volumes.

    Also that of a repeated cleanup: it would end the sessions of the run.
    """
    ended = [name for name, has_ended in facts.other_workflows if has_ended]
    if everything and facts.seen is not None:
        ended.append(facts.seen.name)
    if facts.cleanup is not None and (everything or not facts.has_ended):
        ended.append(facts.cleanup.name)
    if ended:
        yield DeleteWorkflows(tuple(ended))
    for name, has_ended in facts.other_workflows:
        if not has_ended:
            yield StopWorkflow(name)
