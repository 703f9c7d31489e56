"""The status of an import in the words of `v2v.kubevirt.io`: conditions, progress, annotations, Events. Pure.

The engine has one status for both dialects; it says what happens. This module translates it. Types, reasons
and messages are those of kubevirt/vm-import-operator, because clients compare them. docs/reference/v2v.md
lists what differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from steps.model.contract import Exit
from steps.model.kinds import GROUP
from steps.model.machine import Concern, Machine, Power, Severity
from steps.model.networks import SEVERAL_PODS, UNMAPPED
from steps.model.sources import SourceKind
from workflows import texts
from workflows.api.conditions import find, stamp
from workflows.api.spec import VirtualMachineImportSpec
from workflows.api.status import Condition, ConditionStatus, DiskImportStatus, ImportPhase, ImportStatus
from workflows.api.v2v import DataVolumeItem, V2vCondition, V2vStatus
from workflows.argo_names import attempt_of
from workflows.stages import CHECKS
from workflows.status.phase import SUCCEEDED, has_succeeded
from workflows.status.reflect import PROGRESS
from workflows.v2v import FAILED, INCOMPLETE, INVALID_NAME, PREFIX

VALID: Final = "Valid"
RULES: Final = "MappingRulesVerified"
PROCESSING: Final = "Processing"
TYPES: Final = (VALID, RULES, PROCESSING, SUCCEEDED)
INITIAL_STATE: Final = f"{PREFIX}/source-vm-initial-state"
"""Annotation: whether the VM was on at its source before the import, `up` or `down`."""
WORKFLOW: Final = f"{GROUP}/workflow"
STEP: Final = f"{GROUP}/step"
MESSAGE: Final = f"{GROUP}/message"
"""Annotations for people: the schema has no field for them. The controller never reads them."""
COMPONENT: Final = "virtualmachineimport-controller"
"""The source of the Events."""

NO_SECRET: Final = "SecretNotFound"  # noqa: S105 - a reason
UNINITIALIZED: Final = "UninitializedProvider"
UNREACHABLE: Final = "UnreachableProvider"
VM_NOT_FOUND: Final = "SourceVMNotFound"
NO_MAPPING: Final = "ResourceMappingNotFound"
DUPLICATE: Final = "DuplicateTargetVMName"
NOT_CHECKED_YET: Final = "SourceNotChecked"
"""Reason of the engine's status: the first check of the source has not ended."""
VM_READY: Final = "VirtualMachineReady"
VM_RUNNING: Final = "VirtualMachineRunning"
VM_CREATION_FAILED: Final = "VMCreationFailed"
DISK_FAILED: Final = "DataVolumeCreationFailed"
START_FAILED: Final = "VMStartFailed"
COMPLETED: Final = "ProcessingCompleted"
PROCESSING_FAILED: Final = "ProcessingFailed"
PENDING: Final = "Pending"
COPYING: Final = "CopyingDisks"
CREATING: Final = "CreatingTargetVM"
TEXTS: Final[Mapping[str, str]] = {
    COPYING: "Copying virtual machine disks",
    CREATING: "Creating virtual machine",
    VM_READY: "Virtual machine disks import done",
    VM_RUNNING: "Virtual machine running",
}
_TOOLS: Final = (
    "VM must be powered off, or up to date VMWare Tools must be installed and running to allow the guest to "
    "be shutdown gracefully"
)
_MAPPING_CODES: Final = ("network", "disk-unknown")
"""Beginnings of the codes of concerns about the mapping."""
_DISK_STEPS: Final = ("export", "convert", "image", "serve", "hand-over")
DISKS_FROM: Final = 10
DISKS_SHARE: Final = 65
BUILDING: Final = 75
STARTING: Final = 90
DONE: Final = 100


class Verdict(NamedTuple):
    """A condition without its times; `status` None removes it, and an empty reason keeps what is there."""

    status: ConditionStatus
    reason: str
    message: str


