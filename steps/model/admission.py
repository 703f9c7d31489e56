"""The result document of `admit`: the target's answer to whether it accepts a VM. Pure."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from steps.model.contract import StepError
from steps.model.document import Document


class Verdict(enum.StrEnum):
    """The result of one check at the target."""

    PASSED = "passed"
    WARNED = "warned"
    """The target accepts it, but changes something that a person should know."""
    NOT_CHECKED = "notChecked"
    """The check could not be made; the message says why."""


class Finding(Document):
    """One check at the target. If a check refuses the import, the step fails instead."""

    check: str
    """The subject of the check: `vm`, `claims`, `quota` and so on."""
    verdict: Verdict
    message: str = ""


class Admission(Document):
    """All findings of `admit`: the content of `admission.json`."""

    findings: tuple[Finding, ...] = ()

    def those(self, verdict: Verdict) -> tuple[Finding, ...]:
        return tuple(one for one in self.findings if one.verdict is verdict)


def passed(check: str) -> Finding:
    return Finding(check=check, verdict=Verdict.PASSED)


def warned(check: str, message: str) -> Finding:
    return Finding(check=check, verdict=Verdict.WARNED, message=message)


def not_checked(check: str, why: str) -> Finding:
    return Finding(check=check, verdict=Verdict.NOT_CHECKED, message=why)


class RefusedError(StepError):
    """All reasons against an import, and what else was found. Its code is that of the first reason."""

    def __init__(self, what: str, reasons: Sequence[StepError], findings: Sequence[Finding] = ()) -> None:
        """`what` is used only for several reasons."""
        self.reasons = tuple(reasons)
        self.findings = tuple(findings)
        first = self.reasons[0]
        if len(self.reasons) == 1:
            super().__init__(first.code, first.what, first.why, first.remedy)
        else:
            texts = dict.fromkeys(str(reason) for reason in self.reasons)
            super().__init__(first.code, what, " | ".join(texts))


def reasons_of(error: StepError) -> tuple[StepError, ...]:
    """The single reasons of an error."""
    return error.reasons if isinstance(error, RefusedError) else (error,)


def findings_of(error: StepError) -> tuple[Finding, ...]:
    """What else was found in addition to the reasons of an error."""
    return error.findings if isinstance(error, RefusedError) else ()


def raise_all(what: str, reasons: Sequence[StepError], findings: Sequence[Finding] = ()) -> None:
    """Raise all reasons as one error; nothing without any.

    Raises:
        RefusedError: there is at least one reason.
    """
    if reasons:
        raise RefusedError(what, reasons, findings)
