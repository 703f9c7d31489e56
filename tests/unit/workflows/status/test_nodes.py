"""Reads what the real Argo wrote (tests/recorded)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from workflows.status.nodes import (
    Json,
    Leaf,
    Phase,
    leaves,
    node_id,
    nodes,
    phase_of,
    root_cause,
    running,
    stage_of,
)

RECORDED: Final = {
    path.name[0]: json.loads(path.read_text())
    for path in sorted((Path(__file__).parents[3] / "recorded").glob("*.json"))
}
RUN: Final = "vmi-alpha-3f1c"
IDS: Final = {  # copied by hand from a Workflow of that name
    "": "",
    ".preflight": "-836791073",
    ".approve-poweroff": "-2440266512",
    ".transfer": "-1450895577",
    ".transfer.poweroff": "-1483498451",
    ".transfer.disks": "-2245478565",
    ".transfer.disks(0:disk-0)": "-1902163920",
    ".transfer.disks(0:disk-0).export": "-2377684248",
    ".transfer.disks(0:disk-0).export(0)": "-2276181867",
    ".transfer.disks(1:disk-1).serve(0)": "-1708980638",
    ".build": "-4214278090",
    ".onExit": "-2796827867",
}


def at(moment: str) -> dict[str, Leaf]:
    return {leaf.title: leaf for leaf in leaves(RECORDED[moment])}


def phases(moment: str) -> dict[str, Phase]:
    return {title: leaf.phase for title, leaf in at(moment).items()}


@pytest.mark.parametrize(("name", "id_"), IDS.items())
def test_node_ids_equal_those_of_argo(name: str, id_: str) -> None:
    assert node_id(RUN, RUN + name) == RUN + id_


@pytest.mark.parametrize("moment", RECORDED)
def test_every_recorded_node_has_the_computed_id(moment: str) -> None:
    for id_, node in nodes(RECORDED[moment]).items():
        assert node_id(RECORDED[moment]["metadata"]["name"], node["name"]) == id_


def test_there_are_six_recordings() -> None:
    found = [phase_of(workflow) for workflow in RECORDED.values()]
    # Right after `argo retry` there is no phase until Argo has reconciled it.
    assert found == ["Running", "Running", "Failed", "Pending", "Running", "Succeeded"]


def test_the_recording_that_waits_for_approval() -> None:
    assert phases("1") == {
        "preflight": Phase.SUCCEEDED,
        "admit": Phase.SUCCEEDED,
        "approve-poweroff": Phase.RUNNING,
    }


def test_the_recording_that_exports() -> None:
    assert [leaf.title for leaf in running(RECORDED["2"])] == ["export disk-0", "export disk-1"]
    assert phases("2")["poweroff"] is Phase.SUCCEEDED


def test_the_recording_that_failed() -> None:
    found = phases("3")
    assert {title for title, phase in found.items() if phase is Phase.FAILED} == {
        "image disk-1",
        "serve disk-1",
    }
    # Argo omits the group of build and start as one node, which is not a stage.
    assert not {"build", "approve-start", "start", "finish"} & set(found)
    assert found["image disk-0"] is found["release-source"] is Phase.SUCCEEDED
    assert found["delete-scratch"] is Phase.SKIPPED


def test_the_failed_image_has_its_reason() -> None:
    leaf = at("3")["image disk-1"]
    assert (leaf.stage, leaf.disk, leaf.exit_code, leaf.attempts) == ("image", "disk-1", 13, 1)
    assert leaf.step_message.startswith("cannot create VirtualMachineImage ")
    assert "exceeded quota: images" in leaf.step_message
    assert leaf.step_message.endswith("raise that limit of the namespace or free some of it, then retry")
    assert "exit code" not in leaf.step_message
    assert at("3")["serve disk-1"].step_message.startswith("the image of disk-1 failed")


def test_the_image_is_to_blame_not_its_sibling() -> None:
    cause = root_cause(RECORDED["3"])
    assert cause is not None
    assert (cause.title, cause.exit_code) == ("image disk-1", 13)


@pytest.mark.parametrize("moment", ["1", "2", "4", "5", "6"])
def test_nothing_is_to_blame_without_a_failure(moment: str) -> None:
    assert root_cause(RECORDED[moment]) is None


def test_a_retry_repeats_only_failed_stages() -> None:
    before, after = phases("3"), phases("4")
    again = {"image disk-1", "serve disk-1"}
    assert {title for title in after if before[title] is not after[title]} == set()
    assert set(before) - set(after) == {*again, "halt", "release-source", "delete-scratch"}
    assert {leaf.title for leaf in running(RECORDED["5"])} <= again
    assert again <= set(phases("5"))


def test_the_recording_that_succeeded_after_the_retry() -> None:
    assert set(phases("6").values()) == {Phase.SUCCEEDED, Phase.SKIPPED}
    assert phases("6")["approve-start"] is Phase.SKIPPED
    assert {leaf.attempts for leaf in at("6").values()} == {1}


def test_leaves_are_in_order_of_start() -> None:
    starts = [leaf.started for leaf in leaves(RECORDED["6"]) if leaf.started]
    assert starts == sorted(starts)
    assert next(iter(at("6"))) == "preflight"


def node(name: str, phase: str, code: int | None = None, finished: str | None = None, **more: object) -> Json:
    outputs = {} if code is None else {"exitCode": str(code)}
    return {
        "id": node_id("w", name),
        "name": name,
        "type": "Pod",
        "phase": phase,
        "outputs": outputs,
        "finishedAt": finished,
        **more,
    }


def workflow(*given: Json) -> Json:
    return {"status": {"nodes": {one["id"]: one for one in given}}}


def test_attempts_are_merged_into_the_last_one() -> None:
    tries = [
        node(f"w.build({n})", "Failed" if n < 10 else "Succeeded", n, progress=f"{n}/10") for n in range(11)
    ]
    (leaf,) = leaves(workflow(*tries))
    assert (leaf.stage, leaf.phase, leaf.attempts, leaf.exit_code) == ("build", Phase.SUCCEEDED, 11, 10)
    assert (leaf.done, leaf.total) == (10, 10)


def test_the_first_of_several_failures_is_to_blame() -> None:
    cause = root_cause(
        workflow(
            node("w.build(0)", "Failed", 13, "2026-01-01T00:00:09Z"),
            node("w.poweroff(0)", "Error", 17, "2026-01-01T00:00:05Z"),
            node("w.serve(0)", "Failed", 20, "2026-01-01T00:00:01Z"),
        )
    )
    assert cause is not None
    assert cause.stage == "poweroff"


def test_a_sibling_is_never_to_blame() -> None:
    assert root_cause(workflow(node("w.serve(0)", "Failed", 20))) is None


@pytest.mark.parametrize("name", ["w.onExit", "w.onExit(0)"])
def test_the_exit_handler_is_cleanup(name: str) -> None:
    """In Workflows of earlier versions it is a stage."""
    assert stage_of({"name": name}) == "cleanup"


def test_the_exit_handler_holds_the_stages_of_the_end() -> None:
    handler = {**node("w.onExit", "Failed"), "type": "DAG"}
    found = workflow(
        handler,
        node("w.onExit.release-source(0)", "Failed", 70),
        node("w.onExit.delete-scratch(0)", "Succeeded"),
    )
    assert {leaf.title for leaf in leaves(found)} == {"release-source", "delete-scratch"}
    assert root_cause(found) is None, "it never fails an import"


@pytest.mark.parametrize("empty", [{}, {"status": {}}, {"status": {"nodes": None, "phase": ""}}])
def test_a_workflow_without_a_status_is_pending(empty: Json) -> None:
    assert leaves(empty) == ()
    assert phase_of(empty) is Phase.PENDING
    assert root_cause(empty) is None


@pytest.mark.parametrize("phase", Phase)
def test_phases_are_classified(phase: Phase) -> None:
    assert phase.succeeded is (phase in {"Succeeded", "Skipped"})
    assert phase.fulfilled is (phase not in {"Pending", "Running"})


def test_a_foreign_message_is_not_changed() -> None:
    (leaf,) = leaves(workflow(node("w.build(0)", "Error", message="pod deleted (node gone): x")))
    assert leaf.step_message == "pod deleted (node gone): x"
