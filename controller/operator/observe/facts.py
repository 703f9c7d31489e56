"""Everything that an import's next step depends on, read from the API at one time.

There is no watch cache: the facts are never older than a moment, and a controller that just started knows as
much as one that has run for days.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Final

from pydantic import ValidationError

from controller.operator.observe import v2v, waits
from controller.operator.observe.checks import cluster_reasons, unchecked_networks, with_disk_format
from controller.operator.observe.hooks import (
    HookRun,
    ResolvedHook,
    Waiter,
    hook_reasons,
    read_runs,
    read_waiters,
    resolve_hook,
)
from controller.operator.observe.mapping import ResolvedMapping, resolve_mapping
from controller.operator.observe.namespace import NO_WAIT, Wait, wait_for_namespace
from controller.operator.observe.request import (
    CLEANUPS,
    SPEC,
    TRIED,
    CleanupRecord,
    credentials_digest,
    own_digest,
    spec_digest,
)
from controller.operator.observe.source import ResolvedSource, resolve_source
from controller.operator.observe.target import target_kind, target_reasons
from controller.operator.observe.v2v import Dialect
from controller.operator.options import Options
from steps.model import names
from steps.model.contract import Exit, StepError, is_retryable
from steps.model.document import first_error
from steps.model.guest import Guest
from steps.model.kinds import (
    CONFIG_MAP,
    GROUP,
    IMPORT,
    IMPORTS,
    POD,
    SECRET,
    V2V_IMPORT,
    WORKFLOW,
    Kind,
    Object,
)
from steps.model.machine import Machine, Power
from steps.model.mapping import Shape, shape
from steps.model.plan import Plan, TargetKind
from steps.runtime.cluster import Cluster
from steps.runtime.program import MACHINE, PLAN
from workflows import argo_names
from workflows.api.resources import VirtualMachineImport
from workflows.api.status import ImportPhase, ImportStatus
from workflows.hooks import at
from workflows.plan import Invalid, mapping_reasons, plan, run_name, source_plan
from workflows.status.inspected import guest_of
from workflows.status.nodes import Phase
from workflows.status.observed import Observed, observe
from workflows.status.watchdog import needs_pods
from workflows.v2v import FAILED, FORMER_FINALIZERS, Refusal, TranslatedImport

FINALIZER: Final = f"{GROUP}/vmferry"
"""Our finalizer on an import: while it exists, there may be something to release."""
_RUN: Final = re.compile(r".+-[0-9a-f]{8}-g([0-9]{1,9})(?:-.+)?")
"""`workflows.plan.run_name`, and a suffix."""
ENDED: Final = (Phase.SUCCEEDED, Phase.FAILED, Phase.ERROR)


NAME_TAKEN: Final = "NameTaken"
VM_TAKEN: Final = "VirtualMachineTaken"
SCRATCH_LIMIT: Final = "ScratchLimitReached"
"""Reasons of the condition Succeeded."""


@dataclass(frozen=True)
class Rival:
    """Other imports go first (`observe.rivals`, `observe.scratch`): a reason and a message for this one."""

    reason: str
    message: str


@dataclass(frozen=True)
class RunRequest:
    """The request of a run."""

    config_map: Object
    run: str
    plan: Plan | None
    spec_digest: str
    """Digest of the spec of the run."""
    credentials: Mapping[str, str] | None = field(repr=False)
    """The run's copy of the credentials, base64; None if it does not exist."""
    tried_digest: str = field(default="", repr=False)
    """Digest of the credentials that its Workflow started with; empty if unknown."""
    cleanups: CleanupRecord = field(default_factory=CleanupRecord)