@dataclass(frozen=True)
class Picture:
    """What is known of an import."""

    namespace: str
    kind: SourceKind | None
    status: ImportStatus
    """The engine's."""
    concerns: tuple[Concern, ...] | None = None
    """Those of the VM and its mapping; None if they are not known (any more)."""
    machine: Machine | None = None
    is_final: bool = False
    """Whether a failure of the first contact is the end (setting `v2v.initFailure`)."""

    @property
    def summary(self) -> Condition:
        return find(self.status.import_conditions, SUCCEEDED) or Condition()

    @property
    def stage(self) -> str:
        """The stage that runs or has failed; empty if none."""
        return self.status.step.partition(" ")[0]

    @property
    def failed(self) -> bool:
        return self.status.import_status == ImportPhase.FAILED

    @property
    def is_checked(self) -> bool:
        """Whether all checks have passed: now, or before a failure."""
        if self.status.import_status in (ImportPhase.NEW, ImportPhase.INVALID):
            return False
        return self.status.workflow is not None


# --- the status


def status_of(picture: Picture, before: V2vStatus, now: datetime) -> V2vStatus:
    """The status of this dialect. Conditions that do not change keep their times."""
    verdicts = {
        VALID: _valid(picture, before),
        RULES: _rules(picture, before),
        PROCESSING: _processing(picture, before),
        SUCCEEDED: _succeeded(picture),
    }
    conditions = (_condition(kind, verdicts[kind], before, now) for kind in TYPES)
    return V2vStatus(
        target_vm_name=picture.status.imported_virtual_machine_name or before.target_vm_name,
        conditions=tuple(one for one in conditions if one is not None),
        data_volumes=_data_volumes(picture.status.disk_import_status) or before.data_volumes,
    )


def _condition(kind: str, verdict: Verdict | None, before: V2vStatus, now: datetime) -> V2vCondition | None:
    if verdict is None:
        return None
    old = before.condition(kind)
    message = texts.message((verdict.message,))
    if old is not None and (old.status, old.reason, old.message) == (verdict.status, verdict.reason, message):
        return old
    kept = old is not None and old.status == verdict.status and old.last_transition_time
    return V2vCondition(
        type=kind,
        status=str(verdict.status),
        reason=verdict.reason,
        message=message,
        last_heartbeat_time=stamp(now),
        last_transition_time=old.last_transition_time if old is not None and kept else stamp(now),
    )


def _data_volumes(rows: Iterable[DiskImportStatus]) -> tuple[DataVolumeItem, ...]:
    """The names that `admit` has chosen."""
    names = (row.disk_name for row in rows)
    return tuple(DataVolumeItem(name=name.removesuffix(".img")) for name in names if name.endswith(".img"))


def _kept(before: V2vStatus, kind: str) -> Verdict | None:
    """The condition as it is, if it is True: what it is about may have been deleted since."""
    old = before.condition(kind)
    if old is None or old.status != ConditionStatus.TRUE:
        return None
    return Verdict(ConditionStatus.TRUE, old.reason, old.message)


def _valid(picture: Picture, before: V2vStatus) -> Verdict | None:
    obstacle = obstacle_of(picture)
    if obstacle is not None:
        return obstacle if obstacle.reason != RULES else None
    if not picture.is_checked:
        return None
    warnings = _warnings(picture, of_mapping=True)
    if warnings is None:
        return _kept(before, VALID) or _passed("Validation", "Validation completed successfully", "")
    return _passed("Validation", "Validation completed successfully", warnings)


_RULES_PASSED: Final = ("MappingRulesVerification", "All mapping rules checks passed")


def _rules(picture: Picture, before: V2vStatus) -> Verdict | None:
    obstacle = obstacle_of(picture)
    if obstacle is not None and obstacle.reason == RULES:
        return obstacle._replace(reason="MappingRulesVerificationFailed")
    if obstacle is not None or not picture.is_checked:
        return None
    warnings = _warnings(picture, of_mapping=False)
    if warnings is None:
        return _kept(before, RULES) or _passed(*_RULES_PASSED, "")
    return _passed(*_RULES_PASSED, warnings)


def _passed(prefix: str, passed: str, warnings: str) -> Verdict:
    reason = f"{prefix}ReportedWarnings" if warnings else f"{prefix}Completed"
    return Verdict(ConditionStatus.TRUE, reason, warnings or passed)


