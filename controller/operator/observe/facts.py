"""Everything that an import's next step depends on, read from the API at one time.

There is no watch cache: the facts are never older than a moment, and a controller that just started knows as
much as one that has run for days.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from controller.operator.observe import waits
from controller.operator.observe.checks import cluster_reasons, formatted
from controller.operator.observe.request import SPEC, TRIED, credentials_digest, spec_digest
from controller.operator.observe.source import Origin, origin
from controller.operator.options import Options, References
from steps.model import names
from steps.model.contract import Exit, StepError, is_retryable
from steps.model.document import first_error
from steps.model.kinds import CONFIG_MAP, GROUP, IMPORT, POD, SECRET, WORKFLOW, Object
from steps.model.machine import Machine
from steps.model.mapping import Shape, shape
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.runtime.program import MACHINE, PLAN
from workflows import argo_names
from workflows.api.resources import VirtualMachineImport
from workflows.api.status import ImportPhase, ImportStatus
from workflows.plan import Invalid, plan
from workflows.status.nodes import Phase
from workflows.status.observed import Observed, observe
from workflows.status.watchdog import needs_pods

FINALIZER: Final = f"{GROUP}/vmferry"
"""Our finalizer on an import: while it exists, there may be something to release."""
_RUN: Final = re.compile(r"(.+-[0-9a-f]{8}-g[0-9]{1,9})(?:-.+)?$")
"""`workflows.plan.run_name`, and a suffix."""
OVER: Final = (Phase.SUCCEEDED, Phase.FAILED, Phase.ERROR)


NAME_TAKEN: Final = "NameTaken"
VM_TAKEN: Final = "VirtualMachineTaken"
"""Reasons of the condition Succeeded."""


@dataclass(frozen=True)
class Rival:
    """Another import that goes first (`observe.rivals`): a reason and a message for this one."""

    reason: str
    message: str


@dataclass(frozen=True)
class Asked:
    """The request of a run."""

    thing: Object
    run: str
    plan: Plan | None
    spec: str
    """Digest of the spec of the run."""
    copied: Mapping[str, str] | None = field(repr=False)
    """The run's copy of the credentials, base64; None if it does not exist."""
    tried: str = field(default="", repr=False)
    """Digest of the credentials that its Workflow started with; empty if unknown."""


