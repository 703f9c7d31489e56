"""Carries out the decided actions with small writes. Each action can be repeated."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, assert_never

import structlog

from controller.operator import limits, v2v_state
from controller.operator.act import objects
from controller.operator.act.dryrun import make_dry_run, owner_of
from controller.operator.act.hooks import made
from controller.operator.act.transitions import events_between, events_of_both_dialects
from controller.operator.act.v2v import V2vShown
from controller.operator.checkpods.runner import CheckPods
from controller.operator.decide.actions import (
    Action,
    AddFinalizer,
    AnswerHooks,
    ApproveGate,
    DeleteCredentials,
    DeleteRuns,
    DeleteSecrets,
    DeleteWorkflows,
    DryRun,
    EmitEvent,
    EndHook,
    HookAction,
    KeepForCleanup,
    NameClaims,
    RemoveAnnotation,
    RemoveFinalizer,
    RunCleanup,
    RunUndo,
    StartHook,
    StopWorkflow,
    SubmitWorkflow,
    SuspendWorkflow,
    SyncCredentials,
    SyncRequest,
    UpdateStatus,
)
from controller.operator.decide.control import CANCELLED, SUSPENDED, SUSPENDED_SECONDS
from controller.operator.decide.dryrun import with_progress
from controller.operator.events import emit
from controller.operator.observe.facts import FINALIZER, Facts, stored_plan
from controller.operator.observe.fields import annotations_of, text
from controller.operator.observe.request import CLEANUPS, CleanupRecord, credentials_digest
from controller.operator.options import Options
from controller.operator.telemetry import lines
from steps.model import names
from steps.model.contract import Exit, StepError, is_retryable
from steps.model.hook_verdict import HookVerdict, annotation
from steps.model.kinds import CONFIG_MAP, IMPORT, LEASE, SECRET, WORKFLOW, Kind, Object, kind_of
from steps.model.plan import DiskWay, GuestPlan, Plan
from steps.runtime.cluster import ChangedError, Cluster, ExistsError
from steps.targets.cluster.ownership import is_of_run
from workflows import argo_names
from workflows.api.annotations import APPROVE, RETRY
from workflows.api.conditions import stamp
from workflows.api.status import ImportStatus
from workflows.author.workflow import KeepOff, author
from workflows.stages import CLAIMS
from workflows.status import packed
from workflows.status.nodes import Phase
from workflows.status.observed import PARKED_MARK
from workflows.status.reflect import PROGRESS, progress_value

log = structlog.get_logger()

TOKEN_BYTES: Final = 32


class Actor:
    """Carries out the actions on one import, as found in `facts`."""

    def __init__(
        self,
        cluster: Cluster,
        options: Options,
        checks: CheckPods,
        facts: Facts,
        clock: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._options = options
        self._checks = checks
        self._facts = facts
        self._clock = clock
        self._status = facts.status
        self._dialect = (
            None if facts.dialect is None else V2vShown(cluster, options, facts, facts.dialect, clock)
        )
        self.log = log.bind(**_log_fields(facts))

    def do(self, action: Action) -> None:  # noqa: C901, PLR0912 - a row for each action
        """Carry out an action. Raises StepError where the API refuses or does not answer."""
        match action:
            case AddFinalizer():
                self._add_finalizer()
            case RemoveFinalizer():
                self._remove_finalizer()
            case UpdateStatus():
                self._update_status(action)
            case RemoveAnnotation():
                self._remove_annotation(action)
            case EmitEvent():
                self._emit_event(action)
            case SubmitWorkflow():
                self._submit_workflow(action)
            case SyncCredentials():
                self._sync_credentials(action)
            case DeleteSecrets():
                self._delete_secrets(action)
            case DeleteCredentials():
                self._delete_credentials(action)
            case DeleteWorkflows():
                self._delete_workflows(action)
            case DeleteRuns():
                self._delete_runs(action)
            case RunCleanup():
                name = argo_names.give_back(action.plan.run, action.attempt)
                self._run_exit_handler(action, name, keep_off=_keep_off(action))
            case KeepForCleanup():
                self._keep_for_cleanup(action)
            case RunUndo():
                name = argo_names.undo(action.plan.run, action.attempt)
                self._run_exit_handler(action, name, undo=True)
            case SyncRequest():
                self._ensure_request(action.plan, action.spec)
            case DryRun():
                self._dry_run(action)
            case StopWorkflow():
                self._stop_workflow(action)
            case SuspendWorkflow():
                self._suspend_workflow(action)
            case ApproveGate():
                self._approve_gate(action)
            case NameClaims():
                self._name_claims(action)
            case StartHook() | AnswerHooks() | EndHook():
                self._do_hook(action)
            case _:
                assert_never(action)

    @property
    def status(self) -> ImportStatus:
        """The last written status."""
        return self._status

    # --- the import itself

    def _add_finalizer(self) -> None:
        if not self._facts.has_finalizer:
            self._write_finalizers([*self._finalizers_now(), FINALIZER])

    def _remove_finalizer(self) -> None:
        if self._facts.deletion_time:
            self.log.info("Cleaning up temporary data ...")
        ours = (FINALIZER, *self._facts.former_finalizers)
        self._write_finalizers([name for name in self._finalizers_now() if name not in ours])

    def _update_status(self, action: UpdateStatus) -> None:
        before, after = self._status, action.status
        if after != before:
            self._store_status(after)
            self._status = after
            events = events_between if self._dialect is None else events_of_both_dialects
            for event in events(before, after):
                reason, message, warning = event
                emit(self._cluster, self._facts.raw, reason, message, warning=warning)
            for level, text, fields in lines(before, after, self._facts.import_):
                self.log.bind(**fields).log(level, text)
        if self._dialect is None:
            self._write_progress(after)
        else:
            self._dialect.show(before, after)

    def _store_status(self, status: ImportStatus) -> None:
        if self._dialect is None:
            self._cluster.patch_status(IMPORT, self._facts.name, status.to_document(), self._facts.namespace)
        else:
            v2v_state.write_import(self._cluster, self._namespace, self._facts.raw, status)

    def finish(self) -> None:
        """Show the status once more: a controller that was killed may have stored it without showing it."""
        if self._dialect is not None and not self._facts.deletion_time:
            self._dialect.show(self._status, self._status)

    def _remove_annotation(self, action: RemoveAnnotation) -> None:
        self._annotate({action.annotation: None})

    def _emit_event(self, action: EmitEvent) -> None:
        emit(self._cluster, self._facts.raw, action.reason, action.message, warning=action.warning)
        (self.log.warning if action.warning else self.log.info)(action.message)

    # --- a run

    def _submit_workflow(self, action: SubmitWorkflow) -> None:
        request = self._ensure_request(action.plan, action.spec)
        self._put_credentials(
            action.plan, action.credentials, request, credentials_digest(action.credentials)
        )
        self._ensure_address(action.plan, request)
        workflow = author(
            action.plan,
            self._options.installation,
            attempt=action.attempt,
            owner=request["metadata"]["uid"],
            limits=limits.prepare(self._cluster, self._options, action.plan.source, action.credentials),
        )
        self._create_workflow(workflow, action.plan)

    def _sync_credentials(self, action: SyncCredentials) -> None:
        request = self._cluster.get(CONFIG_MAP, names.request(action.plan.run), self._namespace)
        if request is not None:
            earlier = self._facts.request
            self._put_credentials(
                action.plan, action.credentials, request, earlier.tried_digest if earlier else ""
            )
            self.log.info("The credentials of the source have changed; the run uses the new ones")

    def _delete_secrets(self, action: DeleteSecrets) -> None:
        for name in (names.credentials(action.run), names.address(action.run)):
            self._cluster.delete(SECRET, name, self._namespace)

    def _delete_credentials(self, action: DeleteCredentials) -> None:
        self._cluster.delete(SECRET, names.credentials(action.run), self._namespace)
        self.log.info("The run's copy of the credentials was deleted")

    def _delete_workflows(self, action: DeleteWorkflows) -> None:
        for name in action.workflows:
            self._cluster.delete(WORKFLOW, name, self._namespace)

    def _delete_runs(self, action: DeleteRuns) -> None:
        for run in action.runs:
            self._delete_owner(run)
            for name in (names.request(run), names.planned(run)):
                self._cluster.delete(CONFIG_MAP, name, self._namespace)

    def _delete_owner(self, run: str) -> None:
        """Delete what an unfinished run has made in another namespace than the import's, by its owner there.

        That is garbage-collected, as with an import that is deleted. A succeeded run has released it.
        """
        request = self._cluster.get(CONFIG_MAP, names.request(run), self._namespace)
        plan = stored_plan(request) if request is not None else None
        if plan is None or plan.target.namespace == self._facts.namespace:
            return
        name, namespace = names.owner(run), plan.target.namespace
        owner = self._cluster.get(LEASE, name, namespace)
        if owner is not None and is_of_run(owner, plan):
            self._cluster.delete(LEASE, name, namespace, uid=owner["metadata"]["uid"])
            self.log.info(f"Deleting what the unfinished run {run} has made in namespace {namespace}")

    def _run_exit_handler(
        self, action: RunCleanup | RunUndo, name: str, *, undo: bool = False, keep_off: KeepOff = "false"
    ) -> None:
        """A Workflow that is stopped before it starts runs only its exit handler (seen, Argo 4.1.2)."""
        request = self._cluster.get(CONFIG_MAP, names.request(action.plan.run), self._namespace)
        if request is None:
            return
        self._refuse_foreign(CONFIG_MAP, request, action.plan)
        self._put_credentials(action.plan, action.credentials, request, "")
        owner = request["metadata"]["uid"]
        # The exit handler is the same in all templates, and those of landed disks or with a boot check may be
        # gone by now.
        target = action.plan.target.model_copy(update={"way": DiskWay.PULL})
        other = {"target": target, "guest": GuestPlan(), "boot_check": None, "hooks": ()}
        plan = action.plan.model_copy(update=other)
        workflow = author(plan, self._options.installation, owner=owner, undo=undo, keep_off=keep_off)
        workflow["metadata"]["name"] = name
        workflow["spec"]["shutdown"] = "Stop"
        self._create_workflow(workflow, action.plan)
        record = _cleanups_of(request).after_another(self._clock())
        self._change_request(action.plan.run, {"annotations": {CLEANUPS: record.to_text()}})

    def _keep_for_cleanup(self, action: KeepForCleanup) -> None:
        request = self._cluster.get(CONFIG_MAP, names.request(action.run), self._namespace)
        record = _cleanups_of(request)
        record = record.model_copy(update={"first": record.first or self._clock()})
        self._delete_owner(action.run)
        change = {"labels": {names.LABEL_LEFTOVERS: "true"}, "annotations": {CLEANUPS: record.to_text()}}
        self._change_request(action.run, change)

    def _dry_run(self, action: DryRun) -> None:
        """One step of a dry run. Its check is closed last, so that a kill before repeats nothing."""
        import_, now = self._facts.import_, self._clock()
        try:
            status = make_dry_run(
                self._cluster, self._options, self._checks, action, self._status, import_, now
            )
        except StepError as error:
            self._update_status(UpdateStatus(with_progress(self._status, now, str(error))))
            self._checks.close(owner_of(import_))
            raise
        if status is None:
            self._update_status(UpdateStatus(with_progress(self._status, now)))
            return
        self._update_status(UpdateStatus(status))
        if action.is_requested:
            self._annotate({RETRY: None})
        self._checks.close(owner_of(import_))

    # --- a Workflow that runs

    def _stop_workflow(self, action: StopWorkflow) -> None:
        """Also resume it: Argo runs no exit handler of a suspended Workflow (operator.go, operate)."""
        marks = {CANCELLED: action.cancelled, PARKED_MARK: action.parked}
        notes = {mark: "true" for mark, is_set in marks.items() if is_set}
        change: Object = {"spec": {"shutdown": "Stop", "suspend": None}}
        if notes:
            change["metadata"] = {"annotations": notes}
        self._cluster.patch(WORKFLOW, action.workflow, change, self._namespace)

    def _suspend_workflow(self, action: SuspendWorkflow) -> None:
        notes = {
            SUSPENDED: stamp(self._clock()) if action.suspended else None,
            SUSPENDED_SECONDS: str(action.earlier_seconds) if action.earlier_seconds else None,
        }
        change = {
            "metadata": {"annotations": notes},
            "spec": {"suspend": True if action.suspended else None},
        }
        self._cluster.patch(WORKFLOW, action.workflow, change, self._namespace)

    def _approve_gate(self, action: ApproveGate) -> None:
        self._resume(action.workflow, action.nodes, {"message": f"approved by {action.author}"})
        self._emit_event(
            EmitEvent("Approved", f"{action.gate} was approved (annotation written by {action.author})")
        )
        self._annotate({APPROVE: action.remaining_gates or None})

    def _name_claims(self, action: NameClaims) -> None:
        """As `argo node set --output-parameter` and `argo resume` do (workflow/util, updateSuspendedNode)."""
        outputs = {"parameters": [{"name": CLAIMS, "value": action.words}]}
        self._resume(action.workflow, action.nodes, {"message": "", "outputs": outputs})
        self.log.info(f"The disks are mounted together: {action.words}")

    def _do_hook(self, action: HookAction) -> None:
        match action:
            case StartHook():
                self._start_hook(action)
            case AnswerHooks():
                self._answer_hooks(action)
            case EndHook():
                self._cluster.delete(action.kind, action.name, self._namespace)
                self.log.info(f"Ended the hook in {action.kind.kind} {self._namespace}/{action.name}")

    def _start_hook(self, action: StartHook) -> None:
        """Create the ConfigMap, then what mounts it. A Pod that the API refuses is a hook that has failed."""
        document, runs = made(action, self._options, self._facts.workflow or {}, self._clock())
        try:
            for wanted in (document, runs):
                with contextlib.suppress(ExistsError):  # a controller that was killed has created it
                    self._cluster.create(wanted)
        except StepError as error:
            if is_retryable(error.code):
                raise
            message = f"the hook {action.document.hook} could not be started: {error}; then retry"
            verdict = HookVerdict(passed=False, message=message)
            self._answer_hooks(AnswerHooks(action.workflow, {action.waiter: verdict}))
            return
        where = f"{runs['kind']} {self._namespace}/{action.name}"
        at = action.document
        self.log.info(f"The hook {at.hook} {at.moment} {at.stage} runs in {where}")

    def _answer_hooks(self, action: AnswerHooks) -> None:
        notes = {
            annotation(uid): None if verdict is None else verdict.model_dump_json()
            for uid, verdict in action.verdicts.items()
        }
        self._cluster.patch(WORKFLOW, action.workflow, {"metadata": {"annotations": notes}}, self._namespace)
        for verdict in action.verdicts.values():
            if verdict is not None:
                (self.log.info if verdict.passed else self.log.warning)(verdict.message)

    def _resume(self, name: str, nodes: tuple[str, ...], fields: Object) -> None:
        """Let a Workflow continue at suspended nodes, which get these fields."""
        node = {"phase": Phase.SUCCEEDED, "finishedAt": stamp(self._clock()), **fields}
        workflow = self._facts.workflow or {}
        status = workflow.get("status") or {}
        change: Object = {"status": packed.changed(status, dict.fromkeys(nodes, node))}
        if packed.is_packed(status):  # Argo must not have written meanwhile: all nodes are replaced
            change["metadata"] = {"resourceVersion": workflow["metadata"]["resourceVersion"]}
        self._cluster.patch(WORKFLOW, name, change, self._namespace)

    # --- inside

    @property
    def _namespace(self) -> str:
        return self._options.namespace

    def _finalizers_now(self) -> list[str]:
        return list(self._facts.raw["metadata"].get("finalizers") or [])

    def _write_finalizers(self, wanted: list[str]) -> None:
        """Only for the version that was read: a list is replaced as a whole, and others write it too."""
        version = self._facts.raw["metadata"]["resourceVersion"]
        change = {"metadata": {"resourceVersion": version, "finalizers": wanted or None}}
        self._cluster.patch(self._facts.kind, self._facts.name, change, self._facts.namespace)

    def _annotate(self, annotations: Mapping[str, str | None]) -> None:
        change = {"metadata": {"annotations": dict(annotations)}}
        self._cluster.patch(self._facts.kind, self._facts.name, change, self._facts.namespace)

    def _change_request(self, run: str, metadata: Object) -> None:
        self._cluster.patch(CONFIG_MAP, names.request(run), {"metadata": metadata}, self._namespace)

    def _write_progress(self, status: ImportStatus) -> None:
        if status.workflow is not None and self._facts.annotations.get(PROGRESS) != progress_value(status):
            self._annotate({PROGRESS: progress_value(status)})

    def _ensure_request(self, plan: Plan, spec: str) -> Object:
        """Create or update the request; a retry after a change of the spec overwrites it."""
        return self._put(objects.request(plan, spec, self._namespace), plan)

    def _put_credentials(
        self, plan: Plan, data: Mapping[str, str], request: Object, tried_digest: str
    ) -> None:
        self._put(objects.credentials(plan, data, self._namespace, request, tried_digest), plan)

    def _put(self, wanted: Object, plan: Plan) -> Object:
        """Create an object of the run, or replace its data if it belongs to this import.

        The owner is compared before anything is written, and the write is refused if the object changed
        since: a status that names another import's run must not change that run.

        Raises:
            StepError: CONFLICT, if the object belongs to another import.
            ChangedError: if the object was changed or deleted meanwhile.
        """
        kind, name = kind_of(wanted), wanted["metadata"]["name"]
        try:
            return self._cluster.create(wanted)
        except ExistsError:
            existing = self._cluster.get(kind, name, self._namespace)
        if existing is not None:
            self._refuse_foreign(kind, existing, plan)
            change = objects.replacement(existing, wanted)
            replaced = self._cluster.patch(kind, name, change, self._namespace)
            if replaced is not None:
                return replaced
        raise ChangedError(Exit.BUSY, f"{kind.kind} {self._namespace}/{name} was deleted meanwhile")

    def _ensure_address(self, plan: Plan, request: Object) -> None:
        """The token stays the same for a run: `serve` and `image` of a disk find each other by it."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        wanted = objects.address(plan, token, self._namespace, request)
        try:
            self._cluster.create(wanted)
        except ExistsError:
            self._check_owner(wanted, plan)

    def _create_workflow(self, workflow: Object, plan: Plan) -> None:
        try:
            self._cluster.create(workflow)
        except ExistsError:
            self._check_owner(workflow, plan)

    def _check_owner(self, wanted: Object, plan: Plan) -> None:
        """Refuse an existing object with the name of `wanted` that belongs to another import."""
        kind = kind_of(wanted)
        existing = self._cluster.get(kind, wanted["metadata"]["name"], self._namespace)
        if existing is not None:
            self._refuse_foreign(kind, existing, plan)

    def _refuse_foreign(self, kind: Kind, existing: Object, plan: Plan) -> None:
        labels = existing["metadata"].get("labels") or {}
        if labels.get(names.LABEL_UID) != names.label_value(plan.import_.uid):
            failure = (
                f"{kind.kind} {self._namespace}/{existing['metadata']['name']} does not belong to this import"
            )
            raise StepError(Exit.CONFLICT, failure, remedy="delete or rename it")


def _keep_off(action: RunCleanup) -> KeepOff:
    if action.has_succeeded:
        return "succeeded"
    return "true" if action.keeps_off else "false"


def _cleanups_of(request: Object | None) -> CleanupRecord:
    return CleanupRecord.read(text(annotations_of(request).get(CLEANUPS)))


def _log_fields(facts: Facts) -> dict[str, str]:
    """The keys of every log line about an import, as in vm-import-controller."""
    spec = facts.import_.spec
    return {
        "name": facts.name,
        "namespace": facts.namespace,
        "spec.virtualMachineName": spec.virtual_machine_name,
        "spec.sourceCluster.kind": spec.source_cluster.kind,
        "spec.sourceCluster.name": spec.source_cluster.name,
    }
