"""The status of an import without a Workflow: it waits, or it is refused. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from controller.operator.decide.actions import UpdateStatus
from controller.operator.observe.facts import NAME_TAKEN, Facts, Rival
from controller.operator.observe.source import SOURCE_NOT_READY
from controller.operator.observe.waits import START
from controller.operator.options import Options
from steps.model.matching import resolutions
from workflows import texts
from workflows.api.conditions import find, put
from workflows.api.status import Condition, ConditionStatus, ImportPhase, ImportStatus
from workflows.stages import STAGES, Scope
from workflows.status.phase import SUCCEEDED

WITH_SOURCE: Final = {stage.name for stage in STAGES if stage.credentials and stage.scope is not Scope.EXIT}
"""Stages that use the source."""


def waiting_status(
    facts: Facts, status: ImportStatus, reason: str, message: str, now: datetime
) -> UpdateStatus:
    """An import that waits: its phase stays, or becomes empty if it was refused before."""
    message = texts.message((message,))
    phase = ImportPhase.NEW if status.import_status == ImportPhase.INVALID else status.import_status
    return _with_summary(facts, status, phase, ConditionStatus.UNKNOWN, reason, message, now)


def refusal_status(
    facts: Facts, reasons: tuple[str, ...], now: datetime, reason: str = "Invalid"
) -> UpdateStatus:
    """An import that cannot run as specified; it starts as soon as it can."""
    message = texts.message(reasons)
    return _with_summary(
        facts, facts.status, ImportPhase.INVALID, ConditionStatus.FALSE, reason, message, now
    )


def failed_at_first(facts: Facts, reason: str, message: str, now: datetime) -> UpdateStatus:
    """An import that has failed for good because its source cannot be reached at first."""
    phase, message = ImportPhase.FAILED, texts.message((message,))
    return _with_summary(facts, facts.status, phase, ConditionStatus.FALSE, reason, message, now)


def rival_status(facts: Facts, rival: Rival, now: datetime) -> UpdateStatus:
    """An import with a rival: it is refused if both need one name, and waits if both need one VM."""
    if rival.reason == NAME_TAKEN:
        return refusal_status(facts, (rival.message,), now, NAME_TAKEN)
    return waiting_status(facts, facts.status, rival.reason, rival.message, now)


def _with_summary(
    facts: Facts,
    status: ImportStatus,
    phase: str,
    succeeded: ConditionStatus,
    reason: str,
    message: str,
    now: datetime,
) -> UpdateStatus:
    summary = Condition(type=SUCCEEDED, status=succeeded, reason=reason, message=message)
    changes = {
        "import_status": str(phase),
        "step": "",
        "message": message,
        "import_conditions": put(status.import_conditions, summary, now),
        "observed_generation": facts.import_.metadata.generation,
    }
    return UpdateStatus(status.model_copy(update=changes))


def with_start_message(
    before: ImportStatus, status: ImportStatus, start_message: str, now: datetime
) -> ImportStatus:
    """The status of an import whose VM starts, with KubeVirt's message about that VM.

    The condition is based on the one in `before`: an equal message keeps its times.
    """
    summary = find(status.import_conditions, SUCCEEDED)
    if not start_message or summary is None or (status.step, summary.reason) != (START, "Running"):
        return status
    message = f"{status.message}: {start_message}"
    old = find(before.import_conditions, SUCCEEDED) or summary
    others = [old if condition is summary else condition for condition in status.import_conditions]
    conditions = put(others, summary.model_copy(update={"message": message}), now)
    return status.model_copy(update={"message": message, "import_conditions": conditions})


MAPPING_RESOLVED: Final = "MappingResolved"
"""Type of the condition with what the rows of an ImportMapping mean for the VM."""


def with_mapping(facts: Facts, status: ImportStatus, now: datetime) -> ImportStatus:
    """The status with the rows that count for the VM, and the mapping that they are from.

    For an import without a mapping it does not change: all rows are in its spec.
    """
    plan = facts.request.plan if facts.request is not None else None
    used = plan.target.mapping if plan is not None else None
    if plan is None or used is None or facts.machine is None:
        return status
    found = resolutions(facts.machine, plan.target)
    title = f"{used.title} (generation {used.generation})"
    rows = " | ".join(map(str, found)) or "no row is for a NIC or a disk of this VM"
    message = f"{title}: {rows}"
    if len(message) > texts.MOST_CHARACTERS:
        message = f"{message[: texts.MOST_CHARACTERS]}..."
    reason = "RowsFound" if any(one.document == used.title for one in found) else "NoRowFits"
    condition = Condition(type=MAPPING_RESOLVED, status=ConditionStatus.TRUE, reason=reason, message=message)
    return status.model_copy(update={"import_conditions": put(status.import_conditions, condition, now)})


def with_source_outage(facts: Facts, status: ImportStatus, now: datetime) -> ImportStatus:
    """The status of an import whose step waits for a source that does not answer.

    The step waits by itself; what it cannot tell Argo, the status of the source says. Not while bytes arrive.
    """
    since, summary = facts.resolved.unreachable_since, find(status.import_conditions, SUCCEEDED)
    if not since or summary is None or summary.reason != "Running" or status.step not in WITH_SOURCE:
        return status
    if any(row.step == status.step and row.progress_time > since for row in status.disk_import_status):
        return status
    message = f"{status.step} waits for the source since {since[11:16]} UTC. {facts.resolved.message}"
    condition = summary.model_copy(update={"reason": SOURCE_NOT_READY, "message": texts.message((message,))})
    conditions = put(status.import_conditions, condition, now)
    return status.model_copy(update={"message": condition.message, "import_conditions": conditions})


def deletion_status(facts: Facts, message: str, now: datetime) -> UpdateStatus:
    """An import that is being deleted and whose run has not ended; its phase stays."""
    phase = facts.status.import_status
    return _with_summary(facts, facts.status, phase, ConditionStatus.UNKNOWN, "Deleting", message, now)


def with_link(status: ImportStatus, options: Options) -> ImportStatus:
    run = status.workflow
    if run is None or run.link == options.link(run.name):
        return status
    return status.model_copy(update={"workflow": run.model_copy(update={"link": options.link(run.name)})})