def _warnings(picture: Picture, *, of_mapping: bool) -> str | None:
    """The warnings about the mapping, or all others, in one line; None if they are not known."""
    if picture.concerns is None:
        return None
    separator = "; " if picture.kind is SourceKind.VMWARE else ", "
    return separator.join(
        str(concern)
        for concern in picture.concerns
        if concern.severity is Severity.WARN and concern.code.startswith(_MAPPING_CODES) == of_mapping
    )


# --- why an import does not start


_WAITING: Final[Mapping[str, tuple[str, str]]] = {
    "SecretNotFound": (NO_SECRET, "Secret not found: "),
    "SecretNotPermitted": (NO_SECRET, "Secret not found: "),
    "SecretDenied": (NO_SECRET, "Failed to read the secret: "),
    "SecretInvalid": (UNINITIALIZED, "Source provider initialization failed: "),
    "SourceNotReady": (UNREACHABLE, "Failed to connect to source provider: "),
    NO_MAPPING: (NO_MAPPING, ""),
    INVALID_NAME: (INVALID_NAME, ""),
    DUPLICATE: (DUPLICATE, ""),
    "NameTaken": (DUPLICATE, ""),
    INCOMPLETE: (INCOMPLETE, ""),
    VM_NOT_FOUND: (VM_NOT_FOUND, ""),
    FAILED: (FAILED, ""),
    "Invalid": (FAILED, ""),
    "OtherController": ("OtherController", ""),
}
"""Reason of the condition Valid, and the beginning of its message, by the reason of the engine."""


def obstacle_of(picture: Picture) -> Verdict | None:
    """Why an import that has not changed anything does not go on; with the reason `RULES` for those rules."""
    summary, status = picture.summary, picture.status
    if picture.failed and status.workflow is None and summary.reason in _WAITING:
        return _waiting(summary)  # the end by the setting `v2v.initFailure`
    if status.import_status not in (ImportPhase.NEW, ImportPhase.INVALID):
        return None
    if status.import_status == ImportPhase.INVALID and picture.stage in CHECKS:
        return _refused_by(picture.stage, summary, picture.kind)
    return _waiting(summary) if summary.reason in _WAITING else None


def _waiting(summary: Condition) -> Verdict:
    reason, prefix = _WAITING[summary.reason]
    return Verdict(ConditionStatus.FALSE, reason, f"{prefix}{summary.message}")


_LOADING: Final = (VM_NOT_FOUND, "Failed to load source VM: ")
_CONNECTING: Final = (UNREACHABLE, "Failed to connect to source provider: ")
_BY_EXIT_CODE: Final[Mapping[str, tuple[str, str]]] = {
    Exit.NOT_FOUND.word: _LOADING,
    Exit.AMBIGUOUS.word: _LOADING,
    Exit.DENIED.word: _CONNECTING,
    Exit.UNTRUSTED.word: _CONNECTING,
    Exit.UNREACHABLE.word: _CONNECTING,
    Exit.INVALID.word: (INVALID_NAME, "Source VM name is not a valid k8s name: "),
}
"""Reason of Valid, and the beginning of its message, by the exit code of preflight."""
_OF_MAPPING: Final = (UNMAPPED, SEVERAL_PODS)


def _refused_by(stage: str, summary: Condition, kind: SourceKind | None) -> Verdict:
    """The verdict after a check that has refused the import."""
    reason, message = summary.reason, summary.message
    if stage == "admit":
        by_reason = {Exit.NOT_FOUND.word: INCOMPLETE, Exit.CONFLICT.word: DUPLICATE}
        return Verdict(ConditionStatus.FALSE, by_reason.get(reason, FAILED), message)
    if reason in _BY_EXIT_CODE:
        valid, prefix = _BY_EXIT_CODE[reason]
        message = f"{prefix}{message}"
    elif reason == Exit.POWER.word and kind is SourceKind.VMWARE:
        valid, message = FAILED, _TOOLS if "VMware Tools" in message else message
    elif kind is SourceKind.OVIRT and any(words in message for words in _OF_MAPPING):
        valid = INCOMPLETE
    else:
        valid = RULES
    return Verdict(ConditionStatus.FALSE, valid, message)


