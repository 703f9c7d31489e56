"""The result document of `admit`: what a target answers when it is asked to accept a VM. Pure."""

from __future__ import annotations

import enum

from steps.model.document import Document


class Verdict(enum.StrEnum):
    """What came of one check at the target."""

    PASSED = "passed"
    WARNED = "warned"
    """The target accepts it, and changes something that a person should know."""
    NOT_CHECKED = "notChecked"
    """The check could not be made; the message says why."""


class Finding(Document):
    """One check at the target. A check that refuses the import is an error of the step instead."""

    check: str
    """What was looked at: `vm`, `claims`, `quota` and so on."""
    verdict: Verdict
    message: str = ""


class Admission(Document):
    """All that `admit` found, as it stands in `admission.json`."""

    findings: tuple[Finding, ...] = ()

    def those(self, verdict: Verdict) -> tuple[Finding, ...]:
        return tuple(one for one in self.findings if one.verdict is verdict)


def passed(check: str) -> Finding:
    return Finding(check=check, verdict=Verdict.PASSED)


def warned(check: str, message: str) -> Finding:
    return Finding(check=check, verdict=Verdict.WARNED, message=message)


def not_checked(check: str, why: str) -> Finding:
    return Finding(check=check, verdict=Verdict.NOT_CHECKED, message=why)
