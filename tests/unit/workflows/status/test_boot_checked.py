"""The boot check in the status of an import."""

from __future__ import annotations

from typing import Any

import pytest

from controller.operator.act.transitions import events_between
from steps.model.booting import BootEvidence, BootResult, Verdict
from tests.unit.workflows.status.situations import Json, failed, node, reflected, upto
from workflows.api.conditions import find
from workflows.api.status import Condition, ImportPhase, ImportStatus

CHECKED = {"entrypoint": "import-checked"}
WORDS = "the guest of VM default/web01 does not boot: the guest stopped in a shell of the initramfs"


def outputs(result: BootResult, code: int = 0) -> Json:
    parameters = [{"name": "booted", "value": result.to_json()}]
    return {"exitCode": str(code), "parameters": parameters}


def checked(result: BootResult, **more: Any) -> ImportStatus:
    nodes = [*upto("start"), node("start"), node("check", outputs=outputs(result))]
    return reflected(*nodes, spec=CHECKED, **more)


def condition(status: ImportStatus) -> Condition:
    found = find(status.import_conditions, "BootChecked")
    assert found is not None
    return found


def test_a_started_vm_is_not_done_before_its_guest_has_booted() -> None:
    """The node of `check` may not exist yet, and virtualMachineRunning is final."""
    status = reflected(*upto("start"), node("start"), spec=CHECKED)
    assert status.import_status == ImportPhase.CREATED
    assert find(status.import_conditions, "BootChecked") is None
    assert reflected(*upto("start"), node("start")).import_status == ImportPhase.RUNNING


def test_while_the_guest_is_watched_the_status_says_so() -> None:
    status = reflected(*upto("start"), node("start"), node("check", "Running"), spec=CHECKED)
    assert status.import_status == ImportPhase.CREATED
    assert (condition(status).status, condition(status).reason) == ("Unknown", "Checking")
    assert status.step == "check"
    assert not [one for one in events_between(ImportStatus(), status) if one.reason.startswith("Guest")]


@pytest.mark.parametrize(
    ("result", "status", "reason"),
    [
        (BootResult(verdict=Verdict.BOOTED, message="its agent is connected"), "True", "Booted"),
        (BootResult(verdict=Verdict.BOOTED, message="it wrote", fell_back=True), "True", "FellBack"),
        (BootResult(verdict=Verdict.SILENT, message="it sent nothing"), "True", "NetworkSilent"),
        (BootResult(verdict=Verdict.UNKNOWN, message="nothing proves it"), "Unknown", "NotKnown"),
        (BootResult(verdict=Verdict.NOT_STARTED, message="web01 is not started"), "Unknown", "NotStarted"),
    ],
)
def test_the_verdict_is_a_condition_and_an_event(result: BootResult, status: str, reason: str) -> None:
    made = checked(result, phase="Succeeded")
    assert (condition(made).status, condition(made).reason) == (status, reason)
    assert result.message in condition(made).message
    assert made.import_status == ImportPhase.RUNNING, "an unknown verdict is no failure"
    (event,) = [one for one in events_between(ImportStatus(), made) if one.reason == f"Guest{reason}"]
    assert event.warning is (reason != "Booted")


def test_a_fallback_says_what_to_do() -> None:
    made = checked(BootResult(verdict=Verdict.BOOTED, message="it has written 2 MB", fell_back=True))
    assert "install the virtio drivers" in condition(made).message


def test_a_stuck_guest_fails_the_import_with_its_console() -> None:
    evidence = BootEvidence(console="ALERT! UUID=2f1d does not exist. / (initramfs)")
    result = BootResult(
        verdict=Verdict.STUCK,
        message="the guest stopped in a shell of the initramfs",
        evidence=evidence,
        kept_in="ConfigMap vmferry/vmi-web-0a1b2c3d-g1-boot",
    )
    leaf = failed("check", 16, WORDS)
    leaf["outputs"] = outputs(result, 16)
    made = reflected(*upto("start"), node("start"), leaf, spec=CHECKED, phase="Failed")
    assert made.import_status == ImportPhase.FAILED
    assert made.step == "check"
    assert made.message == WORDS
    assert (condition(made).status, condition(made).reason) == ("False", "Stuck")
    assert "console: ALERT! UUID=2f1d" in condition(made).message
    assert "ConfigMap vmferry/vmi-web-0a1b2c3d-g1-boot" in condition(made).message


@pytest.mark.parametrize("value", ["", "[]", "{", '{"verdict": "sunny", "message": ""}', "null"])
def test_an_output_that_is_no_result_is_ignored(value: str) -> None:
    leaf = node("check", outputs={"exitCode": "0", "parameters": [{"name": "booted", "value": value}]})
    made = reflected(*upto("start"), node("start"), leaf, spec=CHECKED, phase="Succeeded")
    assert find(made.import_conditions, "BootChecked") is None
    assert made.import_status == ImportPhase.RUNNING


def test_a_retry_of_a_failed_check_is_watched_again() -> None:
    stuck = BootResult(verdict=Verdict.STUCK, message="in the initramfs")
    leaf = failed("check", 16, WORDS)
    leaf["outputs"] = outputs(stuck, 16)
    before = reflected(*upto("start"), node("start"), leaf, spec=CHECKED, phase="Failed")
    again = reflected(*upto("start"), node("start"), node("check", "Running"), spec=CHECKED, previous=before)
    assert condition(again).reason == "Checking"
    assert again.import_status == ImportPhase.CREATED
