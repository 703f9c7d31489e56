"""The result document of `admit`: the target's answer to whether it accepts a VM. Pure."""

from __future__ import annotations

import enum

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