@dataclass(frozen=True)
class Facts:
    """An import and the objects around it."""

    raw: Object
    import_: VirtualMachineImport
    """As far as it can be read."""
    fault: str
    """The error in the part of its spec that cannot be read."""
    status: ImportStatus
    resolved: ResolvedSource
    mapping: ResolvedMapping = field(default_factory=ResolvedMapping)
    """Known only where a new run is planned."""
    namespace_wait: Wait = NO_WAIT
    """Why the VM may not go to its namespace; known as `mapping`."""
    plan: Plan | None = None
    """The plan of a new run."""
    reasons: tuple[str, ...] = ()
    """Why that plan cannot run: the import or the cluster must be corrected."""
    request: RunRequest | None = None
    workflow: Object | None = None
    seen: Observed | None = None
    pods: tuple[Object, ...] | None = None
    """Pods of the run of a stalled Workflow; None if they were not listed."""
    machine: Machine | None = None
    runs: tuple[str, ...] = ()
    """All runs that have objects in the release namespace."""
    other_workflows: tuple[tuple[str, bool], ...] = ()
    """Other Workflows of the run, and whether they have ended."""
    cleanup: Observed | None = None
    """The latest Workflow that runs only the cleanup."""
    undo: Observed | None = None
    """The Workflow that undoes the run."""
    hook_runs: tuple[HookRun, ...] = ()
    """The Pods and Workflows of its hooks."""
    waiters: tuple[Waiter, ...] = ()
    """The pods of its Workflow that wait for hooks."""
    hooks: Mapping[str, ResolvedHook] = field(default_factory=dict)
    """The definitions of its hooks by name; known only while one may begin."""
    rival: Rival | None = None
    """Known only for an import that would start otherwise."""
    unchecked_networks: str = ""
    """A sentence about destination networks that were not checked."""
    imported_before: str = ""
    """A sentence about an earlier import of the same VM; known as `rival`."""
    holder_names: Mapping[str, str] = field(default_factory=dict)
    """Imports by the Workflows that hold the locks of this one."""
    start_message: str = ""
    """KubeVirt's message about the VM while `start` waits for it."""
    other_controller: str | None = None
    """Why nothing may be done: vm-import-controller is active here."""
    refusal: str = "Invalid"
    """Reason of the condition Succeeded for `reasons`."""
    is_checked_again: bool = False
    """Whether an import that a check has refused is checked again without a request."""
    dialect: Dialect | None = field(default=None, repr=False)
    """What only an import of `v2v.kubevirt.io` has."""

    @property
    def kind(self) -> Kind:
        """The kind of the import."""
        return IMPORTS[self.raw["apiVersion"]]

    @property
    def former_finalizers(self) -> list[str]:
        """Finalizers of vm-import-operator, which nobody else removes any more."""
        if self.kind != V2V_IMPORT or self.other_controller:
            return []
        return [name for name in self.raw["metadata"].get("finalizers") or [] if name in FORMER_FINALIZERS]

    @property
    def name(self) -> str:
        return str(self.raw["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.raw["metadata"]["namespace"])

    @property
    def vm_namespace(self) -> str:
        """The namespace of the VM of the run."""
        plan = self.request.plan if self.request else None
        return plan.target.namespace if plan is not None else self.namespace

    @property
    def wait(self) -> Wait:
        """What the import waits for before it can be planned: the namespace of its VM, or its mapping."""
        if self.namespace_wait.reason:
            return self.namespace_wait
        return Wait(self.mapping.reason, self.mapping.message)

    @property
    def annotations(self) -> dict[str, str]:
        return self.raw["metadata"].get("annotations") or {}

    @property
    def has_finalizer(self) -> bool:
        return FINALIZER in (self.raw["metadata"].get("finalizers") or [])

    @property
    def deletion_time(self) -> str:
        """Time of the deletion request; empty without one."""
        return str(self.raw["metadata"].get("deletionTimestamp") or "")

    @property
    def has_ended(self) -> bool:
        """Whether a Workflow exists and has ended."""
        return self.seen is not None and self.seen.phase in ENDED

    @property
    def run(self) -> str:
        """The import's own run; empty if there is none."""
        return run_of(self.raw, self.status)

    @property
    def digest(self) -> str:
        return spec_digest(self.import_.spec) if self.dialect is None else own_digest(self.dialect.spec)

    @property
    def spec_changed(self) -> bool:
        """Whether the spec differs from that of the run."""
        return self.request is not None and self.request.spec_digest != self.digest

    @property
    def cleanup_runs(self) -> bool:
        return self.cleanup is not None and self.cleanup.phase not in ENDED

    @property
    def uses_source_of_run(self) -> bool:
        """Whether the import still refers to the source of its run, and that has the same address."""
        source, plan = self.resolved.source, self.request.plan if self.request else None
        if source is None or plan is None:
            return False
        now, then = source_plan(source), plan.source
        return (now.kind, now.namespace, now.name, now.endpoint) == (
            then.kind,
            then.namespace,
            then.name,
            then.endpoint,
        )

    @property
    def credentials_of_run(self) -> Mapping[str, str] | None:
        """The credentials for the source of the run: those of its Secret, else the run's copy, else None.

        Never those of another source, or for another address.
        """
        fresh = self.resolved.credentials if self.uses_source_of_run else None
        copy = self.request.credentials if self.request else None
        return fresh if fresh is not None else copy

    @property
    def has_new_credentials(self) -> bool:
        """Whether the source's Secret has changed since the run's Workflow started.

        The copy is deleted with the Secret: another Secret of that name is a change too.
        """
        fresh = self.resolved.credentials
        if fresh is None or self.request is None:
            return False
        if self.request.credentials is None:
            return True
        tried = self.request.tried_digest
        return bool(tried) and credentials_digest(fresh) != tried

    @property
    def hook_objects(self) -> dict[tuple[str, str], str]:
        """The names of the Pods and Workflows of its hooks by point and disk; of several the latest."""
        ordered = sorted(self.hook_runs, key=lambda run: run.created.timestamp() if run.created else 0.0)
        return {(run.point, run.disk): run.name for run in ordered}

    def with_status(self, status: ImportStatus) -> Facts:
        return replace(self, status=status)

    @cached_property
    def shape(self) -> Shape | None:
        """The VM as it will be created; None before preflight has found it."""
        return self._shape(None)

    @cached_property
    def inspected_shape(self) -> Shape | None:
        """The same with the buses and NIC models for which an inspection has found drivers."""
        return self._shape(guest_of(self.seen))

    def _shape(self, guest: Guest | None) -> Shape | None:
        if self.machine is None or self.request is None or self.request.plan is None:
            return None
        try:
            return shape(self.request.plan, self.machine, guest)
        except StepError:  # its name is refused; preflight reports it
            return None


def gather(
    cluster: Cluster, options: Options, raw: Object, other_controller: str | None, now: datetime
) -> Facts:
    """Read what is needed to decide the actions for the import `raw`.

    Raises:
        StepError: where the API does not answer.
    """
    facts = replace(_import_of(cluster, options, raw, now), other_controller=other_controller)
    facts = with_run(cluster, options, facts)
    if facts.seen is not None and needs_pods(facts.seen, now):
        facts = replace(facts, pods=_pods(cluster, options, facts.run))
    facts = _with_hooks(cluster, options, _with_waits(cluster, options, facts))
    if facts.deletion_time or facts.fault or (facts.seen is not None and not facts.has_ended):
        return facts
    if facts.dialect is not None:
        return _with_v2v_plan(cluster, options, facts, facts.dialect, now)
    if facts.resolved.source is not None and not list(mapping_reasons(facts.import_.spec.import_mapping)):
        facts = replace(
            facts,
            mapping=resolve_mapping(cluster, options, facts.import_),
            namespace_wait=wait_for_namespace(cluster, options, facts.import_),
        )
    planned, reasons = _plan_new_run(cluster, options, facts)
    unchecked = unchecked_networks(planned, options) if planned else ""
    return replace(facts, plan=planned, reasons=reasons, unchecked_networks=unchecked)


def _import_of(cluster: Cluster, options: Options, raw: Object, now: datetime) -> Facts:
    """The import and its source."""
    if v2v.is_v2v(raw):
        found = v2v.find_import(cluster, options, raw, now)
        return Facts(raw, found.import_, found.fault, found.status, found.resolved, dialect=found.dialect)
    import_, fault = parse(raw)
    return Facts(
        raw=raw,
        import_=import_,
        fault=fault,
        status=ImportStatus.read(raw.get("status")),
        resolved=resolve_source(cluster, options, import_),
    )


def parse(raw: Object) -> tuple[VirtualMachineImport, str]:
    """The import as a model without the fields of its spec that cannot be read, and the error in them.

    The schema of the CRD is as lenient as vm-import-controller's, so a spec may contain invalid values. The
    spec of an import of another dialect is the translated one.
    """
    try:
        return _validated(raw), ""
    except ValidationError as error:
        bad = {fault["loc"][1] for fault in error.errors() if len(fault["loc"]) > 1}
        spec = {name: value for name, value in (raw.get("spec") or {}).items() if name not in bad}
        return _validated({**raw, "spec": spec}), first_error(error)


def _validated(raw: Object) -> VirtualMachineImport:
    model = TranslatedImport if v2v.is_v2v(raw) else VirtualMachineImport
    return model.model_validate(raw, by_alias=True, by_name=False)


def read_import(cluster: Cluster, namespace: str, name: str, kind: Kind = IMPORT) -> Object | None:
    """An import of that kind, also of another dialect than ours."""
    return cluster.get(kind, name, namespace)


# --- objects of the run


def with_run(cluster: Cluster, options: Options, facts: Facts) -> Facts:
    """The facts with the objects of the import's runs."""
    uid = {names.LABEL_UID: names.label_value(facts.raw["metadata"]["uid"])}
    config_maps = cluster.find(CONFIG_MAP, options.namespace, uid)
    runs = {_run_label(found) for found in config_maps} - {""}  # the status of another dialect has no run
    facts = replace(facts, runs=tuple(sorted(runs)))
    run = facts.run
    if not run:
        return facts
    facts = _with_workflows(
        facts, run, cluster.find(WORKFLOW, options.namespace, {**uid, names.LABEL_RUN: run})
    )
    requests = (found for found in config_maps if _run_label(found) == run and SPEC in _annotations(found))
    request = next(requests, None)
    if request is None:
        return facts
    return replace(
        facts,
        request=_read_request(cluster, options, request, run),
        machine=_read_machine(cluster, options, run),
    )


def _with_workflows(facts: Facts, run: str, workflows: list[Object]) -> Facts:
    cleanups = [found for found in workflows if argo_names.is_give_back(found["metadata"]["name"], run)]
    undos = [found for found in workflows if argo_names.is_undo(found["metadata"]["name"], run)]
    cleanup, undo = max(cleanups, key=_age, default=None), max(undos, key=_age, default=None)
    imports = [workflow for workflow in workflows if workflow not in (*cleanups, *undos)]
    current = _current_workflow(imports, facts.status)
    return replace(
        facts,
        workflow=current,
        seen=observe(current) if current else None,
        other_workflows=tuple(_name_and_end(workflow) for workflow in imports if workflow is not current),
        cleanup=observe(cleanup) if cleanup else None,
        undo=observe(undo) if undo else None,
    )


def _pods(cluster: Cluster, options: Options, run: str) -> tuple[Object, ...] | None:
    """None without the right to list pods, as with the Role of an older chart."""
    try:
        return tuple(cluster.find(POD, options.namespace, {names.LABEL_RUN: run}))
    except StepError as error:
        if error.code is not Exit.DENIED:
            raise
        return None


def _with_waits(cluster: Cluster, options: Options, facts: Facts) -> Facts:
    """The facts with what a running Workflow waits for."""
    if facts.seen is None or facts.has_ended or facts.deletion_time:
        return facts
    name = facts.status.imported_virtual_machine_name
    return replace(
        facts,
        holder_names=waits.read_holder_names(cluster, options, facts.seen, facts.namespace),
        start_message=waits.read_start_message(cluster, facts.seen, name, facts.vm_namespace),
    )


def _with_hooks(cluster: Cluster, options: Options, facts: Facts) -> Facts:
    """The facts with the hooks of the run; definitions only if a pod waits for one."""
    plan, seen = facts.request.plan if facts.request else None, facts.seen
    if plan is None or not plan.hooks or seen is None:
        return facts
    waiters = () if facts.has_ended else read_waiters(cluster, options, plan.run, seen.name)
    waiting = {at(plan, waiter.point) for waiter in waiters}
    wanted = sorted({hook.name for hook in waiting if hook is not None})
    return replace(
        facts,
        waiters=waiters,
        hook_runs=read_runs(cluster, options, plan.run),
        hooks={name: resolve_hook(cluster, options, name, facts.namespace) for name in wanted},
    )


def run_of(raw: Object, status: ImportStatus) -> str:
    """The run of an import: the name of the Workflow in its status without the suffix.

    Empty without a Workflow, and for the run of another import: a person may have written the status, or
    restored it from a backup.
    """
    name = status.workflow.name if status.workflow else ""
    found = _RUN.fullmatch(name)
    if found is None:
        return ""
    metadata = raw["metadata"]
    own = run_name(str(metadata["name"]), str(metadata["uid"]), int(found[1]))
    return own if name == own or name.startswith(f"{own}-") else ""


def _current_workflow(workflows: list[Object], status: ImportStatus) -> Object | None:
    """The newest, because `argo resubmit` creates more; None until the announced one exists."""
    present = {workflow["metadata"]["name"] for workflow in workflows}
    if status.import_status == ImportPhase.NEW and status.workflow and status.workflow.name not in present:
        return None
    return max(workflows, key=_age, default=None)


def _name_and_end(workflow: Object) -> tuple[str, bool]:
    seen = observe(workflow)
    return workflow["metadata"]["name"], seen is not None and seen.phase in ENDED


def _age(workflow: Object) -> tuple[str, int, str]:
    metadata = workflow["metadata"]
    return str(metadata.get("creationTimestamp")), argo_names.attempt_of(metadata["name"]), metadata["name"]


def _read_request(cluster: Cluster, options: Options, config_map: Object, run: str) -> RunRequest:
    secret = cluster.get(SECRET, names.credentials(run), options.namespace)
    credentials = (secret.get("data") or {}) if secret else None
    tried_digest = _annotations(secret).get(TRIED, "") if secret else ""
    return RunRequest(
        config_map=config_map,
        run=run,
        plan=stored_plan(config_map),
        spec_digest=_annotations(config_map)[SPEC],
        credentials=credentials,
        tried_digest=tried_digest,
        cleanups=CleanupRecord.read(_annotations(config_map).get(CLEANUPS, "")),
    )


def stored_plan(config_map: Object) -> Plan | None:
    """None for a request of another version that cannot be read."""
    try:
        return Plan.model_validate_json((config_map.get("data") or {}).get(PLAN, ""))
    except ValidationError:
        return None


def _read_machine(cluster: Cluster, options: Options, run: str) -> Machine | None:
    config_map = cluster.get(CONFIG_MAP, names.machine(run), options.namespace)
    try:
        return Machine.model_validate_json(config_map["data"][MACHINE]) if config_map else None
    except (KeyError, ValidationError):
        return None


def _run_label(request: Object) -> str:
    return str(request["metadata"]["labels"].get(names.LABEL_RUN, ""))


def _annotations(resource: Object) -> dict[str, str]:
    return resource["metadata"].get("annotations") or {}


# --- the plan of a new run


def _plan_new_run(cluster: Cluster, options: Options, facts: Facts) -> tuple[Plan | None, tuple[str, ...]]:
    import_, resolved, mapping = facts.import_, facts.resolved, facts.mapping
    if resolved.source is None or facts.wait.reason:
        return None, ()
    if mapping.fault:
        return None, (mapping.fault,)
    try:
        before = facts.request.plan if facts.request else None
        kind = target_kind(cluster, import_.spec.target, options.target, before)
        settings = options.planning.model_copy(update={"target": kind})
        planned = _verified(plan(import_, resolved.source, settings, mapping.mapping))
        planned = _with_power_before(_with_same_spelling(planned, facts.request), facts)
    except Invalid as error:
        return None, error.reasons
    reasons = [
        *target_reasons(cluster, planned),
        *cluster_reasons(cluster, import_, planned, options),
        *hook_reasons(cluster, options, planned.hooks, facts.namespace),
    ]
    if not reasons:
        try:
            planned = with_disk_format(cluster, planned, options)
        except StepError as error:
            if is_retryable(error.code):
                raise
            reasons.append(str(error))
    return planned, tuple(reasons)


def _with_v2v_plan(
    cluster: Cluster, options: Options, facts: Facts, dialect: Dialect, now: datetime
) -> Facts:
    """The facts of an import of `v2v.kubevirt.io` with the plan of a new run."""
    wrong, planned = list(dialect.refusals), None
    if not wrong and facts.resolved.source is not None:
        settings = options.planning.model_copy(update={"target": TargetKind.KUBEVIRT})
        try:
            planned = _verified(plan(facts.import_, facts.resolved.source, settings))
            planned = v2v.with_rows(_with_same_spelling(planned, facts.request), dialect, facts.raw)
        except Invalid as error:
            wrong = [Refusal(FAILED, reason) for reason in error.reasons]
        else:
            wrong = [
                *(Refusal(FAILED, reason) for reason in target_reasons(cluster, planned)),
                *v2v.plan_reasons(cluster, facts.import_, planned, options),
            ]
    earlier = facts.request.plan if facts.request else None
    return replace(
        facts,
        plan=planned,
        reasons=tuple(one.message for one in wrong),
        refusal=wrong[0].reason if wrong else facts.refusal,
        is_checked_again=v2v.is_checked_again(facts.status, earlier, planned, now),
    )


def _verified(planned: Plan) -> Plan:
    """The plan of an import in a cluster: it starts only when its source is ready."""
    return planned.model_copy(update={"source": planned.source.model_copy(update={"verified": True})})


def _with_same_spelling(planned: Plan, request: RunRequest | None) -> Plan:
    """A running import keeps its VM's name, even if a later version spells names differently."""
    if request is None or request.plan is None or is_other_vm(request.plan, planned):
        return planned
    spelling = request.plan.target.spelling
    return planned.model_copy(update={"target": planned.target.model_copy(update={"spelling": spelling})})


def _with_power_before(planned: Plan, facts: Facts) -> Plan:
    """The plan with the VM's power when the import began, which an earlier run has shut down."""
    settings = planned.target.settings
    earlier = facts.request.plan if facts.request else None
    if not settings.as_source or earlier is None or is_other_vm(earlier, planned):
        return planned
    was_on = facts.machine is not None and facts.machine.power is Power.ON
    if not (was_on or earlier.target.settings.ran_before or facts.status.powered_off):
        return planned
    changed = settings.model_copy(update={"ran_before": True})
    return planned.model_copy(update={"target": planned.target.model_copy(update={"settings": changed})})


def is_other_vm(before: Plan, now: Plan) -> bool:
    """Whether the plans are for different VMs, so that nothing of the earlier run can be reused."""
    return _identity(before) != _identity(now)


def _identity(plan: Plan) -> tuple[str, ...]:
    source = plan.source
    names = source.kind, source.namespace, source.name, source.datacenter, plan.vm, plan.folder or ""
    return *names, plan.target.kind
