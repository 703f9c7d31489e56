"""Rivals: two imports at a time of the same VM or with the same name, and which of them goes first.

A started import goes first; among imports that have not started, the older one by creation time, then uid.
This is known before a VM is powered off. Of an import in another namespace the message only says that it
exists.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from pydantic import ValidationError

from controller.operator.observe import fields, v2v
from controller.operator.observe.facts import NAME_TAKEN, VM_TAKEN, Facts, Rival, run_of
from controller.operator.observe.scratch import shortage
from controller.operator.observe.source import KINDS, parse_source
from controller.operator.options import Options
from steps.model import inventory_path, names
from steps.model.kinds import CONFIG_MAP, IMPORT, Object
from steps.model.machine import Machine
from steps.model.naming import DNS_LABEL, normalise
from steps.model.plan import Plan, SourcePlan
from steps.runtime.cluster import Cluster, each
from steps.runtime.program import MACHINE, PLAN
from workflows.accounts import place
from workflows.api.conditions import find
from workflows.api.status import ImportPhase, ImportStatus
from workflows.plan import source_plan
from workflows.status.phase import SUCCEEDED, has_succeeded

MOST_EARLIER: Final = 20
"""Earlier imports with the same name of the VM whose sources are compared."""
LONGEST_NAME: Final = 4096
"""Characters of a VM's name or folder that is compared."""
_METADATA: Final = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp")
_SPEC: Final = (
    "suspend",
    "cancel",
    "dryRun",
    "virtualMachine",
    "virtualMachineName",
    "targetVirtualMachineName",
    "folder",
    "sourceCluster",
)
_SOURCE: Final = ("kind", "namespace", "name")
_ID: Final = re.compile(r"vm-[0-9]+|[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
"""Identifiers of a VM other than its name: a managed object id, a UUID."""


def with_rivals(cluster: Cluster, options: Options, facts: Facts) -> Facts:
    """The facts with the import that goes before this one, and with one that has imported the same VM.

    Raises:
        StepError: where the API does not answer.
    """
    plan = facts.plan
    if plan is None:
        return facts
    listed = (resource for space in options.namespaces or ("",) for resource in each(cluster, IMPORT, space))
    both = itertools.chain(listed, v2v.as_ours(cluster, options))
    others = [other for other in map(_OtherImport, both) if not other.is_same_as(facts.raw)]
    return replace(
        facts,
        rival=_rival(cluster, options, facts, plan, others) or shortage(cluster, options, facts),
        imported_before=_imported_before(cluster, options, facts, plan, others),
    )


def _rival(
    cluster: Cluster, options: Options, facts: Facts, plan: Plan, others: Iterable[_OtherImport]
) -> Rival | None:
    """The import that goes before this one; None when this one may start."""
    first = [other for other in others if other.goes_before(facts.raw)]
    wanted = sorted(_wanted_names(facts, plan))
    for other in first:
        if other.may_take(facts, plan.target.namespace) and other.names & set(wanted):
            return _name_taken(facts, plan, wanted, other)
    for other in first:
        if _is_same_vm(cluster, options, facts, plan, other):
            return _vm_taken(facts, plan, other)
    return None


def _imported_before(
    cluster: Cluster, options: Options, facts: Facts, plan: Plan, others: Iterable[_OtherImport]
) -> str:
    """A sentence about another import of the same VM that has succeeded; empty without one.

    There may be many: only those with the same name or id of the VM are looked at, and not all of these.
    """
    source = plan.source
    if not source.kind.runs_vms:
        return ""
    own = _VmReference(plan.vm, plan.folder, facts.machine)
    done = (
        other for other in others if has_succeeded(other.status) and other.source[0] == source.kind.lower()
    )
    alike = (other for other in done if own.may_be(_VmReference(other.vm, other.folder)))
    first = islice(alike, MOST_EARLIER)
    earlier = next((other for other in first if _is_same_vm(cluster, options, facts, plan, other)), None)
    if earlier is None:
        return ""
    return (
        f"{earlier.shown_in(facts.namespace)} has imported {plan.vm} of {source.title} "
        f"before; the new VM has the same MAC addresses and UUID: do not run both in a network"
    )


class _OtherImport:
    """Another import, as far as it can be read. An invalid spec claims nothing."""

    def __init__(self, raw: Object) -> None:
        self.is_v2v = v2v.is_v2v(raw)
        # Not `raw` itself: there may be many others, and people choose how large they are.
        self._metadata = {name: raw["metadata"][name] for name in _METADATA if name in raw["metadata"]}
        spec = fields.mapping(raw.get("spec"))
        self._spec = {name: _if_short(spec[name]) for name in _SPEC if name in spec}
        self.status = ImportStatus.read(raw.get("status"))
        self.name, self.namespace = str(self._metadata["name"]), str(self._metadata["namespace"])

    def is_same_as(self, ours: Object) -> bool:
        return bool(self._metadata["uid"] == ours["metadata"]["uid"])

    def shown_in(self, namespace: str) -> str:
        """What a message of an import in `namespace` calls it."""
        return f"import {self.name}" if self.namespace == namespace else "an import in another namespace"

    def goes_before(self, ours: Object) -> bool:
        if has_succeeded(self.status):
            return False
        return self.has_begun or (self._will_begin and self._age < _age(ours["metadata"]))

    def may_take(self, facts: Facts, namespace: str) -> bool:
        """Whether it may create a VM in that namespace.

        One of another namespace counts once it has begun: before that, the namespace may not allow it.
        """
        own = self.namespace == facts.namespace
        return self.vm_namespace == namespace and (own or self.has_begun)

    @property
    def vm_namespace(self) -> str:
        """The namespace of its new VM."""
        given = fields.mapping(self._spec.get("virtualMachine"))
        return fields.text(given.get("namespace")) or self.namespace

    @property
    def has_begun(self) -> bool:
        """Whether a Workflow is announced, and the import was not refused and has not failed."""
        over = self.status.import_status in (ImportPhase.INVALID, ImportPhase.FAILED)
        return self.status.workflow is not None and not over

    @property
    def _will_begin(self) -> bool:
        """Whether it will start by itself: it is not held, and nothing must be corrected first.

        Waiting for a rival does not count: else two that wait for a third would both start after it.
        """
        is_held = any(self._spec.get(name) for name in ("suspend", "cancel", "dryRun"))
        if is_held or self.status.workflow is not None or self._metadata.get("deletionTimestamp"):
            return False
        if self.status.import_status == ImportPhase.NEW:
            return True
        summary = find(self.status.import_conditions, SUCCEEDED)
        return (
            self.status.import_status == ImportPhase.INVALID
            and summary is not None
            and summary.reason == NAME_TAKEN
        )

    @property
    def waits_for_source(self) -> bool:
        """Whether its source, the credentials or its mapping cannot be used now."""
        summary = find(self.status.import_conditions, SUCCEEDED)
        reason = summary.reason if summary else ""
        obstacles = ("Source", "Secret", "Provider", "ResourceMapping", "Mapping", "TargetNamespace")
        return not self.has_begun and reason.startswith(obstacles)

    @property
    def _age(self) -> tuple[str, str]:
        return _age(self._metadata)

    @property
    def names(self) -> set[str]:
        """The possible names of its VM; exactly one when its VM is known."""
        if self.status.imported_virtual_machine_name:
            return {self.status.imported_virtual_machine_name}
        wanted = fields.text(self._spec.get("targetVirtualMachineName")) or self.vm
        return {wanted if DNS_LABEL.fullmatch(wanted) else normalise(wanted)} if wanted else set()

    @property
    def vm(self) -> str:
        return self._place[0]

    @property
    def folder(self) -> str | None:
        return self._place[1]

    @property
    def _place(self) -> tuple[str, str | None]:
        """Name and folder of its VM, which an inventory path has both."""
        given = self._spec.get("folder")
        folder = given if isinstance(given, str) else None
        vm = fields.text(self._spec.get("virtualMachineName")).strip()
        try:
            return inventory_path.of_import(self.source[0], vm, folder)
        except ValueError:
            return vm, folder  # such an import is refused

    @property
    def source(self) -> tuple[str, str, str]:
        """(kind in lower case, namespace, name)."""
        given = fields.mapping(self._spec.get("sourceCluster"))
        kind, name = fields.text(given.get("kind")).lower(), fields.text(given.get("name"))
        return kind, fields.text(given.get("namespace")) or self.namespace, name

    @property
    def run(self) -> str:
        return run_of({"metadata": self._metadata}, self.status)


# --- the same name


def _wanted_names(facts: Facts, plan: Plan) -> set[str]:
    target = facts.shape
    if target is not None:
        return {target.name}
    wanted = plan.target.vm_name or plan.vm
    return {wanted if DNS_LABEL.fullmatch(wanted) else normalise(wanted, plan.target.spelling)}


def _name_taken(facts: Facts, plan: Plan, wanted: list[str], other: _OtherImport) -> Rival:
    action = "is creating" if other.has_begun else "is older and will create"
    message = (
        f"{other.shown_in(facts.namespace)} {action} VirtualMachine {plan.target.namespace}/{wanted[0]}, and "
        "this import needs the same name; set another spec.targetVirtualMachineName, or delete one of the "
        "two imports"
    )
    return Rival(NAME_TAKEN, message)


# --- the same VM


def _is_same_vm(cluster: Cluster, options: Options, facts: Facts, plan: Plan, other: _OtherImport) -> bool:
    source = plan.source
    if not source.kind.runs_vms or other.source[0] != source.kind.lower():
        return False  # an OVA is only read, so it may be imported several times at once
    if other.waits_for_source and other.namespace != facts.namespace:
        return False  # an import that cannot use its source must not delay other namespaces
    own = _VmReference(plan.vm, plan.folder, facts.machine)
    theirs = _VmReference(other.vm, other.folder)
    if not own.may_be(theirs):
        if not (own.is_id or theirs.is_id) or not other.run:
            return False
        if not own.may_be(_VmReference(other.vm, other.folder, _machine(cluster, options, other.run))):
            return False
    same = other.source == (source.kind.lower(), source.namespace, source.name)
    if other.is_v2v or source.from_secret:
        same = same and other.is_v2v and source.from_secret
    if not same and not _is_same_place(_read_source_plan(cluster, options, other), source):
        return False
    return other.namespace == facts.namespace or _runs_there(cluster, options, source, other)


def _runs_there(cluster: Cluster, options: Options, source: SourcePlan, other: _OtherImport) -> bool:
    """Whether a begun import of another namespace runs at that source.

    Its spec and its source may have been changed since, so that it seems to import a VM of other people.
    """
    if not other.has_begun or not other.run:
        return True
    config_map = cluster.get(CONFIG_MAP, names.request(other.run), options.namespace)
    try:
        begun = Plan.model_validate_json(config_map["data"][PLAN]) if config_map else None
    except (KeyError, ValidationError):
        return True
    return begun is None or _is_same_place(begun.source, source)


class _VmReference:
    """Names and ids of a VM: from the spec, and from the VM that preflight found."""

    def __init__(self, vm: str, folder: str | None, machine: Machine | None = None) -> None:
        self._names = {vm} | ({machine.name} if machine else set())
        self._ids = {vm.lower()} if _ID.fullmatch(vm) else set()
        if machine is not None:
            known = (machine.source_id, machine.uuid, machine.instance_uuid)
            self._ids |= {identifier.lower() for identifier in known if identifier}
        self._folder = None if folder is None else tuple(part for part in folder.split("/") if part)

    @property
    def is_id(self) -> bool:
        return bool(self._ids)

    def may_be(self, other: _VmReference) -> bool:
        """Whether both may mean the same VM. A name without a folder matches any folder."""
        if self._ids & other._ids:
            return True
        return bool(self._names & other._names) and self._is_near(other)

    def _is_near(self, other: _VmReference) -> bool:
        if self._folder is None or other._folder is None:
            return True
        shorter, longer = sorted((self._folder, other._folder), key=len)
        if not shorter:  # the top folder, whose inventory path ends with `vm`
            return longer[-1:] in ((), ("vm",))
        return longer[-len(shorter) :] == shorter  # the other one may be an inventory path


def _machine(cluster: Cluster, options: Options, run: str) -> Machine | None:
    """The VM that the preflight of another import found."""
    config_map = cluster.get(CONFIG_MAP, names.machine(run), options.namespace)
    try:
        return Machine.model_validate_json(config_map["data"][MACHINE]) if config_map else None
    except (KeyError, ValidationError):
        return None


def _read_source_plan(cluster: Cluster, options: Options, other: _OtherImport) -> SourcePlan | None:
    """The source of another import; two sources may be the same vCenter."""
    source = other.source
    kind = KINDS.get(source[0])
    if other.is_v2v:
        found = v2v.source_of_other(cluster, options, source, other.namespace)
        return source_plan(found) if found is not None else None
    resource = cluster.get(kind, source[2], source[1]) if kind and source[2] else None
    try:
        return source_plan(parse_source(resource)) if resource else None
    except ValidationError:
        return None


def _is_same_place(one: SourcePlan | None, other: SourcePlan) -> bool:
    """Whether both sources have the same VMs. Without a datacenter or namespace it may have those of any."""
    if one is None or (place(one.endpoint), one.region) != (place(other.endpoint), other.region):
        return False
    pairs = ((one.datacenter, other.datacenter), (one.vm_namespace, other.vm_namespace))
    return all(mine == theirs or "" in (mine, theirs) for mine, theirs in pairs)


def _vm_taken(facts: Facts, plan: Plan, other: _OtherImport) -> Rival:
    source = plan.source
    owner = other.shown_in(facts.namespace)
    action = "imports" if other.has_begun else "is older and will import"
    message = (
        f"{owner} {action} {plan.vm} of {source.title}, the VM of this "
        "import; this import starts when that one has succeeded, has failed or is deleted"
    )
    return Rival(VM_TAKEN, message)


# --- reading


def _if_short(value: object) -> object:
    """A value of a spec; None for one that is longer than any name: such an import is refused."""
    if isinstance(value, Mapping):
        return {name: _if_short(value[name]) for name in _SOURCE if name in value}
    return (
        value if isinstance(value, bool) or (isinstance(value, str) and len(value) <= LONGEST_NAME) else None
    )


def _age(metadata: Mapping[str, Any]) -> tuple[str, str]:
    return str(metadata.get("creationTimestamp") or ""), str(metadata["uid"])
