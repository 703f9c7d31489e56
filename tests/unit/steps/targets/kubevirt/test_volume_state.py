"""Statuses of DataVolumes as CDI v1.66.0 showed them in the lab, with Kubernetes 1.34."""

from __future__ import annotations

from typing import Any

import pytest

from steps.targets.kubevirt.volume_state import (
    MOST_RESTARTS,
    NO_REASON,
    NO_VOLUME,
    QUOTA,
    SCRATCH,
    TOO_SMALL,
    VolumeState,
    volume_state,
)

EXCEEDED = (
    'persistentvolumeclaims "d" is forbidden: exceeded quota: small, requested: requests.storage=268435456, '
    "used: requests.storage=0, limited: requests.storage=1Mi"
)
PENDING_SCRATCH = (
    'target PVC d Pending and [prime-58ea635f] : persistentvolumeclaims "prime-58ea635f-scratch" is '
    "forbidden: exceeded quota: small, requested: requests.storage=309329920"
)
PROVISIONER = (
    "target PVC d Pending and Waiting for a volume to be created either by the external provisioner "
    "'lab.local/nobody' or manually by the system administrator."
)
MISMATCH = (
    "Unable to process data: Unable to transfer source data to scratch space: checksum validation failed: "
    "checksum mismatch: expected sha512:0a0a, calculated sha512:13b2"
)
NONE_FOUND = "scratch space required and none found"
Condition = tuple[str, str, str]
"""Status, reason and message."""
SILENT: Condition = ("False", "", "")
BOUND: Condition = ("True", "Bound", "PVC d Bound")
RUNS: Condition = ("True", "Pod is running", "")


def seen(phase: str, bound: Condition, running: Condition, **more: Any) -> VolumeState:
    conditions = []
    for kind, condition in {"Bound": bound, "Running": running}.items():
        status, reason, message = condition
        conditions.append({"type": kind, "status": status, "reason": reason, "message": message})
    return volume_state({"status": {"phase": phase, "progress": "N/A", "conditions": conditions, **more}})


@pytest.mark.parametrize(
    ("phase", "bound", "running", "blocked", "message"),
    [
        ("Pending", ("False", "ErrExceededQuota", EXCEEDED), SILENT, QUOTA, EXCEEDED),
        # the claim of the populator exceeds the quota: only an event reports that
        ("", ("False", "Pending", "PVC d Pending"), SILENT, NO_VOLUME, "PVC d Pending"),
        (
            "Pending",
            ("False", "Pending", PROVISIONER),
            ("False", "Unschedulable", "Importer pod cannot be scheduled"),
            NO_VOLUME,
            PROVISIONER,
        ),
        (
            "ImportInProgress",
            ("False", "Pending", PENDING_SCRATCH),
            ("False", "Scratch space required", NONE_FOUND),
            SCRATCH,
            PENDING_SCRATCH,
        ),
        ("ImportInProgress", BOUND, ("False", "Scratch space required", NONE_FOUND), SCRATCH, NONE_FOUND),
        ("ImportScheduled", BOUND, ("False", "ContainerCreating", ""), "", ""),
        ("ImportInProgress", ("False", "Pending", "PVC d Pending"), RUNS, "", ""),
    ],
)
def test_what_cdi_waits_for(
    phase: str, bound: Condition, running: Condition, blocked: str, message: str
) -> None:
    state = seen(phase, bound, running)
    assert (state.blocked, state.blocked_message) == (blocked, message)
    assert (state.failed, state.last_failure) == ("", "")


def test_a_changed_byte_is_final_and_has_a_reason_of_its_own() -> None:
    state = seen("Failed", BOUND, ("False", "ChecksumError", MISMATCH))
    assert state.failed == MISMATCH


def test_a_disk_that_does_not_fit_is_tried_again_and_the_words_are_gone_while_the_next_importer_runs() -> (
    None
):
    failed = seen("ImportInProgress", BOUND, ("False", "Error", TOO_SMALL), restartCount=1)
    assert (failed.last_failure, failed.failed) == (TOO_SMALL, "")
    again = seen("ImportInProgress", BOUND, RUNS, restartCount=2)
    assert (again.last_failure, again.failed) == ("", "")
    given_up = seen("ImportInProgress", BOUND, RUNS, restartCount=MOST_RESTARTS)
    assert given_up.failed == NO_REASON


def test_an_importer_that_was_killed_is_a_failure_without_a_message() -> None:
    assert seen("ImportInProgress", BOUND, ("False", "OOMKilled", "")).last_failure == "OOMKilled"