# --- how far it is


def _processing(picture: Picture, before: V2vStatus) -> Verdict | None:
    status, summary = picture.status, picture.summary
    if obstacle_of(picture) is not None or summary.reason in ("", NOT_CHECKED_YET):
        return None
    if has_succeeded(status) or _is_built(picture):
        return Verdict(ConditionStatus.TRUE, COMPLETED, _message_before(before))
    if picture.failed:
        return Verdict(ConditionStatus.FALSE, PROCESSING_FAILED, _message_before(before))
    if status.workflow is not None and not picture.is_checked:
        return None
    reason = _work(picture)
    return Verdict(ConditionStatus.TRUE, reason, TEXTS.get(reason, summary.message))


def _work(picture: Picture) -> str:
    """What a running import does."""
    if _is_building(picture):
        return CREATING
    return COPYING if picture.stage in _DISK_STEPS and picture.summary.reason != "Waiting" else PENDING


def _is_building(picture: Picture) -> bool:
    """Whether only the VM is left to create; where disks land, `build` runs while they are copied."""
    return picture.stage == "build" and picture.status.import_status == ImportPhase.IMAGES_READY


def _is_built(picture: Picture) -> bool:
    """Whether the VM exists and only its start is left, or has failed."""
    if picture.failed:
        return picture.stage == "start"
    return picture.status.import_status in (ImportPhase.CREATED, ImportPhase.RUNNING)


def _message_before(before: V2vStatus) -> str:
    old = before.condition(PROCESSING)
    return old.message if old is not None else TEXTS[CREATING]


def _succeeded(picture: Picture) -> Verdict | None:
    status, true, false = picture.status, ConditionStatus.TRUE, ConditionStatus.FALSE
    if status.import_status == ImportPhase.RUNNING:
        return Verdict(true, VM_RUNNING, TEXTS[VM_RUNNING])
    if _is_built(picture) or has_succeeded(status):
        return Verdict(true, VM_READY, TEXTS[VM_READY])
    obstacle = obstacle_of(picture)
    if obstacle is not None:
        if not (picture.is_final and picture.failed):
            return None
        cause = obstacle.message
        return Verdict(false, FAILED, f"Failed to initialize the source provider ({cause})")
    if not picture.failed:
        return None
    return _failure(picture)


def _failure(picture: Picture) -> Verdict:
    status, summary, false = picture.status, picture.summary, ConditionStatus.FALSE
    if picture.stage in _DISK_STEPS:
        volume = _failed_volume(status)
        return Verdict(false, DISK_FAILED, f"Error while importing disk image: {volume}. {summary.message}")
    if picture.stage == "build":
        vm = f"{picture.namespace}/{status.imported_virtual_machine_name}"
        return Verdict(
            false, VM_CREATION_FAILED, f"Error while creating virtual machine {vm}: {summary.message}"
        )
    return Verdict(false, summary.reason, summary.message)


def _failed_volume(status: ImportStatus) -> str:
    """The DataVolume of the disk whose step has failed; `disk-0` while it has no name."""
    disk = status.step.partition(" ")[2]
    row = status.disk(disk)
    return row.disk_name.removesuffix(".img") if row is not None else disk


# --- progress and annotations


def progress_of(picture: Picture, before: str) -> str:
    """The value of the annotation; empty for none. It only rises."""
    value = max(_progress(picture), int(before) if before.isdecimal() and len(before) < 4 else 0)
    return str(min(DONE, value)) if value else ""


def _progress(picture: Picture) -> int:
    status = picture.status
    if has_succeeded(status) or (picture.failed and status.workflow is not None):
        return DONE
    if _is_built(picture):
        return STARTING
    if _is_building(picture):
        return BUILDING
    rows = status.disk_import_status
    if (
        not picture.is_checked
        or not rows
        or not (picture.stage in _DISK_STEPS or any(r.percent for r in rows))
    ):
        return 0
    mean = sum(row.percent for row in rows) / len(rows)
    return DISKS_FROM + int(mean * DISKS_SHARE / 100)


