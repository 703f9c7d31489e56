"""What preflight has to say about a machine, as a condition. Pure.

Type and reasons are those of kubevirt/vm-import-operator, which has three weights of concerns as well. Those
that refuse an import end preflight, and stand in its last words.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from steps.machine import Concern, Severity
from workflows.reported import Condition

VERIFIED: Final = "MappingRulesVerified"
PASSED: Final = "MappingRulesVerificationCompleted"
WARNED: Final = "MappingRulesVerificationReportedWarnings"
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
