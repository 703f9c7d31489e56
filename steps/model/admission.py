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
    """Several reasons against an import. Its code is that of the first one."""

    def __init__(self, what: str, reasons: Sequence[StepError]) -> None:
        self.reasons = tuple(reasons)
        texts = dict.fromkeys(str(reason) for reason in reasons)
        super().__init__(reasons[0].code, what, " | ".join(texts))


def reasons_of(error: StepError) -> tuple[StepError, ...]:
    """The single reasons of an error."""
    return error.reasons if isinstance(error, RefusedError) else (error,)


def raise_all(what: str, reasons: Sequence[StepError]) -> None:
    """Raise all reasons as one error; nothing without any.

    Raises:
        StepError: the only reason, or a RefusedError with `what`.
    """
    if len(reasons) == 1:
        raise reasons[0]
    if reasons:
        raise RefusedError(what, reasons)
