"""Carries out the actions on a MigrationPlan: each is one small write, and each may happen twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, assert_never

import structlog

from controller.operator.checkpods.check import SELECT, Check, Ended, Owner
from controller.operator.checkpods.runner import CheckPods
from controller.operator.decide.actions import EmitEvent, RemoveAnnotation
from controller.operator.decide.plan import (
    CreateImport,
    DropSelection,
    PlanAction,
    RetryImport,
    SelectVms,
    UpdatePlanStatus,
    created,
    taken,
)
from controller.operator.events import emit
from controller.operator.observe.plan import PlanFacts, template_import
from controller.operator.options import Options
from steps.model.contract import Exit, StepError
from steps.model.kinds import IMPORT, MIGRATION_PLAN, Object
from steps.model.matching import storage_choice
from steps.model.plan import TargetPlan
from steps.model.selecting import FoundVm, unpack
from steps.model.sources import SourceKind
from steps.runtime.cluster import Cluster, ExistsError
from workflows import texts
from workflows.api.conditions import stamp
from workflows.api.migration_plan import (
    MigrationPlan,
    MigrationPlanStatus,
    PlannedVm,
    PlanPhase,
    SelectionStatus,
)
from workflows.api.resources import VirtualMachineImport
from workflows.migration import report, vms
from workflows.migration.imports import is_owned, retry_patch, spec_of
from workflows.migration.rules import PROBE, listing
from workflows.plan import source_plan, target_plan

log = structlog.get_logger()

SECONDS: Final = 600.0
"""Seconds that the source may take to list its VMs."""
LARGEST_STATUS: Final = 1 << 20
"""Bytes of a status as JSON. An object of the API has at most 1.5 MiB."""
MOST_NAMED: Final = 10
_WARNINGS: Final = (PlanPhase.INVALID, PlanPhase.STOPPED, PlanPhase.FAILED)


def owner_of(namespace: str, name: str) -> Owner:
    """The owner of the check pod of a plan."""
    return Owner(MIGRATION_PLAN, namespace, name)


class PlanActor:
    """Carries out the actions on one plan, as found in `facts`."""

    def __init__(
        self,
        cluster: Cluster,
        options: Options,
        checks: CheckPods,
        facts: PlanFacts,
        clock: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._options = options
        self._checks = checks
        self._facts = facts
        self._clock = clock
        self._status = facts.status
        self._taken: list[str] = []
        self._created: dict[str, str] = {}
        metadata = facts.raw["metadata"]
        self._namespace, self._name = str(metadata["namespace"]), str(metadata["name"])
        self._owner = owner_of(self._namespace, self._name)
        self.log = log.bind(plan=f"{self._namespace}/{self._name}")

    @property
    def status(self) -> MigrationPlanStatus:
        """The status as it is now."""
        return self._status

    def do(self, action: PlanAction) -> None:
        """Carry out an action. Raises StepError where the API refuses or does not answer."""
        match action:
            case UpdatePlanStatus():
                self._write(action.status)
            case SelectVms():
                self._select(action.plan)
            case DropSelection():
                self._checks.drop(self._owner)
            case CreateImport():
                self._create(action.manifest)
            case RetryImport():
                self._retry(action)
            case RemoveAnnotation():
                change = {"metadata": {"annotations": {action.annotation: None}}}
                self._cluster.patch(MIGRATION_PLAN, self._name, change, self._namespace)
            case EmitEvent():
                self._emit(action.reason, action.message, warning=action.warning)
            case _:
                assert_never(action)

    def finish(self) -> None:
        """Record which imports exist now, and which have names of others.

        The other plans of the namespace count the imports of this one by its status.
        """
        if self._created:
            self._write(created(self._status, self._created))
        if self._taken:
            names = _listed(self._taken)
            self._emit("ImportExists", f"These imports do not belong to the plan: {names}", warning=True)
            self._write(taken(self._status, self._taken))

    def _write(self, status: MigrationPlanStatus) -> None:
        if status == self._status:
            return
        before, self._status = self._status, status
        self._cluster.patch_status(MIGRATION_PLAN, self._name, status.to_document(), self._namespace)
        if status.phase != before.phase:
            is_bad = status.phase in _WARNINGS
            self._emit(f"Plan{status.phase}", status.message or status.phase, warning=is_bad)

    def _emit(self, reason: str, message: str, *, warning: bool = False) -> None:
        emit(self._cluster, self._facts.raw, reason, message, warning=warning)
        (self.log.warning if warning else self.log.info)(message)

    # --- imports

    def _create(self, manifest: Object) -> None:
        name = manifest["metadata"]["name"]
        try:
            self._created[name] = self._cluster.create(manifest)["metadata"]["uid"]
        except ExistsError:
            found = self._cluster.get(IMPORT, name, self._namespace)
            if found is None or is_owned(found, self._facts.uid) or _is_leaving(found, self._name):
                return  # the next reconcile sees it, or creates it
            self._taken.append(name)

    def _retry(self, action: RetryImport) -> None:
        found = self._cluster.get(IMPORT, action.vm.import_, self._namespace)
        if found is not None and is_owned(found, self._facts.uid):
            patch = retry_patch(action.plan, action.vm, found)
            self._cluster.patch(IMPORT, action.vm.import_, patch, self._namespace)

    # --- the selection

    def _select(self, plan: MigrationPlan) -> None:
        source, credentials = self._facts.resolved.source, self._facts.resolved.credentials
        if source is None or credentials is None:
            return
        request = source_plan(source)
        last = self._status.selection
        check = Check(
            owner=self._owner,
            uid=self._facts.uid,
            version=self._facts.version,
            source=request.kind,
            program=SELECT,
            request=listing(plan, request).to_json(),
            credentials=credentials,
            seconds=SECONDS,
            has_failed=last.failures > 0,
        )
        ended = self._checks.ask(check)
        if ended is None:
            return
        is_stored = bool(ended.pod) and ended.pod == last.check
        if is_stored or ended.version != check.version:
            self._checks.close(self._owner)  # its result is known, or about an earlier spec
            return
        before, after = self._status, self._selected(plan, ended)
        self._write(after)
        self._checks.close(self._owner, failed=after.selection.failures > 0)
        self._report_changes(before, after)

    def _selected(self, plan: MigrationPlan, ended: Ended) -> MigrationPlanStatus:
        """The status after a selection that succeeded or failed."""
        now = self._clock()
        if ended.problem is not None or ended.code != Exit.DONE:
            why = ended.message or f"the program ended with exit code {ended.code}"
            return self._failed(why, ended, now)
        try:
            found = unpack(self._checks.document(self._owner))
            classes = self._classes(plan)
            merged = vms.merged(self._name, plan.spec, found.vms, self._status.vms, classes)
        except StepError as error:
            return self._failed(str(error), ended, now)
        selection = SelectionStatus(version=self._facts.version, time=stamp(now), check=ended.pod)
        unused = f"; no VM fits {texts.message(found.unused)}" if found.unused else ""
        count = len(found.vms)
        message = f"{count} {'VM is' if count == 1 else 'VMs are'} selected{unused}"
        after = report.with_selection(self._status, "VmsSelected", message, now, is_good=True)
        changes = {"vms": merged, "counts": report.counts(merged), "selection": selection}
        after = after.model_copy(update={**changes, "observed_generation": self._facts.generation})
        if len(json.dumps(after.to_document())) > LARGEST_STATUS:
            return self._failed("the list of VMs is too large for one plan; make several plans", ended, now)
        return after

    def _failed(self, why: str, ended: Ended, now: datetime) -> MigrationPlanStatus:
        last = self._status.selection
        selection = SelectionStatus(
            time=stamp(now),
            failures=last.failures + 1,
            check=ended.pod,
        )
        message = f"The VMs cannot be selected: {texts.message((why,))}"
        after = report.with_phase(self._status, PlanPhase.SELECTING, message, now)
        after = report.with_selection(after, "SelectionFailed", message, now, is_good=False)
        changes = {"selection": selection, "observed_generation": self._facts.generation}
        return after.model_copy(update=changes)

    def _classes(self, plan: MigrationPlan) -> Callable[[FoundVm], Iterable[str]]:
        """The storage classes of a VM's disks, by the rows of its import and of the mapping."""
        targets: dict[int, TargetPlan] = {}

        def classes(vm: FoundVm) -> Iterable[str]:
            target = targets.get(vm.row)
            if target is None:
                target = targets[vm.row] = self._target(plan, vm.row)
            for disk in vm.disks:
                name = storage_choice(disk.as_disk(), target).rule.storage_class
                if name:
                    yield name

        return classes

    def _target(self, plan: MigrationPlan, row: int) -> TargetPlan:
        probe = template_import(plan)
        spec = spec_of(plan, PlannedVm(vm=PROBE, row=row))
        import_ = VirtualMachineImport.model_validate(
            {**probe.model_dump(by_alias=True, mode="json"), "spec": spec}, by_alias=True, by_name=False
        )
        kind = SourceKind(str(plan.spec.source_cluster.kind))
        return target_plan(import_, self._options.settings, kind, self._facts.mapping.mapping)

    def _report_changes(self, before: MigrationPlanStatus, after: MigrationPlanStatus) -> None:
        old, new = ({vm.import_ for vm in status.vms} for status in (before, after))
        if gone := sorted(old - new):
            self._emit("VmsRemoved", f"No longer selected: {_listed(gone)}")
        if added := sorted(new - old):
            self._emit("VmsSelected", f"Selected: {_listed(added)}")


def _is_leaving(found: Object, plan: str) -> bool:
    """Whether an import is being deleted, or will be with an earlier plan of that name."""
    owners = found["metadata"].get("ownerReferences") or []
    own = (MIGRATION_PLAN.kind, plan)
    is_of_earlier = any((owner.get("kind"), owner.get("name")) == own for owner in owners)
    return bool(found["metadata"].get("deletionTimestamp")) or is_of_earlier


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
