"""What `preflight` says about a VM, and `admit` about its target, as conditions. Pure.

Type and reasons are those of kubevirt/vm-import-operator, which has three weights of concerns as well. Those
that refuse an import end preflight, and stand in its last words.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pydantic import ValidationError

from steps.model.admission import Admission, Verdict
from steps.model.machine import Concern, Severity
from workflows.api.status import Condition

VERIFIED: Final = "MappingRulesVerified"
PASSED: Final = "MappingRulesVerificationCompleted"
WARNED: Final = "MappingRulesVerificationReportedWarnings"
ADMITTED: Final = "TargetAdmitted"
"""Type of the condition that says what the target answered."""
_LONGEST: Final = 8192
"""Characters of the message, of the 32768 that the API allows (metav1.Condition)."""


def condition(concerns: Iterable[Concern]) -> Condition:
    """The condition of a machine about which this is to be said; warnings first."""
    told = sorted(concerns, key=lambda concern: concern.severity is not Severity.WARN)
    warned = any(concern.severity is Severity.WARN for concern in told)
    words = " | ".join(f"{concern.severity}: {concern}" for concern in told)
    if len(words) > _LONGEST:
        words = f"{words[:_LONGEST]} … (all of them are in preflight's log)"
    return Condition(
        type=VERIFIED,
        status="True",
        reason=WARNED if warned else PASSED,
        message=words or "All mapping rules checks passed",
    )


def admitted(text: str) -> Condition | None:
    """The condition of a target that accepts the VM, from `admission.json`; None where that says nothing."""
    admission = read_admission(text)
    if admission is None:
        return None
    return Condition(
        type=ADMITTED,
        status="True",
        reason="AcceptedWithWarnings" if admission.those(Verdict.WARNED) else "Accepted",
        message=" | ".join(doubts(admission))[:_LONGEST] or "The target accepts the VM and its disks",
    )


def doubts(admission: Admission) -> tuple[str, ...]:
    """What a person should know of a target that accepts the VM: a sentence each."""
    warned = [f"warn: {one.message}" for one in admission.those(Verdict.WARNED)]
    unknown = [f"not checked: {one.check}: {one.message}" for one in admission.those(Verdict.NOT_CHECKED)]
    return (*warned, *unknown)


def read_admission(text: str) -> Admission | None:
    """The document `admission.json`; None while there is none, and for that of another version."""
    try:
        return Admission.model_validate_json(text)
    except ValidationError:
        return None
