"""The import of one VM of a plan, and what its status means for the plan. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final, NamedTuple

from steps.model.kinds import API_VERSION, GROUP, IMPORT, MIGRATION_PLAN, Object
from steps.model.printable import printable
from workflows.api.annotations import RETRY
from workflows.api.conditions import find
from workflows.api.migration_plan import NO_ROW, MigrationPlan, PlannedVm, VmPhase
from workflows.api.status import ImportPhase, ImportStatus
from workflows.status.phase import CANCELLED, SUCCEEDED, has_succeeded

LABEL_PLAN: Final = f"{GROUP}/plan"
"""Label of an import: the name of its plan. The owner reference is what counts."""
SPEC_DIGEST: Final = f"{GROUP}/plan-spec"
"""Annotation of an import: a digest of the spec that its plan gave it."""
LONGEST_MESSAGE: Final = 200
"""Characters of the message of an import that its plan shows."""
_SELF_HEALING: Final = ("NameTaken",)
"""Reasons of a refusal that ends by itself."""


class Seen(NamedTuple):
    """An import of a plan, as far as the plan needs it."""

    name: str
    uid: str
    phase: VmPhase
    reason: str
    message: str


def spec_of(plan: MigrationPlan, vm: PlannedVm) -> dict[str, Any]:
    """The spec of the import of a VM: the template, the overrides of its row, the source and the VM."""
    rows, reference = plan.spec.vms, plan.spec.source_cluster
    overrides = rows[vm.row].overrides if 0 <= vm.row < len(rows) else {}
    return {
        **({"targetVirtualMachineName": vm.target} if vm.target else {}),
        **plan.spec.template,
        **overrides,
        "sourceCluster": {
            "apiVersion": API_VERSION,
            "kind": str(reference.kind or ""),
            "name": reference.name,
            "namespace": reference.namespace or plan.metadata.namespace,
        },
        "virtualMachineName": vm.vm,
    }


def manifest(plan: MigrationPlan, vm: PlannedVm) -> Object:
    """The import of a VM, owned by the plan."""
    metadata, spec = plan.metadata, spec_of(plan, vm)
    owner = MIGRATION_PLAN.owner_reference(metadata.name, metadata.uid)
    return {
        "apiVersion": IMPORT.api_version,
        "kind": IMPORT.kind,
        "metadata": {
            "name": vm.import_,
            "namespace": metadata.namespace,
            "labels": {LABEL_PLAN: metadata.name},
            "annotations": {SPEC_DIGEST: digest(spec)},
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": spec,
    }


def retry_patch(plan: MigrationPlan, vm: PlannedVm, raw: Object) -> Object:
    """The merge patch that retries an import, with the spec that the plan gives it now.

    A spec that somebody has edited stays as it is while the plan would give the same spec as before. So does
    the spec of a VM that no row selects any more: the plan does not know its overrides.
    """
    if vm.row == NO_ROW:
        return {"metadata": {"annotations": {RETRY: "true"}}}
    spec = spec_of(plan, vm)
    annotations = {RETRY: "true", SPEC_DIGEST: digest(spec)}
    before = (raw["metadata"].get("annotations") or {}).get(SPEC_DIGEST)
    if before == annotations[SPEC_DIGEST]:
        return {"metadata": {"annotations": annotations}}
    return {"metadata": {"annotations": annotations}, "spec": _replacing(raw.get("spec") or {}, spec)}


def _replacing(old: Object, new: Object) -> Object:
    """The merge patch that makes `old` equal to `new`."""
    gone: Object = dict.fromkeys(old.keys() - new.keys())
    for name, value in new.items():
        both = isinstance(value, dict) and isinstance(old.get(name), dict)
        gone[name] = _replacing(old[name], value) if both else value
    return gone


def digest(spec: Object) -> str:
    """A digest of a spec."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def is_owned(raw: Object, plan_uid: str) -> bool:
    """Whether an import belongs to the plan with that uid."""
    references = raw["metadata"].get("ownerReferences") or []
    return any(
        one.get("kind") == MIGRATION_PLAN.kind and one.get("uid") == plan_uid
        for one in references
        if isinstance(one, dict)
    )


def see(raw: Object) -> Seen:
    """An import of the API in the terms of its plan."""
    metadata = raw["metadata"]
    annotations = metadata.get("annotations") or {}
    status = ImportStatus.read(raw.get("status"))
    is_unseen = int(metadata.get("generation") or 0) > status.observed_generation
    is_retried = RETRY in annotations if status.import_status == ImportPhase.FAILED else is_unseen
    phase, reason, message = judge(status, is_retried=is_retried)
    return Seen(str(metadata["name"]), str(metadata["uid"]), phase, reason, message)


def judge(status: ImportStatus, *, is_retried: bool = False) -> tuple[VmPhase, str, str]:
    """The phase of an import for its plan, the reason, and a short message if it failed.

    `is_retried` is whether a failed import is about to start again. A refused import starts again by itself
    when it was corrected; until then it counts as failed, also with the annotation.
    """
    summary = find(status.import_conditions, SUCCEEDED)
    reason = summary.reason if summary else ""
    if has_succeeded(status):
        return VmPhase.SUCCEEDED, reason, ""
    if reason == CANCELLED:
        return VmPhase.CANCELLED, reason, ""
    has_failed = status.import_status in (ImportPhase.FAILED, ImportPhase.INVALID)
    if has_failed and is_retried:
        return VmPhase.WAITING, "RetryRequested", ""
    if has_failed and reason not in _SELF_HEALING:
        return VmPhase.FAILED, reason, _short(status.message or (summary.message if summary else ""))
    return (VmPhase.RUNNING if status.workflow and not has_failed else VmPhase.WAITING), reason, ""


def _short(message: str) -> str:
    line = printable(message)
    return line if len(line) <= LONGEST_MESSAGE else f"{line[: LONGEST_MESSAGE - 3]}..."
