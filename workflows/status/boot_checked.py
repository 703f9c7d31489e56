"""Whether the guest of the new VM has booted, as far as the import checks it. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pydantic import ValidationError

from steps.model.booting import BootResult, Verdict, concerns_of
from steps.model.printable import escaped
from workflows.api.conditions import put
from workflows.api.status import Condition, Conditions, ConditionStatus
from workflows.stages import CHECK
from workflows.status.nodes import Phase
from workflows.status.observed import Observed

BOOT_CHECKED: Final = "BootChecked"
"""Type of the condition: True once the guest has booted, False if it does not boot, else Unknown."""
CHECKING: Final = "Checking"
FELL_BACK: Final = "FellBack"
_REASONS: Final = {
    Verdict.BOOTED: (ConditionStatus.TRUE, "Booted"),
    Verdict.SILENT: (ConditionStatus.TRUE, "NetworkSilent"),
    Verdict.STUCK: (ConditionStatus.FALSE, "Stuck"),
    Verdict.UNKNOWN: (ConditionStatus.UNKNOWN, "NotKnown"),
    Verdict.NOT_STARTED: (ConditionStatus.UNKNOWN, "NotStarted"),
}
_LONGEST: Final = 2000
"""Characters of the message."""


def read_boot(seen: Observed) -> BootResult | None:
    """The result of the boot check; None before there is one, or without a valid document."""
    try:
        return BootResult.model_validate_json(seen.output(CHECK, None, "booted"))
    except ValidationError:
        return None


def with_boot_checked(conditions: Conditions, seen: Observed, now: datetime) -> Conditions:
    """The conditions with the result of the boot check; unchanged where the import has none."""
    leaf = seen.leaf(CHECK)
    if leaf is None or leaf.phase in (Phase.OMITTED, Phase.PENDING):
        return conditions
    if leaf.phase is Phase.RUNNING:
        message = "The guest is watched until it has booted: its agent, console, disks and network"
        checking = Condition(
            type=BOOT_CHECKED, status=ConditionStatus.UNKNOWN, reason=CHECKING, message=message
        )
        return put(conditions, checking, now)
    result = read_boot(seen)
    return conditions if result is None else put(conditions, _condition(result), now)


def _condition(result: BootResult) -> Condition:
    status, reason = _REASONS[result.verdict]
    if result.fell_back and result.verdict is Verdict.BOOTED:
        reason = FELL_BACK
    concerns = [concern for concern in concerns_of(result) if concern.message != result.message]
    parts = [result.message, *map(str, concerns)]
    if result.evidence.console and result.verdict in (Verdict.STUCK, Verdict.UNKNOWN):
        parts.append(f"console: {result.evidence.console}")
    if result.kept_in:
        parts.append(f"screenshot and console: {result.kept_in}")
    message = escaped("; ".join(parts))[:_LONGEST]
    return Condition(type=BOOT_CHECKED, status=status, reason=reason, message=message)
