"""What an inspection of the disks has found, as a condition of the import. Pure.

Its words are a guest's: they are bounded, and control characters are escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from steps.model.contract import StepError
from steps.model.guest import Answer, BusEvidence, Guest
from steps.model.guest_output import GUEST_OUTPUT, NOT_INSPECTED, from_output
from steps.model.machine import Severity
from steps.model.printable import escaped
from workflows.api.status import Condition, ConditionStatus
from workflows.stages import INSPECT
from workflows.status.observed import Observed

INSPECTED: Final = "GuestInspected"
"""Type of the condition: True with what was found, False if the disks could not be looked into."""
_REASONS: Final = {Answer.FITS: "Fits", Answer.CONVERT: "NeedsConversion", Answer.LEAVE: "LeftAlone"}
_LONGEST_PART: Final = 300
_LONGEST: Final = 8192
"""Characters of the message, of the 32768 that the API allows (metav1.Condition)."""


def guest_of(seen: Observed | None) -> Guest | None:
    """The result of `inspect` in a Workflow; None without one, or if it cannot be read."""
    text = seen.output(INSPECT, None, GUEST_OUTPUT) if seen is not None else ""
    if not text:
        return None
    try:
        return from_output(text)
    except StepError:
        return None


def guest_inspected(guest: Guest) -> Condition:
    """The condition about a guest: its system, the verdict, the evidence, and the warnings."""
    is_known = guest.verdict.reason != NOT_INSPECTED
    return Condition(
        type=INSPECTED,
        status=ConditionStatus.TRUE if is_known else ConditionStatus.FALSE,
        reason=_REASONS[guest.verdict.answer] if is_known else "NotInspected",
        message=" | ".join(map(_bounded, _parts(guest)))[:_LONGEST],
    )


def _parts(guest: Guest) -> Iterator[str]:
    system = guest.system
    if system is not None:
        yield f"{system.product or system.os or 'a system'} on {system.root}"
    yield guest.verdict.text
    yield from _evidence("disks", guest.disk_buses)
    yield from _evidence("NICs", guest.nic_models)
    for concern in guest.concerns:
        if concern.severity is Severity.WARN:
            yield f"warn: {concern}"


def _evidence(what: str, found: Iterable[BusEvidence]) -> Iterator[str]:
    listed = [one.name for one in found]
    if listed:
        yield f"{what}: {', '.join(listed)}"


def _bounded(text: str) -> str:
    plain = escaped(text)
    return plain if len(plain) <= _LONGEST_PART else f"{plain[:_LONGEST_PART]} …"
