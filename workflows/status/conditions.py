"""The conditions of an import and of its disks. Pure.

The conditions of an import and of a disk are those of vm-import-controller. What `preflight` finds about a
VM, and `admit` about its target, has the type and the reasons of kubevirt/vm-import-operator. Concerns that
refuse an import end preflight, and are in its error message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from pydantic import ValidationError

from steps.model.admission import Admission, Verdict
from steps.model.machine import Concern, Severity
from steps.model.sources import SourceKind
from workflows.api.conditions import holds, put
from workflows.api.resources import VirtualMachineImport
from workflows.api.status import Condition, Conditions, ConditionStatus
from workflows.status.messages import failure_message
from workflows.status.nodes import Leaf
from workflows.status.observed import Observed
from workflows.status.phase import has_begun

VERIFIED: Final = "MappingRulesVerified"
PASSED: Final = "MappingRulesVerificationCompleted"
WARNED: Final = "MappingRulesVerificationReportedWarnings"
ADMITTED: Final = "TargetAdmitted"
"""Type of the condition with the answer of the target."""
_LONGEST: Final = 8192
"""Characters of the message, of the 32768 that the API allows (metav1.Condition)."""


class Evidence(NamedTuple):
    """Why a condition is True: its reason and its message."""

    reason: str
    message: str


# --- vm-import-controller's


def import_conditions(
    conditions: Iterable[Condition],
    seen: Observed,
    spec: VirtualMachineImport,
    disks: Sequence[str],
    now: datetime,
) -> Conditions:
    """vm-import-controller's conditions of an import, each with its reason."""
    evidence: dict[str, Evidence | None] = {
        **_power(seen, spec),
        "VMExported": _exported(seen, disks),
        "VMExportFailed": _export_failed(seen),
    }
    return _with_evidence(conditions, evidence, now)


_FORCED: Final = tuple(kind.lower() for kind in SourceKind if kind.can_force_off)
"""Kinds of source at which a VM can be powered off without asking its guest."""


def _power(seen: Observed, import_: VirtualMachineImport) -> dict[str, Evidence | None]:
    """As in vm-import-controller: by what the spec asks for, also for a VM that was already off."""
    spec, vm = import_.spec, import_.spec.virtual_machine_name
    hard = bool(spec.force_power_off) and spec.source_cluster.kind.lower() in _FORCED
    was_asked = has_begun(seen.leaf("poweroff"))
    shutdown = Evidence("ShutdownAsked", f"The guest of {vm} was asked to shut down")
    power_off = Evidence("PowerOffAsked", f"{vm} is powered off at its source")
    off = Evidence("PoweredOff", f"{vm} is off at its source")
    return {
        "VMShutdownGuest": shutdown if was_asked and not hard else None,
        "VMPoweringOff": power_off if was_asked and hard else None,
        "VMPoweredOff": off if seen.succeeded("poweroff") else None,
    }


def _exported(seen: Observed, disks: Sequence[str]) -> Evidence | None:
    if not disks or not seen.landed.issuperset(disks):
        return None
    return Evidence("Exported", f"Every disk was exported: {', '.join(disks)}")


def _export_failed(seen: Observed) -> Evidence | None:
    cause = seen.blamed if seen.phase.failed and not seen.stopped else None
    if cause is None or cause.stage not in ("export", "convert"):
        return None
    return Evidence("ExportFailed", f"error exporting VM: {failure_message(cause)}")


def disk_conditions(
    conditions: Iterable[Condition], image: Leaf | None, now: datetime, *, lands: bool = False
) -> Conditions:
    """vm-import-controller's conditions of a disk. `image` is the stage that gives the disk to the target.

    With `lands` that is `hand-over`: the same conditions, about a volume.
    """
    ready = "The volume is handed over" if lands else "The image is ready"
    evidence: dict[str, Evidence | None] = {
        "VirtualMachineImageSubmitted": _submitted(image, lands=lands),
        "VirtualMachineImageReady": None,
        "VirtualMachineImageFailed": None,
    }
    if image is not None and image.phase.succeeded:
        evidence["VirtualMachineImageReady"] = Evidence("Imported", ready)
    if image is not None and image.phase.failed:
        evidence["VirtualMachineImageFailed"] = Evidence("ImageFailed", failure_message(image))
    return _with_evidence(conditions, evidence, now)


def _submitted(image: Leaf | None, *, lands: bool) -> Evidence | None:
    """Not for an image that failed before its first byte was counted: the target has refused to create it."""
    if image is None or not has_begun(image) or (image.phase.failed and image.total <= 1):
        return None
    asked = "The hand-over of the volume has begun" if lands else "The target was asked to create the image"
    return Evidence("Submitted", asked)


def _with_evidence(
    conditions: Iterable[Condition], evidence: dict[str, Evidence | None], now: datetime
) -> Conditions:
    """A condition that holds is True; one that no longer holds is False; one that never held is not set."""
    updated = tuple(conditions)
    for kind, known in evidence.items():
        if known is not None:
            status, reason, message = ConditionStatus.TRUE, known.reason, known.message
        elif holds(updated, kind):
            status, reason = ConditionStatus.FALSE, "TriedAgain"
            message = "No longer true: the step failed or is being retried"
        else:
            continue
        updated = put(updated, Condition(type=kind, status=status, reason=reason, message=message), now)
    return updated


# --- what the checks found


def mapping_verified(concerns: Iterable[Concern]) -> Condition:
    """The condition about the concerns of a VM; warnings first."""
    ordered = sorted(concerns, key=lambda concern: concern.severity is not Severity.WARN)
    warned = any(concern.severity is Severity.WARN for concern in ordered)
    text = " | ".join(f"{concern.severity}: {concern}" for concern in ordered)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} … (preflight's log has all of them)"
    return Condition(
        type=VERIFIED,
        status=ConditionStatus.TRUE,
        reason=WARNED if warned else PASSED,
        message=text or "All mapping rules checks passed",
    )


def target_admitted(text: str) -> Condition | None:
    """The condition of a target that accepts the VM, from `admission.json`; None without a valid document."""
    admission = read_admission(text)
    if admission is None:
        return None
    return Condition(
        type=ADMITTED,
        status=ConditionStatus.TRUE,
        reason="AcceptedWithWarnings" if admission.those(Verdict.WARNED) else "Accepted",
        message=" | ".join(admission_warnings(admission))[:_LONGEST]
        or "The target accepts the VM and its disks",
    )


def admission_warnings(admission: Admission) -> tuple[str, ...]:
    """Warnings about a target that accepts the VM: one sentence each."""
    warned = [f"warn: {finding.message}" for finding in admission.those(Verdict.WARNED)]
    unknown = [
        f"not checked: {finding.check}: {finding.message}" for finding in admission.those(Verdict.NOT_CHECKED)
    ]
    return (*warned, *unknown)


def read_admission(text: str) -> Admission | None:
    """The document `admission.json`; None if it is missing or of another version."""
    try:
        return Admission.model_validate_json(text)
    except ValidationError:
        return None
