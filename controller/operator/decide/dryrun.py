"""The dry run: the VM that would be created, as text with a hash, and whether it is still valid. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from controller.operator.observe.facts import Facts
from steps.model.admission import Finding, Verdict
from steps.model.machine import Machine, Severity
from steps.model.manifest import MANIFEST_FILE
from steps.model.mapping import Shape, shape
from steps.model.matching import resolutions
from steps.model.plan import DiskWay, Plan
from steps.model.target_answer import TargetAnswer
from steps.model.vm_fields import words
from workflows import hooks
from workflows.api.conditions import find, put
from workflows.api.status import Condition, ConditionStatus, ImportStatus, PlannedReference
from workflows.dryrun import disk_address, form_of, planned_manifest
from workflows.stages import planned_names
from workflows.status.phase import SUCCEEDED

PLANNED: Final = "Planned"
"""Type of the condition about the last dry run: False when the import cannot run, or when the plan has
changed."""
PLANNING: Final = "Planning"
"""Reason of the condition Succeeded during a dry run."""
REPEATED: Final = "PlanningAgain"
"""The same after a dry run that is repeated."""
TABLE: Final = "plan.txt"
HASH: Final = "hash"
ANSWER: Final = "target.json"
"""What the target says: each finding, and each reason against the import."""
CHANGED: Final = "PlanChanged"


def config_map_data(plan: Plan, machine: Machine, answer: TargetAnswer) -> dict[str, str]:
    """The ConfigMap's data: the plan as text, the VM's manifest, the hash of both, the target's answer.

    Raises:
        StepError: INVALID, if the name is refused.
    """
    from steps.model.yaml import to_yaml  # noqa: PLC0415 - only a dry run needs a YAML writer

    target = shape(plan, machine)
    table, manifest = (
        "\n".join(_lines(plan, machine, target, answer)) + "\n",
        to_yaml(planned_manifest(plan.target.kind, target, answer.volumes)),
    )
    return {TABLE: table, MANIFEST_FILE: manifest, HASH: digest(target), ANSWER: answer.to_json()}


def digest(target: Shape) -> str:
    """Digest of the VM to be created, independent of concerns about its source."""
    return hashlib.sha256(target.model_copy(update={"concerns": ()}).to_json().encode()).hexdigest()[:16]


def is_repeated(status: ImportStatus) -> bool:
    """Whether the last dry run failed for a reason that may pass."""
    summary = find(status.import_conditions, SUCCEEDED)
    return summary is not None and summary.reason == REPEATED


def with_progress(status: ImportStatus, now: datetime, failure: str = "") -> ImportStatus:
    """The status while a dry run waits for its turn or runs; with the last failure while it is repeated."""
    if is_repeated(status) and not failure:
        return status
    message = f"The dry run is repeated: {failure}" if failure else "The dry run is running"
    reason = REPEATED if failure else PLANNING
    summary = Condition(type=SUCCEEDED, status=ConditionStatus.UNKNOWN, reason=reason, message=message)
    changes = {"message": message, "import_conditions": put(status.import_conditions, summary, now)}
    return status.model_copy(update=changes)


def with_plan(
    status: ImportStatus, reference: PlannedReference, generation: int, now: datetime
) -> ImportStatus:
    """The status after a successful dry run."""
    message = f"ConfigMap {reference.config_map} has the plan; set spec.dryRun to false to start the import"
    condition = Condition(type=PLANNED, status=ConditionStatus.TRUE, reason="Planned", message=message)
    return _with_result(status, condition, reference, generation, now)


def with_refusal(
    status: ImportStatus,
    reason: str,
    generation: int,
    now: datetime,
    reference: PlannedReference | None = None,
) -> ImportStatus:
    """The status after a dry run that found reasons against the import; with its plan, if it has one."""
    condition = Condition(type=PLANNED, status=ConditionStatus.FALSE, reason="NotPossible", message=reason)
    return _with_result(status, condition, reference, generation, now)


def _with_result(
    status: ImportStatus,
    condition: Condition,
    reference: PlannedReference | None,
    generation: int,
    now: datetime,
) -> ImportStatus:
    """Nothing runs, and the earlier phase and message no longer apply."""
    summary = Condition(
        type=SUCCEEDED, status=ConditionStatus.UNKNOWN, reason=condition.reason, message=condition.message
    )
    changes = {
        "import_status": "",
        "step": "",
        "message": condition.message,
        "planned": reference,
        "observed_generation": generation,
        "import_conditions": put(put(status.import_conditions, condition, now), summary, now),
    }
    return status.model_copy(update=changes)


def with_drift(facts: Facts, status: ImportStatus, now: datetime) -> ImportStatus:
    """The status with a condition if the import differs from the dry run."""
    current, planned = facts.shape, status.planned
    if current is None or planned is None or planned.hash == digest(current):
        return status
    before = find(status.import_conditions, PLANNED)
    if before is not None and before.reason == CHANGED:
        return status
    message = (
        f"The import differs from the dry run in ConfigMap {planned.config_map}: the VM at its source or "
        "the spec has changed since"
    )
    condition = Condition(type=PLANNED, status=ConditionStatus.FALSE, reason=CHANGED, message=message)
    return status.model_copy(update={"import_conditions": put(status.import_conditions, condition, now)})


# --- the plan as text


def _lines(plan: Plan, machine: Machine, vm: Shape, answer: TargetAnswer) -> Iterator[str]:
    source = plan.source
    yield f"{machine.path or machine.name} of {source.kind} {source.namespace}/{source.name}"
    yield f"becomes VirtualMachine {vm.namespace}/{vm.name}, {'started' if vm.start else 'not started'}"
    asked = plan.asked_stages
    yield f"steps: {', '.join(planned_names(plan.target.kind, plan.target.way, asked=asked))}"
    yield from (f"hook: {line}" for line in hooks.lines(plan.hooks))
    if plan.target.way_reason:
        yield f"disks: {plan.target.way}, because {plan.target.way_reason}"
    if plan.guest.why:
        yield f"guest: {'inspected' if plan.guest.inspect else 'not inspected'}, because {plan.guest.why}"
    yield from (f"refused: {one.message}" for one in answer.refused)
    yield from map(_finding, answer.admission.findings)
    yield ""
    instancetype = vm.settings.instancetype
    yield f"CPU     {machine.vcpus} vCPUs -> {instancetype or vm.topology}"
    yield f"memory  {machine.memory_mib} MiB -> {instancetype or f'{vm.memory_mib}Mi'}"
    yield f"boot    {vm.firmware.kind}{', secure boot' if vm.firmware.secure_boot else ''}"
    yield from (f"VM      {text}" for text in words(vm))
    for disk, target in zip(machine.disks, vm.disks, strict=True):
        form = f", {form_of(target)}" if plan.target.way is DiskWay.MIXED else ""
        yield f"{disk.id:<7} {disk.label} ({disk_address(disk)}), {disk.capacity} bytes -> {target.bus}{form}"
    for interface in vm.interfaces:
        network = interface.network or "pod network"
        text = f"{network}, {interface.model}, {interface.mac or 'new MAC'}"
        yield f"{interface.nic or '-':<7} {interface.source or '-'} -> {text}"
    if (used := plan.target.mapping) is not None:
        yield f"rows of {used.title} (generation {used.generation}) and of the import:"
        yield from (f"  {found}" for found in resolutions(machine, plan.target))
    for concern in vm.concerns:
        if concern.severity is not Severity.LOG:
            yield f"{concern.severity}: {concern}"


_WORDS: Final = {Verdict.PASSED: "passed", Verdict.WARNED: "warning", Verdict.NOT_CHECKED: "not checked"}


def _finding(one: Finding) -> str:
    """A check of the target, as a line."""
    return f"{_WORDS[one.verdict]}: {one.check}{f': {one.message}' if one.message else ''}"
