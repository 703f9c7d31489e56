"""Decides the actions for an import from its facts only. Pure: no clock, no API, no memory.

The order of the actions is part of the decision: a status that names a Workflow is written before that
Workflow is created, so that a controller killed in between creates the same one, and never a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from controller.operator.decide import control, deletion
from controller.operator.decide.actions import (
    Action,
    AddFinalizer,
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
from controller.operator.decide.dryrun import PLANNED, drifted
from controller.operator.decide.status import explained, linked, refused, told, yields
from controller.operator.observe.facts import Facts, is_another, run_of
from controller.operator.observe.source import KIND_UNKNOWN
from controller.operator.options import Options
from steps.model.contract import Exit
from steps.model.plan import Plan
from workflows import argo_names
from workflows.api.annotations import RETRY
from workflows.api.conditions import find
from workflows.api.status import ImportPhase, ImportStatus, WorkflowReference
from workflows.stages import STAGES
from workflows.status import watchdog
from workflows.status.phase import CANCELLED, SUCCEEDED, has_succeeded
from workflows.status.reflect import announce, reflect

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
FINAL: Final = (ImportPhase.RUNNING, ImportPhase.INVALID, ImportPhase.FAILED)


@dataclass(frozen=True)
class Decision:
    """The actions, in order, and the maximum seconds until the next reconcile."""

    acts: tuple[Action, ...]
    again: float

    @property
    def begins(self) -> bool:
        """Whether a Workflow will be created."""
        return any(isinstance(act, SubmitWorkflow) for act in self.acts)


def decide(facts: Facts, options: Options, now: datetime) -> Decision:
    """The next actions for an import; none when nothing must change."""
    if facts.leaving:
        acts, again = deletion.decide(facts, options, now)
        return Decision(acts, again)
    return Decision(tuple(_acts(facts, options, now)), _again(facts, options, now))


def _again(facts: Facts, options: Options, now: datetime) -> float:
    """Seconds until the next reconcile: earlier if a Secret may change or a Workflow may stall."""
    if facts.rival is not None:  # the end of another import causes no event here
        return min(options.recheck_seconds, RIVAL_SECONDS)
    if facts.starting:  # VMs are not watched
        return min(options.recheck_seconds, START_SECONDS)
    if _waits_for_credentials(facts.status):  # Secrets are not watched
        return min(options.recheck_seconds, SECRET_SECONDS)
    if facts.seen is None or facts.over:
        return options.recheck_seconds
    left = watchdog.seconds_left(facts.seen, now)
    return min(options.recheck_seconds, left + 1) if left > 0 else options.recheck_seconds


def _acts(facts: Facts, options: Options, now: datetime) -> Iterator[Action]:
    if _strange(facts):
        yield from _left_alone(facts, now)
    elif has_succeeded(facts.status):
        yield from _settled(facts, now)
    elif facts.foreign:
        yield told(facts, facts.status, "OtherController", facts.foreign, now)
    elif facts.seen is not None:
        yield from _followed(facts, options, now)
    elif facts.status.workflow is not None and facts.status.import_status not in (
        ImportPhase.NEW,
        ImportPhase.INVALID,
    ):
        yield from _ended(facts, options, now, reflect(None, facts.import_, facts.status, now))
    else:
        yield from _anew(facts, options, now)


def _settled(facts: Facts, now: datetime) -> Iterator[Action]:
    """A succeeded import. Its Workflow should end by itself; a retry stops a stalled one."""
    if facts.seen is None or facts.over:
        # The finalizer is removed in a reconcile that writes no status, which would change the version.
        yield from _settle(facts, held=facts.held)
        return
    alarm = watchdog.find_alarm(facts.seen, facts.pods, now)
    yield UpdateStatus(watchdog.with_alarm(facts.status, facts.status, alarm, now))
    if RETRY not in facts.annotations or facts.seen.stopped:
        return
    if alarm is not None:
        yield from _unstuck(facts)
    else:
        yield RemoveAnnotation(RETRY)


def _unstuck(facts: Facts) -> Iterator[Action]:
    """Stop a stalled Workflow. The annotation stays, because the retry follows after that."""
    if facts.seen is not None:
        message = f"Workflow {facts.seen.name} is stalled; the retry stops it"
        yield EmitEvent("StalledWorkflowStopped", message, warning=True)
        yield StopWorkflow(facts.seen.name)


def _settle(facts: Facts, *, held: bool = False) -> Iterator[Action]:
    """The remaining actions for a succeeded import.

    It has nothing to release and needs no finalizer: after an uninstall nothing would remove the finalizer.
    """
    copied = facts.asked is not None and facts.asked.copied is not None
    if facts.asked is not None and copied and _is_at_rest(facts):
        yield DeleteSecrets(facts.asked.run)
    if held and _is_at_rest(facts):
        yield RemoveFinalizer()
    if RETRY in facts.annotations and facts.asked is not None:
        yield RemoveAnnotation(RETRY)


def _is_at_rest(facts: Facts) -> bool:
    """Whether no Workflow runs: an exit handler still needs the credentials."""
    return facts.seen is None or facts.over


# --- a status of another controller


def _strange(facts: Facts) -> bool:
    """Whether vm-import-controller wrote the status: it has no Workflow and none of our conditions."""
    status = facts.status
    ours = status.workflow is not None or find(status.import_conditions, SUCCEEDED) is not None
    return bool(status.import_status) and not ours


def _left_alone(facts: Facts, now: datetime) -> Iterator[Action]:
    """An ended import stays unchanged. A running one waits for a person: the state of its VM is unknown."""
    status = facts.status
    if facts.foreign or status.import_status == ImportPhase.RUNNING:
        return
    if RETRY in facts.annotations:
        fresh = ImportStatus(import_conditions=status.import_conditions)
        message = "Taken over from another controller; the import starts from the beginning"
        yield told(facts, fresh, "TakenOver", message, now)
    elif status.import_status not in FINAL:
        message = (
            f"Another controller left this import in the phase {status.import_status}; check the VM and its "
            f"disks, then annotate the import with {RETRY}=true to start the import again"
        )
        if message != status.message:
            yield EmitEvent("ForeignStatus", message, warning=True)
            yield UpdateStatus(status.model_copy(update={"message": message}))


# --- no Workflow


def _anew(facts: Facts, options: Options, now: datetime) -> Iterator[Action]:
    """An import that has not started: start it, or report why it cannot start."""
    if facts.fault:
        yield refused(facts, (facts.fault,), now)
    elif facts.origin.reason == KIND_UNKNOWN:
        yield refused(facts, (facts.origin.message,), now)
    elif facts.origin.reason:
        yield told(facts, facts.status, facts.origin.reason, facts.origin.message, now)
    elif facts.reasons:
        yield refused(facts, facts.reasons, now)
    elif facts.import_.spec.dry_run:
        yield from _rehearsed(facts)
    elif held := _held(facts):
        yield told(facts, facts.status, held.reason, held.message, now)
    elif (
        facts.status.import_status == ImportPhase.INVALID
        and facts.status.workflow
        and not _asked_again(facts)
    ):
        return  # preflight refused it, its Workflow was deleted, and nothing has been corrected
    elif facts.rival is not None:
        yield yields(facts, facts.rival, now)
    else:
        yield from _begin(facts, options, now)


class _Hold(NamedTuple):
    """Why an import must not start: a reason and a message."""

    reason: str
    message: str


def _held(facts: Facts) -> _Hold | None:
    spec = facts.import_.spec
    if spec.cancel:
        return _Hold(CANCELLED, "Cancelled before it started; set spec.cancel to false to start")
    if spec.suspend:
        return _Hold("Paused", "Not started: spec.suspend is true; set it to false to start")
    return None


def _rehearsed(facts: Facts) -> Iterator[Action]:
    """A dry run happens once for each spec, and again on request."""
    status, credentials = facts.status, facts.origin.credentials
    planned = find(status.import_conditions, PLANNED)
    fresh = planned is None or status.observed_generation != facts.import_.metadata.generation
    if facts.plan is not None and credentials is not None and (fresh or RETRY in facts.annotations):
        yield DryRun(facts.plan, credentials)
    if RETRY in facts.annotations:
        yield RemoveAnnotation(RETRY)


def _begin(facts: Facts, options: Options, now: datetime) -> Iterator[Action]:
    """Announce and create a Workflow; reuse the existing request if it is for the same VM."""
    plan, credentials = facts.plan, facts.origin.credentials
    if plan is None or credentials is None:
        return
    old = run_of(facts.status)
    same = bool(old) and not _another(facts, plan)
    run = old if same else plan.run
    attempt = _attempt(facts) if same else 0
    name = argo_names.workflow_name(run, attempt)
    yield AddFinalizer()
    yield UpdateStatus(_announced(facts, name, run, options, now))
    if old and not same:
        yield DeleteRuns((old,))
    yield SubmitWorkflow(plan.model_copy(update={"run": run}), attempt, facts.digest, credentials)
    if facts.others or facts.seen:
        yield from _discarded(facts, everything=True)
    if RETRY in facts.annotations:
        yield RemoveAnnotation(RETRY)


def _attempt(facts: Facts) -> int:
    """The number of the Workflow for the request. An announced Workflow keeps its number until it exists."""
    announced = facts.status.workflow
    last = argo_names.attempt_of(announced.name) if announced else -1
    pending = facts.seen is None and facts.status.import_status == ImportPhase.NEW
    return last if pending else last + 1


def _another(facts: Facts, plan: Plan) -> bool:
    """Whether the import is for another VM than the run, so that nothing of the run can be reused."""
    asked = facts.asked.plan if facts.asked else None
    return asked is not None and is_another(asked, plan)


def _announced(facts: Facts, name: str, run: str, options: Options, now: datetime) -> ImportStatus:
    generation = int(run.rpartition("-g")[2])
    reference = WorkflowReference(
        name=name, namespace=options.namespace, generation=generation, link=options.link(name)
    )
    return announce(facts.import_, facts.status, reference, now)


# --- a Workflow exists


def _followed(facts: Facts, options: Options, now: datetime) -> Iterator[Action]:
    status = reflect(
        facts.workflow,
        facts.import_,
        facts.status,
        now,
        shape=facts.shape(),
        machine=facts.machine,
        holder_names=facts.who,
    )
    status = drifted(facts, linked(status, options), now)
    status = explained(facts.status, status, facts.starting, now)
    yield from _discarded(facts)
    if facts.over:
        yield from _ended(facts, options, now, status)
        return
    alarm = None if facts.seen is None else watchdog.find_alarm(facts.seen, facts.pods, now)
    yield UpdateStatus(watchdog.with_alarm(facts.status, status, alarm, now))
    yield from control.steer(facts)
    yield from _kept_fresh(facts)
    if RETRY in facts.annotations and facts.seen is not None and facts.seen.stopped:
        return  # the retry starts when the Workflow has ended
    if RETRY in facts.annotations and alarm is not None:
        yield from _unstuck(facts)
    elif RETRY in facts.annotations:
        message = "The import is running; it can be retried only after it has failed"
        yield EmitEvent("RetryIgnored", message, warning=True)
        yield RemoveAnnotation(RETRY)
    elif facts.changed and facts.status.observed_generation != facts.import_.metadata.generation:
        message = "The spec was changed while the import was running; a retry applies the change"
        yield EmitEvent("SpecChanged", message, warning=True)


def _ended(facts: Facts, options: Options, now: datetime, status: ImportStatus) -> Iterator[Action]:
    """The Workflow has ended or was deleted: the import succeeded, failed, or is retried."""
    if has_succeeded(status):
        yield UpdateStatus(status)
        yield from _settle(facts)
    elif not _asked_again(facts):
        yield UpdateStatus(status)
        yield from _kept_fresh(facts)
    elif why := _hindrance(facts):
        yield from _hindered(facts, status, why)
    else:
        if status.import_status != facts.status.import_status:
            yield UpdateStatus(status)  # the result, before the retry starts
        yield from _begin(facts.with_status(status), options, now)


def _asked_again(facts: Facts) -> bool:
    """Whether a person requests a retry: by annotation, a changed spec or Secret, a removed cancel."""
    spec = facts.import_.spec
    if spec.suspend or spec.cancel:
        return False
    if RETRY in facts.annotations or facts.changed or control.was_cancelled(facts.workflow):
        return True
    return _waits_for_credentials(facts.status) and facts.has_new_credentials


def _waits_for_credentials(status: ImportStatus) -> bool:
    """Whether a check refused the import for a reason that a changed Secret may fix."""
    summary = find(status.import_conditions, SUCCEEDED)
    refused_so = summary is not None and summary.reason in OF_CREDENTIALS
    return status.import_status == ImportPhase.INVALID and status.step in WITH_CREDENTIALS and refused_so


def _hindrance(facts: Facts) -> str:
    """Why a requested retry cannot start; empty when it can."""
    why = facts.fault or facts.origin.message or " | ".join(facts.reasons)
    return why or (facts.rival.message if facts.rival else "")


def _hindered(facts: Facts, status: ImportStatus, why: str) -> Iterator[Action]:
    """A requested retry cannot start: the reason is added to the error message."""
    summary = find(status.import_conditions, SUCCEEDED)
    failed = summary.message if summary else status.message
    message = f"{failed} (a retry waits: {why})"
    if message != facts.status.message:
        yield EmitEvent("RetryWaits", why, warning=True)
    yield UpdateStatus(status.model_copy(update={"message": message}))


def _kept_fresh(facts: Facts) -> Iterator[Action]:
    """A changed password reaches the next step, and a retry in Argo."""
    asked, fresh = facts.asked, facts.origin.credentials
    if (
        asked
        and asked.plan
        and fresh is not None
        and asked.copied is not None
        and dict(asked.copied) != dict(fresh)
    ):
        yield SyncCredentials(asked.plan, fresh)


def _discarded(facts: Facts, *, everything: bool = False) -> Iterator[Action]:
    """Delete Workflows of earlier attempts: a retry of one in Argo would use the same scratch volumes."""
    ended = [name for name, over in facts.others if over]
    if everything and facts.seen is not None:
        ended.append(facts.seen.name)
    if ended:
        yield DeleteWorkflows(tuple(ended))
    for name, over in facts.others:
        if not over:
            yield StopWorkflow(name)