@dataclass(frozen=True)
class Facts:
    """An import and the objects around it."""

    raw: Object
    import_: VirtualMachineImport
    """As far as it can be read."""
    fault: str
    """The error in the part of its spec that cannot be read."""
    status: ImportStatus
    origin: Origin
    plan: Plan | None = None
    """The plan of a new run."""
    reasons: tuple[str, ...] = ()
    """Why that plan cannot run: the import or the cluster must be corrected."""
    asked: Asked | None = None
    workflow: Object | None = None
    seen: Observed | None = None
    pods: tuple[Object, ...] | None = None
    """Pods of the run of a stalled Workflow; None if they were not listed."""
    machine: Machine | None = None
    requests: tuple[str, ...] = ()
    """All runs that have objects in the release namespace."""
    others: tuple[tuple[str, bool], ...] = ()
    """Other Workflows of the run, and whether they have ended."""
    back: bool | None = None
    """Whether the Workflow that runs only the cleanup has ended; None if it does not exist."""
    rival: Rival | None = None
    """Known only for an import that would start otherwise."""
    who: Mapping[str, str] = field(default_factory=dict)
    """Imports by the Workflows that hold the locks of this one."""
    starting: str = ""
    """KubeVirt's message about the VM while `start` waits for it."""
    foreign: str | None = None
    """Why nothing may be done: vm-import-controller is active here."""

    @property
    def name(self) -> str:
        return str(self.raw["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.raw["metadata"]["namespace"])

    @property
    def annotations(self) -> dict[str, str]:
        return self.raw["metadata"].get("annotations") or {}

    @property
    def held(self) -> bool:
        return FINALIZER in (self.raw["metadata"].get("finalizers") or [])

    @property
    def leaving(self) -> str:
        """Time of the deletion request; empty without one."""
        return str(self.raw["metadata"].get("deletionTimestamp") or "")

    @property
    def over(self) -> bool:
        """Whether a Workflow exists and has ended."""
        return self.seen is not None and self.seen.phase in OVER

    @property
    def digest(self) -> str:
        return spec_digest(self.import_.spec)

    @property
    def changed(self) -> bool:
        """Whether the spec differs from that of the run."""
        return self.asked is not None and self.asked.spec != self.digest

    @property
    def has_new_credentials(self) -> bool:
        """Whether the source's Secret has changed since the run's Workflow started."""
        fresh = self.origin.credentials
        if fresh is None or self.asked is None or not self.asked.tried:
            return False
        return credentials_digest(fresh) != self.asked.tried

    def with_status(self, status: ImportStatus) -> Facts:
        return replace(self, status=status)

    def shape(self) -> Shape | None:
        """The VM as it will be created; None before preflight has found it."""
        if self.machine is None or self.asked is None or self.asked.plan is None:
            return None
        try:
            return shape(self.asked.plan, self.machine)
        except StepError:  # its name is refused; preflight reports it
            return None


def gather(cluster: Cluster, options: Options, raw: Object, foreign: str | None, now: datetime) -> Facts:
    """Read what is needed to decide the actions for the import `raw`.

    Raises:
        StepError: where the API does not answer.
    """
    import_, fault = parse(raw)
    status = ImportStatus.read(raw.get("status"))
    known = Facts(
        raw=raw,
        import_=import_,
        fault=fault,
        status=status,
        origin=origin(cluster, options, import_),
        foreign=foreign,
    )
    known = replace(known, **_of_run(cluster, options, known))
    if known.seen is not None and needs_pods(known.seen, now):
        known = replace(known, pods=_pods(cluster, options, run_of(status)))
    known = replace(known, **_waiting_for(cluster, options, known))
    if known.leaving or fault or (known.seen is not None and not known.over):
        return known
    planned, reasons = _planned(cluster, options, known)
    return replace(known, plan=planned, reasons=reasons)


def parse(raw: Object) -> tuple[VirtualMachineImport, str]:
    """The import as a model without the fields of its spec that cannot be read, and the error in them.

    The schema of the CRD is as lenient as vm-import-controller's, so a spec may contain invalid values.
    """
    try:
        return _validated(raw), ""
    except ValidationError as error:
        bad = {fault["loc"][1] for fault in error.errors() if len(fault["loc"]) > 1}
        spec = {name: value for name, value in (raw.get("spec") or {}).items() if name not in bad}
        return _validated({**raw, "spec": spec}), first_error(error)


def _validated(raw: Object) -> VirtualMachineImport:
    return VirtualMachineImport.model_validate(raw, by_alias=True, by_name=False)


def read_import(cluster: Cluster, namespace: str, name: str) -> Object | None:
    return cluster.get(IMPORT, name, namespace)


# --- objects of the run


def _of_run(cluster: Cluster, options: Options, facts: Facts) -> dict[str, Any]:
    uid = {names.LABEL_UID: names.label_value(facts.raw["metadata"]["uid"])}
    pages = cluster.find(CONFIG_MAP, options.namespace, uid)
    made: dict[str, Any] = {"requests": tuple(sorted({_run_of(one) for one in pages}))}
    run = run_of(facts.status)
    workflows = cluster.find(WORKFLOW, options.namespace, {**uid, names.LABEL_RUN: run}) if run else []
    back = next((one for one in workflows if one["metadata"]["name"] == argo_names.give_back(run)), None)
    made["back"] = _outline(back)[1] if back else None
    workflows = [one for one in workflows if one is not back]
    current = _followed(workflows, facts.status)
    made["workflow"], made["seen"] = current, observe(current) if current else None
    made["others"] = tuple(_outline(one) for one in workflows if one is not current)
    thing = next((one for one in pages if _run_of(one) == run and SPEC in _notes(one)), None)
    if thing is not None:
        made["asked"] = _asked(cluster, options, thing, run)
        made["machine"] = _machine(cluster, options, run)
    return made


def _pods(cluster: Cluster, options: Options, run: str) -> tuple[Object, ...] | None:
    """None without the right to list pods, as with the Role of an older chart."""
    try:
        return tuple(cluster.find(POD, options.namespace, {names.LABEL_RUN: run}))
    except StepError as error:
        if error.code is not Exit.DENIED:
            raise
        return None


def _waiting_for(cluster: Cluster, options: Options, known: Facts) -> dict[str, Any]:
    if known.seen is None or known.over or known.leaving:
        return {}
    name = known.status.imported_virtual_machine_name
    return {
        "who": waits.holders(cluster, options, known.seen, known.namespace),
        "starting": waits.starting(cluster, known.seen, name, known.namespace),
    }


def run_of(status: ImportStatus) -> str:
    """The run in a status: the name of its Workflow without the suffix."""
    found = _RUN.match(status.workflow.name) if status.workflow else None
    return found[1] if found else ""


def _followed(workflows: list[Object], status: ImportStatus) -> Object | None:
    """The newest, because `argo resubmit` creates more; None until the announced one exists."""
    present = {one["metadata"]["name"] for one in workflows}
    if status.import_status == ImportPhase.NEW and status.workflow and status.workflow.name not in present:
        return None
    return max(workflows, key=_age, default=None)


def _outline(workflow: Object) -> tuple[str, bool]:
    seen = observe(workflow)
    return workflow["metadata"]["name"], seen is not None and seen.phase in OVER


def _age(workflow: Object) -> tuple[str, int, str]:
    metadata = workflow["metadata"]
    return str(metadata.get("creationTimestamp")), argo_names.attempt_of(metadata["name"]), metadata["name"]


def _asked(cluster: Cluster, options: Options, thing: Object, run: str) -> Asked:
    secret = cluster.get(SECRET, names.credentials(run), options.namespace)
    copied = (secret.get("data") or {}) if secret else None
    tried = _notes(secret).get(TRIED, "") if secret else ""
    return Asked(
        thing=thing, run=run, plan=_stored(thing), spec=_notes(thing)[SPEC], copied=copied, tried=tried
    )


def _stored(thing: Object) -> Plan | None:
    """None for a request of another version that cannot be read."""
    try:
        return Plan.model_validate_json((thing.get("data") or {}).get(PLAN, ""))
    except ValidationError:
        return None


def _machine(cluster: Cluster, options: Options, run: str) -> Machine | None:
    found = cluster.get(CONFIG_MAP, names.machine(run), options.namespace)
    try:
        return Machine.model_validate_json(found["data"][MACHINE]) if found else None
    except (KeyError, ValidationError):
        return None


def _run_of(request: Object) -> str:
    return str(request["metadata"]["labels"].get(names.LABEL_RUN, ""))


def _notes(thing: Object) -> dict[str, str]:
    return thing["metadata"].get("annotations") or {}


# --- the plan of a new run


def _planned(cluster: Cluster, options: Options, known: Facts) -> tuple[Plan | None, tuple[str, ...]]:
    import_, origin = known.import_, known.origin
    if origin.source is None:
        return None, ()
    try:
        made = _named_as_before(plan(import_, origin.source, options.settings), known.asked)
    except Invalid as error:
        return None, error.reasons
    reasons = [
        *_reference_reasons(import_, origin, options),
        *cluster_reasons(cluster, import_, made, options),
    ]
    if not reasons:
        try:
            made = formatted(cluster, made, options)
        except StepError as error:
            if is_retryable(error.code):
                raise
            reasons.append(str(error))
    return made, tuple(reasons)


def _named_as_before(made: Plan, asked: Asked | None) -> Plan:
    """A running import keeps its VM's name, even if a later version spells names differently."""
    if asked is None or asked.plan is None or is_another(asked.plan, made):
        return made
    spelling = asked.plan.target.spelling
    return made.model_copy(update={"target": made.target.model_copy(update={"spelling": spelling})})


def is_another(before: Plan, now: Plan) -> bool:
    """Whether the plans are for different VMs, so that nothing of the earlier run can be reused."""
    return _identity(before) != _identity(now)


def _identity(plan: Plan) -> tuple[str, ...]:
    source = plan.source
    return source.kind, source.namespace, source.name, source.datacenter, plan.vm, plan.folder or ""


def _reference_reasons(import_: VirtualMachineImport, origin: Origin, options: Options) -> Iterator[str]:
    if options.cross_namespace_references is References.ALLOW or origin.source is None:
        return
    own = import_.metadata.namespace
    if origin.source.metadata.namespace != own:
        yield (
            f"the source is in namespace {origin.source.metadata.namespace}; this installation allows "
            f"only sources in the namespace of the import ({own}); move the source, or set "
            "crossNamespaceReferences: allow"
        )
