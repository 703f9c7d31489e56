"""The engine's status in the words of `v2v.kubevirt.io`: what tests with a whole controller do not show."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest

from steps.model.machine import Concern, Severity
from steps.model.sources import SourceKind
from tests.unit.builders import a_machine
from tests.unit.workflows.status.situations import NOW, later
from workflows.api.status import (
    Condition,
    DiskImportStatus,
    ImportPhase,
    ImportStatus,
    WorkflowReference,
)
from workflows.api.v2v import V2vStatus
from workflows.status.v2v import (
    DONE,
    Picture,
    annotations_of,
    progress_of,
    status_of,
)

RUN: Final = WorkflowReference(name="vmi-web-0a1b2c3d-g1", namespace="vmferry")
WARNED: Final = (
    Concern(severity=Severity.WARN, code="network-unknown", message="source network 'x' not found"),
    Concern(
        severity=Severity.WARN, code="nic-unplugged", message="nic-1 is unplugged", remedy="it is left out"
    ),
    Concern(severity=Severity.WARN, code="snapshots", message="it has snapshots"),
    Concern(severity=Severity.LOG, code="vtpm", message="only in the log"),
)


def a_picture(
    phase: ImportPhase = ImportPhase.SOURCE_READY,
    reason: str = "Running",
    *,
    step: str = "export",
    kind: SourceKind = SourceKind.VMWARE,
    concerns: tuple[Concern, ...] | None = (),
    rows: tuple[DiskImportStatus, ...] = (),
    **more: Any,
) -> Picture:
    summary = Condition(type="Succeeded", status="Unknown", reason=reason, message="our words")
    given = {"workflow": RUN, **more}
    status = ImportStatus(
        import_status=str(phase),
        step=step,
        import_conditions=(summary,),
        disk_import_status=rows,
        imported_virtual_machine_name="web01",
        **given,
    )
    return Picture("default", kind, status, concerns)


def messages(picture: Picture, before: V2vStatus | None = None) -> dict[str, str]:
    found = status_of(picture, before or V2vStatus(), NOW)
    return {one.type: f"{one.status} {one.reason}: {one.message}" for one in found.conditions}


@pytest.mark.parametrize(
    ("kind", "separator"), [(SourceKind.VMWARE, "; "), (SourceKind.OVIRT, ", ")], ids=["vmware", "ovirt"]
)
def test_warnings_about_the_mapping_are_in_valid_and_others_in_the_rules(
    kind: SourceKind, separator: str
) -> None:
    found = messages(a_picture(kind=kind, concerns=WARNED))
    assert found["Valid"] == "True ValidationReportedWarnings: source network 'x' not found"
    rules = separator.join(("nic-1 is unplugged; it is left out", "it has snapshots"))
    assert found["MappingRulesVerified"] == f"True MappingRulesVerificationReportedWarnings: {rules}"


def test_rules_of_weight_log_are_not_in_the_condition() -> None:
    found = messages(a_picture(concerns=WARNED[3:]))
    assert found["MappingRulesVerified"] == (
        "True MappingRulesVerificationCompleted: All mapping rules checks passed"
    )


def test_warnings_stay_when_nobody_knows_them_any_more() -> None:
    before = status_of(a_picture(concerns=WARNED), V2vStatus(), NOW)
    after = status_of(a_picture(ImportPhase.RUNNING, step="", concerns=None), before, later(60))
    assert after.condition("Valid") == before.condition("Valid")
    assert after.condition("MappingRulesVerified") == before.condition("MappingRulesVerified")


def test_an_equal_condition_keeps_its_times() -> None:
    before = status_of(a_picture(), V2vStatus(), NOW)
    assert status_of(a_picture(), before, later(60)) == before


def test_the_transition_time_changes_only_with_the_status() -> None:
    before = status_of(a_picture(step="export"), V2vStatus(), NOW)
    after = status_of(a_picture(ImportPhase.IMAGES_READY, step="build"), before, NOW + timedelta(minutes=1))
    old, new = before.condition("Processing"), after.condition("Processing")
    assert old is not None
    assert new is not None
    assert new.reason == "CreatingTargetVM"
    assert new.last_transition_time == old.last_transition_time
    assert new.last_heartbeat_time > old.last_heartbeat_time


def test_a_disk_that_waits_is_pending_with_our_words() -> None:
    assert messages(a_picture(reason="Waiting"))["Processing"] == "True Pending: our words"


@pytest.mark.parametrize("reason", ["Paused", "VirtualMachineTaken", "ScratchLimitReached"])
def test_an_import_that_waits_for_others_is_pending(reason: str) -> None:
    found = messages(a_picture(ImportPhase.NEW, reason, step="", workflow=None))
    assert found == {"Processing": "True Pending: our words"}


@pytest.mark.parametrize("reason", ["Cancelled", "WorkflowGone", "Stale"])
def test_another_failure_has_the_reason_of_our_own_api(reason: str) -> None:
    found = messages(a_picture(ImportPhase.FAILED, reason, step=""))
    assert found["Succeeded"] == f"False {reason}: our words"
    assert found["Processing"].startswith("False ProcessingFailed")


@pytest.mark.parametrize("step", ["export", "convert", "hand-over"])
def test_every_stage_of_a_disk_that_lands_is_its_copy(step: str) -> None:
    assert messages(a_picture(step=step))["Processing"].startswith("True CopyingDisks")


def test_a_failed_disk_names_its_data_volume() -> None:
    row = DiskImportStatus(disk="disk-0", disk_name="web01-disk-0.img")
    found = messages(a_picture(ImportPhase.FAILED, "NoSpace", step="image disk-0", rows=(row,)))
    assert found["Succeeded"] == (
        "False DataVolumeCreationFailed: Error while importing disk image: web01-disk-0. our words"
    )


def test_a_long_message_is_cut() -> None:
    many = tuple(
        Concern(severity=Severity.WARN, code=f"c{number}", message="x" * 500) for number in range(100)
    )
    assert len(messages(a_picture(concerns=many))["MappingRulesVerified"]) < 5000


# --- progress

HALF: Final = (DiskImportStatus(disk="disk-0", percent=50), DiskImportStatus(disk="disk-1"))


@pytest.mark.parametrize(
    ("picture", "wanted"),
    [
        (a_picture(ImportPhase.NEW, step=""), ""),
        (a_picture(step="poweroff"), ""),
        (a_picture(rows=HALF), "26"),
        (a_picture(ImportPhase.IMAGES_READY, step="build", rows=HALF), "75"),
        (a_picture(step="build", rows=HALF), "26"),
        (a_picture(ImportPhase.CREATED, step="start"), "90"),
        (a_picture(ImportPhase.RUNNING, step=""), "100"),
        (a_picture(ImportPhase.FAILED, "NoSpace", step="image disk-0"), "100"),
        (a_picture(ImportPhase.FAILED, "SecretNotFound", step="", workflow=None), ""),
    ],
    ids=range(9),
)
def test_progress(picture: Picture, wanted: str) -> None:
    assert progress_of(picture, "") == wanted


@pytest.mark.parametrize(("before", "wanted"), [("40", "40"), ("100", "100"), ("20", "26"), ("999", "100")])
def test_progress_only_rises(before: str, wanted: str) -> None:
    assert progress_of(a_picture(rows=HALF), before) == wanted


def test_progress_is_never_more_than_done() -> None:
    rows = (DiskImportStatus(disk="disk-0", percent=100),)
    assert int(progress_of(a_picture(rows=rows), "")) == 75 < DONE


@pytest.mark.parametrize(("power", "wanted"), [("on", "up"), ("off", "down")])
def test_the_power_before_the_import_is_an_annotation(power: str, wanted: str) -> None:
    picture = a_picture()
    picture = Picture("default", picture.kind, picture.status, machine=a_machine(power=power))
    key = "vmimport.v2v.kubevirt.io/source-vm-initial-state"
    assert annotations_of(picture, {})[key] == wanted
    assert key not in annotations_of(picture, {key: "up"}), "it is written once"
