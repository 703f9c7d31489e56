"""The concerns of preflight as a condition."""

from __future__ import annotations

from steps.model.machine import Concern, Severity
from workflows.status import conditions


def a_concern(severity: Severity, number: int = 0, **more: str) -> Concern:
    return Concern(severity=severity, code=f"c-{number}", message=f"thing {number}", **more)


def test_without_concerns_all_rules_passed() -> None:
    made = conditions.mapping_verified(())
    assert (made.type, made.status, made.reason) == (
        "MappingRulesVerified",
        "True",
        "MappingRulesVerificationCompleted",
    )
    assert made.message == "All mapping rules checks passed"


def test_warnings_come_first() -> None:
    made = conditions.mapping_verified(
        [a_concern(Severity.LOG, 1), a_concern(Severity.WARN, 2, remedy="do this")]
    )
    assert made.reason == "MappingRulesVerificationReportedWarnings"
    assert made.message == "warn: thing 2; do this | log: thing 1"


def test_a_logged_concern_is_not_a_warning() -> None:
    assert (
        conditions.mapping_verified([a_concern(Severity.LOG)]).reason == "MappingRulesVerificationCompleted"
    )


def test_a_thousand_concerns_still_fit_into_a_condition() -> None:
    made = conditions.mapping_verified([a_concern(Severity.WARN, number) for number in range(2000)])
    assert len(made.message) < 32768
    assert made.message.endswith("(preflight's log has all of them)")