def annotations_of(picture: Picture, before: Mapping[str, str]) -> dict[str, str | None]:
    """The annotations to change: None removes one."""
    status, machine = picture.status, picture.machine
    wanted: dict[str, str | None] = {
        PROGRESS: progress_of(picture, before.get(PROGRESS, "")) or None,
        WORKFLOW: status.workflow.name if status.workflow is not None else None,
        STEP: status.step or None,
        MESSAGE: texts.message((status.message,)) if status.message else None,
    }
    if machine is not None and picture.is_checked and INITIAL_STATE not in before:
        wanted[INITIAL_STATE] = "down" if machine.power is Power.OFF else "up"
    return {name: value for name, value in wanted.items() if before.get(name) != value}


# --- Events


class V2vEvent(NamedTuple):
    """The content of an Event."""

    reason: str
    message: str
    warning: bool = False


def events_between(
    before: V2vStatus,
    after: V2vStatus,
    earlier: ImportStatus,
    picture: Picture,
    spec: VirtualMachineImportSpec,
) -> Iterator[V2vEvent]:
    """The Events for what has changed. `earlier` is the engine's status before; `spec` is translated."""
    status, name = picture.status, spec.virtual_machine_name
    wanted = spec.target_virtual_machine_name or name
    vm = f"{picture.namespace}/{status.imported_virtual_machine_name or wanted}"
    begun = status.workflow is not None and earlier.workflow is None
    if begun and status.workflow is not None and not attempt_of(status.workflow.name):
        yield V2vEvent("ImportScheduled", f"Import of Virtual Machine {vm} started")
    yield from _blocked_event(before, after, f"{picture.namespace}/{name}")
    for row in status.disk_import_status:
        old = earlier.disk(row.id)
        if row.step in _DISK_STEPS and (old is None or not old.step):
            disk = row.disk_name.removesuffix(".img")
            yield V2vEvent("ImportInProgress", f"Import of Virtual Machine {vm} disk {disk} in progress")
    yield from _end_event(before, after, earlier, picture, vm)


def _blocked_event(before: V2vStatus, after: V2vStatus, vm: str) -> Iterator[V2vEvent]:
    for kind in (VALID, RULES):
        old, new = before.condition(kind), after.condition(kind)
        if new is None or new.status != ConditionStatus.FALSE:
            continue
        if old is None or (old.status, old.message) != (new.status, new.message):
            yield V2vEvent("ImportBlocked", f"Virtual Machine {vm} import blocked: {new.message}")


def _end_event(
    before: V2vStatus, after: V2vStatus, earlier: ImportStatus, picture: Picture, vm: str
) -> Iterator[V2vEvent]:
    status = picture.status
    if has_succeeded(status) and not has_succeeded(earlier):
        runs = status.import_status == ImportPhase.RUNNING
        words = f"{vm} imported and started" if runs else f"{vm} import successful"
        yield V2vEvent("ImportSucceeded", f"Virtual Machine {words}")
        return
    if picture.failed and picture.stage == "start":
        if earlier.import_status != ImportPhase.FAILED:
            message = f"Virtual Machine {vm} could not be started: {picture.summary.message}"
            yield V2vEvent(START_FAILED, message, warning=True)
        return
    old, new = before.condition(SUCCEEDED), after.condition(SUCCEEDED)
    if new is None or new.status != ConditionStatus.FALSE:
        return
    if old is None or (old.status, old.reason) != (new.status, new.reason):
        yield V2vEvent(_failure_event(picture, new.reason), new.message, warning=True)


def _failure_event(picture: Picture, reason: str) -> str:
    if reason != DISK_FAILED:
        return reason
    return "EventPVCImportFailed" if picture.stage in ("image", "serve") else "DVCreationFailed"


# --- a status of the former operator


def foreign_status(found: V2vStatus) -> ImportStatus:
    """What the engine has to know of an import that vm-import-operator has begun: nothing of it is ours."""
    end = found.condition(SUCCEEDED)
    if end is not None:
        done = end.status == ConditionStatus.TRUE
        return ImportStatus(import_status=ImportPhase.RUNNING if done else ImportPhase.FAILED)
    begun = found.condition(PROCESSING) is not None
    return ImportStatus(import_status=ImportPhase.SOURCE_READY if begun else ImportPhase.NEW)
