"""A failed import reports that the VM is off and how to start it, but only if it powered the VM off."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.operator.act.transitions import events_between
from steps.model.machine import Machine, Power
from steps.model.sources import SourceKind
from tests.unit.builders import a_machine, an_import
from tests.unit.workflows.status.situations import NOW, Json, exited, failed, found, reflected, upto
from workflows.api.status import WorkflowReference
from workflows.status import poweredoff
from workflows.status.reflect import announce

ON = a_machine(name="web01", path="/DC0/vm/web01", power=Power.ON)
OFF = ON.model_copy(update={"power": Power.OFF})
FAILED: list[Json] = [*upto("export"), failed("export", 11, "VApp.Export is missing", "disk-0")]
WORDS = "VM /DC0/vm/web01 is off at its source"


def ended(*nodes: Json, machine: Machine | None = ON, **more: Any) -> str:
    return reflected(*nodes, machine=machine, phase="Failed", **more).message


@pytest.mark.parametrize(
    "nodes",
    [
        FAILED,
        [*upto("image"), failed("image", 13, "no room", "disk-1")],
        [*upto("image"), failed("serve", 20, "the image failed", "disk-1")],
        [*upto("build"), failed("build", 19, "a VM of that name is there")],
    ],
)
def test_every_failure_after_power_off_has_the_note(nodes: list[Json]) -> None:
    note = ended(*nodes)
    assert WORDS in note
    assert "power it on in the vSphere Client" in note
    assert "a retry resumes" in note


def test_a_cancelled_import_has_the_note() -> None:
    assert WORDS in ended(*FAILED, spec={"shutdown": "Stop"})


@pytest.mark.parametrize(
    "nodes",
    [
        [found(), failed("poweroff", 17, "VMware Tools are not running")],
        [failed("preflight", 14, "no such VM")],
        [found(), failed("admit", 19, "duplicate MAC")],
    ],
)
def test_no_note_without_a_power_off(nodes: list[Json]) -> None:
    assert "off at its source" not in ended(*nodes)


def test_no_note_if_a_stage_found_that_the_vm_was_started_again() -> None:
    nodes = [*upto("build"), failed("build", 21, "the copies of web01 are stale: somebody started it")]
    assert "off at its source" not in ended(*nodes)
    assert reflected(*nodes, machine=ON, phase="Failed").powered_off == ""


def test_no_note_in_a_retry_after_the_exit_handler_started_the_vm() -> None:
    text = json.dumps({"version": "1", "state": "started", "message": "web01 was started again"})
    handler = exited(outputs={"exitCode": "0", "parameters": [{"name": "restored", "value": text}]})
    quota = [*upto("image"), failed("image", 13, "no room", "disk-1")]
    restored = reflected(*quota, handler, machine=ON, phase="Failed")
    assert restored.powered_off == ""
    retried = reflected(*upto("image"), machine=ON, previous=restored)
    assert retried.powered_off == ""
    assert "a retry starts from preflight" in ended(*quota, previous=restored)


def test_no_note_for_a_vm_that_was_already_off() -> None:
    assert "off at its source" not in ended(*FAILED, machine=OFF)


def test_no_note_while_running_or_after_success() -> None:
    assert "off at its source" not in reflected(*upto("export"), machine=ON).message
    assert "off at its source" not in reflected(*upto("start"), phase="Succeeded", machine=ON).message


def test_the_preflight_of_a_second_workflow_finds_it_off() -> None:
    """The status keeps which VM it was; another VM that is off is not confused with it."""
    first = reflected(*FAILED, machine=ON, phase="Failed")
    assert first.powered_off == "/DC0/vm/web01"
    second = reflected(*FAILED, machine=OFF, previous=first, phase="Failed")
    assert WORDS in second.message
    assert second.powered_off == "/DC0/vm/web01"
    other = OFF.model_copy(update={"path": "/DC0/vm/other"})
    assert "off at its source" not in ended(*FAILED, machine=other, previous=first)


def test_it_is_remembered_before_the_next_power_off_and_in_a_new_run() -> None:
    first = reflected(*FAILED, machine=ON, phase="Failed")
    assert (
        reflected(failed("preflight", 11, "no"), machine=OFF, previous=first).powered_off == "/DC0/vm/web01"
    )
    run = WorkflowReference(name="vmi-web-0a1b2c3d-g2", namespace="vmferry", generation=2)
    assert announce(an_import(), first, run, NOW).powered_off == "/DC0/vm/web01"


def test_the_openstack_note_has_its_command() -> None:
    server = a_machine(name="web01", path="web01", source_id="5f0c", power=Power.ON)
    import_ = an_import(virtualMachineName="web01", sourceCluster={"kind": "openstacksource", "name": "c"})
    note = ended(*FAILED, machine=server, import_=import_)
    assert "VM web01 (5f0c) is off" in note
    assert "openstack server start 5f0c" in note


def test_an_ova_has_no_note() -> None:
    assert poweredoff.note(ON, SourceKind.OVA, ()) == ""


def test_the_note_is_one_event_for_step_and_workflow() -> None:
    running = reflected(*upto("export"), machine=ON)
    step_failed = reflected(*FAILED, machine=ON, previous=running)
    over = reflected(*FAILED, machine=ON, previous=step_failed, phase="Failed")
    assert WORDS in step_failed.message
    warnings = [
        one
        for before, after in ((running, step_failed), (step_failed, over))
        for one in events_between(before, after)
        if one.warning and WORDS in one.message
    ]
    assert len(warnings) == 1
