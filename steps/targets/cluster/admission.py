"""Whether the cluster would accept the objects of an import: server-side dry runs, and sums of quotas.

The API server, its webhooks and its quotas check the objects that `image` and `build` create later, and store
none of them. Which objects these are is the target's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from steps.model.admission import Admission, Finding, not_checked, passed, raise_all
from steps.model.contract import Exit, StepError, is_retryable
from steps.model.kinds import MACHINE, RESOURCE_QUOTA, Kind, Object
from steps.model.machine import Disk, DiskId
from steps.model.mapping import Shape
from steps.model.plan import Plan
from steps.model.refusals import DuplicateMacError, MissingNetworkError
from steps.runtime.cluster import Cluster, ExistsError
from steps.targets.checks.facts import ClaimNeed, Needs
from steps.targets.checks.reader import read_facts
from steps.targets.checks.rules import by_class, judge
from steps.targets.cluster import quota
from steps.targets.cluster.mac_conflict import explain_mac_conflict
from steps.targets.cluster.ownership import is_of_import, refuse_deleting, refuse_foreign
from steps.targets.cluster.vm_objects import is_handed_over

_NO_DRY_RUN: Final = "does not support dry run"
"""k8s.io/apiserver, pkg/admission/plugin/webhook/errors/statuserror.go: a webhook that has side effects."""
T = TypeVar("T")


class AdmissionReport:
    """What the cluster accepts and refuses of one import."""

    def __init__(self, plan: Plan, cluster: Cluster, vm: str) -> None:
        """`vm` is the VM's name for messages."""
        self._plan = plan
        self._cluster = cluster
        self._vm = vm
        self._namespace = plan.target.namespace
        self._reasons: list[StepError] = []
        self._findings: list[Finding] = []

    def record(self, check: str, call: Callable[[], T]) -> T | None:
        """The result of `call`; None if the cluster refuses or cannot tell, which is recorded.

        Raises:
            StepError: a temporary error.
        """
        try:
            return call()
        except StepError as error:
            if is_retryable(error.code):
                raise
            if _NO_DRY_RUN in error.why:
                self.add(not_checked(check, error.why))
            else:
                self._reasons.append(error)
        return None

    def add(self, *findings: Finding) -> None:
        """Record findings that refuse nothing."""
        self._findings += findings

    def storages(self, disks: Iterable[Disk], storage_of: Callable[[Disk], T]) -> dict[DiskId, T]:
        """The storage of each disk by `storage_of`, if the cluster has its class."""
        found = {}
        for disk in disks:
            storage = self.record(f"storage of {disk.id}", partial(storage_of, disk))
            if storage is not None:
                found[disk.id] = storage
        return found

    def dry_run(self, check: str, manifest: Object) -> None:
        """Let the cluster check an object that does not exist yet."""

        def dry_run() -> None:
            try:
                self._cluster.create(manifest, dry_run=True)
            except ExistsError:
                return  # from an earlier attempt; the step that creates it checks the owner
            self.add(passed(check))

        self.record(check, dry_run)

    def check_name(self, shape: Shape) -> None:
        """Whether the VM's name is free, or that of this import's own VM."""
        self.record("name", lambda: self._check_name(shape))

    def _check_name(self, shape: Shape) -> None:
        existing = self._cluster.get(MACHINE, shape.name, self._namespace)
        if existing is not None:
            refuse_foreign(existing, self._plan)
            refuse_deleting(existing)
        self.add(passed("name"))

    def check_vm(self, shape: Shape, manifest: Object) -> Object | None:
        """The VM as the cluster would store it; None if it is refused, or already belongs to its owner."""
        return self.record("vm", lambda: self._stored_vm(shape, manifest))

    def _stored_vm(self, shape: Shape, manifest: Object) -> Object | None:
        existing = self._cluster.get(MACHINE, shape.name, self._namespace)
        if existing is not None and (not is_of_import(existing, self._plan) or is_handed_over(existing)):
            return None  # `check_name` refuses one of others
        with explain_mac_conflict(shape):
            dry_run = self._cluster.create if existing is None else self._cluster.apply
            stored = dry_run(manifest, dry_run=True)
        self.add(passed("vm"))
        return stored

    def check_facts(self, shape: Shape, claims: Sequence[ClaimNeed], vm: Object | None) -> None:
        """Judge what no dry run shows. `vm` is the VM as the cluster would store it, if that is known.

        Raises:
            StepError: the API server does not answer.
        """
        facts = read_facts(self._cluster, self._plan, shape, by_class(claims))
        results = list(judge(facts, Needs(self._plan, shape, claims, vm)))
        refused = [result for result in results if isinstance(result, StepError)]
        # The webhook has reported the same fault with fewer details.
        known = tuple({type(error) for error in refused} & {DuplicateMacError, MissingNetworkError})
        self._reasons = [*(one for one in self._reasons if not isinstance(one, known)), *refused]
        self.add(*(result for result in results if isinstance(result, Finding)))

    def check_quota(self, needs: Callable[[], quota.Needs]) -> None:
        """Sums over all objects of the import: a dry run shows the quota for each object alone."""
        self.record("quota", lambda: self._check_quota(needs))

    def _check_quota(self, needs: Callable[[], quota.Needs]) -> None:
        try:
            quotas = self._cluster.find(RESOURCE_QUOTA, self._namespace)
        except StepError as error:
            if error.code not in (Exit.DENIED, Exit.NOT_FOUND):
                raise
            self.add(not_checked("quota", str(error)))
            return
        needed = needs()
        shortages = list(quota.shortages(quotas, needed))
        if shortages and not any(reason.code is Exit.NO_SPACE for reason in self._reasons):
            what = f"the quota of namespace {self._namespace} is too small for the import"
            raise StepError(
                Exit.NO_SPACE, what, " | ".join(shortages), "raise it or free some of it, then retry"
            )
        self.add(*(not_checked("quota", text) for text in quota.unknown_limits(quotas, needed)))
        self.add(passed("quota"))

    def exists(self, kind: Kind, manifest: Object) -> bool:
        """Whether an object of that kind and name exists: it already counts as used."""
        return self._cluster.get(kind, manifest["metadata"]["name"], self._namespace) is not None

    def result(self) -> Admission:
        """What passed.

        Raises:
            StepError: all reasons why the cluster refuses, with the code of the first.
        """
        raise_all(f"the cluster refuses {self._vm}", self._reasons, self._findings)
        return Admission(findings=tuple(self._findings))


def vm_needs(vm: Object | None, resources: Any, *, exists: bool, start: bool) -> quota.Needs:
    """What the VM adds to a quota. `resources` are those of its pod."""
    if vm is None:
        return {}
    return quota.add_needs(
        quota.count_needs(MACHINE, int(not exists)), quota.pod_needs(resources) if start else {}
    )


def refuse_missing_apis(cluster: Cluster, target: str, groups: Sequence[tuple[str, str]]) -> None:
    """Raise StepError (NOT_FOUND) unless the cluster serves all `groups`: pairs of API group and program."""
    missing = [f"{program} ({group})" for group, program in groups if not cluster.serves(group)]
    if missing:
        raise StepError(
            Exit.NOT_FOUND,
            f"the cluster cannot be the target {target}",
            f"it does not serve the API of {' and '.join(missing)}",
            "install it, or choose another target in spec.target or in the setting target",
        )
