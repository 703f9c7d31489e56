from __future__ import annotations

import copy
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.local.record import Record
from steps.model.contract import Exit
from steps.model.plan import TargetKind
from tests.unit.controller.local.fakes import Saved
from workflows.stages import Scope, Stage, stage_named, stages_for
from workflows.status.nodes import Json, Leaf, Phase, leaves, node_id, phase_of, root_cause

RUN: Final = "vmi-web-0a1b2c3d-g1"
DISKS: Final = ("disk-0", "disk-1")


def begun() -> tuple[Record, Saved]:
    saved = Saved()
    return Record.new(RUN, {"app": "web"}, saved), saved


def attempt(record: Record, name: str, disk: str | None = None, code: int = 0, words: str = "") -> str:
    path = record.path(stage_named(name), disk, DISKS)
    number = record.begin(path, stage_named(name), disk)
    record.end(path, number, code, words, {})
    return path


def leaf(workflow: Json, title: str) -> Leaf:
    (found,) = [one for one in leaves(workflow) if one.title == title]
    return found


def titles(workflow: Json) -> list[str]:
    return [one.title for one in leaves(workflow)]


def test_a_new_run_is_running_and_saved() -> None:
    _, saved = begun()
    assert phase_of(saved.workflow) is Phase.RUNNING
    assert saved.workflow["metadata"]["labels"] == {"app": "web"}
    assert titles(saved.workflow) == []


@pytest.mark.parametrize(
    ("name", "disk", "path"),
    [
        ("preflight", None, ".preflight"),
        ("poweroff", None, ".transfer.poweroff"),
        ("export", "disk-1", ".transfer.disks(1:disk-1).export"),
        ("build", None, ".finish.build"),
        ("halt", None, ".onExit.halt"),
        ("release-source", None, ".onExit.release-source"),
    ],
)
def test_nodes_have_the_names_of_argo(name: str, disk: str | None, path: str) -> None:
    assert begun()[0].path(stage_named(name), disk, DISKS) == RUN + path


def test_every_change_is_saved() -> None:
    record, saved = begun()
    path = record.path(stage_named("preflight"), None)
    counts = [saved.count]
    number = record.begin(path, stage_named("preflight"), None)
    counts.append(saved.count)
    record.progress(path, number, 1, 2)
    counts.append(saved.count)
    record.end(path, number, 0, "", {})
    counts.append(saved.count)
    record.end_stage(path)
    counts.append(saved.count)
    assert counts == sorted(set(counts))


def test_a_failed_attempt_has_its_code_and_last_words() -> None:
    record, saved = begun()
    attempt(record, "preflight", code=Exit.DENIED, words="wrong password; write the right one")
    found = leaf(saved.workflow, "preflight")
    assert (found.phase, found.exit_code) == (Phase.FAILED, 11)
    assert found.message == "main: Error (exit code 11): wrong password; write the right one"
    assert found.step_message == "wrong password; write the right one"


def test_an_attempt_without_last_words_has_a_default_message() -> None:
    record, saved = begun()
    attempt(record, "preflight", code=137)
    assert leaf(saved.workflow, "preflight").message == "main: Error (exit code 137)"


def test_attempts_are_counted_and_the_last_one_decides() -> None:
    record, saved = begun()
    path, *_ = [attempt(record, "export", "disk-0", code) for code in (30, 30, 0)]
    record.end_stage(path)
    found = leaf(saved.workflow, "export disk-0")
    assert (found.attempts, found.phase) == (3, Phase.SUCCEEDED)
    assert record.phase(path) is Phase.SUCCEEDED


def test_equal_progress_is_saved_once() -> None:
    record, saved = begun()
    path = record.path(stage_named("export"), "disk-0", DISKS)
    number = record.begin(path, stage_named("export"), "disk-0")
    assert record.progress(path, number, 5, 10)
    assert not record.progress(path, number, 5, 10)
    assert (leaf(saved.workflow, "export disk-0").done, leaf(saved.workflow, "export disk-0").total) == (
        5,
        10,
    )


def test_outputs_are_parameters() -> None:
    record, saved = begun()
    path = record.path(stage_named("preflight"), None)
    record.end(path, record.begin(path, stage_named("preflight"), None), 0, "", {"disks": '["disk-0"]'})
    node = saved.workflow["status"]["nodes"][node_id(RUN, f"{path}(0)")]
    assert node["outputs"]["parameters"] == [{"name": "disks", "value": '["disk-0"]'}]


def reachable(workflow: Json) -> set[str]:
    nodes = workflow["status"]["nodes"]
    found, todo = set(), [RUN]
    while todo:
        id_ = todo.pop()
        if id_ not in found:
            found.add(id_)
            todo += nodes[id_].get("children", [])
    return found


def test_every_node_is_reachable_from_the_root() -> None:
    record, saved = begun()
    for stage in stages_for(TargetKind.DIRECTORY):
        for disk in DISKS if stage.scope is Scope.DISK else (None,):
            if stage.gate:
                record.skip(record.path(stage, disk, DISKS), stage, disk, Phase.SKIPPED, "")
            else:
                attempt(record, stage.name, disk)
    assert reachable(saved.workflow) == set(saved.workflow["status"]["nodes"])


def test_a_run_without_failures_succeeded() -> None:
    record, saved = begun()
    record.end_stage(attempt(record, "preflight"))
    assert record.finish() is Phase.SUCCEEDED
    assert phase_of(saved.workflow) is Phase.SUCCEEDED
    assert saved.workflow["status"]["finishedAt"]


def test_a_failed_stage_fails_the_run_and_its_own_groups() -> None:
    record, saved = begun()
    record.end_stage(attempt(record, "export", "disk-0"))
    record.end_stage(attempt(record, "export", "disk-1", Exit.NO_SPACE))
    assert record.finish() is Phase.FAILED
    phases = {node["displayName"]: node["phase"] for node in saved.workflow["status"]["nodes"].values()}
    assert phases["disks(0:disk-0)"] == "Succeeded"
    assert phases["disks(1:disk-1)"] == phases["transfer"] == phases[RUN] == "Failed"


def test_a_stopped_run_failed_with_its_reason() -> None:
    record, saved = begun()
    assert record.finish(message="Stopped") is Phase.FAILED
    assert saved.workflow["status"]["message"] == "Stopped"


# --- resuming


def resumed(record: Record, saved: Saved) -> tuple[Record, Saved]:
    """As another runner does: the state from the file, reopened."""
    again = Record(copy.deepcopy(saved.workflow), saved)
    again.reopen()
    return again, saved


def test_reopen_removes_failed_and_omitted_stages() -> None:
    record, saved = begun()
    record.end_stage(attempt(record, "preflight"))
    record.end_stage(attempt(record, "export", "disk-0"))
    record.end_stage(attempt(record, "export", "disk-1", Exit.NO_SPACE))
    build = stage_named("build")
    record.skip(record.path(build, None), build, None, Phase.OMITTED, "")
    record.end_stage(attempt(record, "release-source"))
    record.finish()
    _, saved = resumed(record, saved)
    assert titles(saved.workflow) == ["preflight", "export disk-0"]
    assert phase_of(saved.workflow) is Phase.RUNNING
    assert root_cause(saved.workflow) is None


def test_reopen_removes_a_stage_that_was_running_at_a_kill() -> None:
    record, saved = begun()
    record.end_stage(attempt(record, "preflight"))
    path = record.path(stage_named("export"), "disk-0", DISKS)
    record.begin(path, stage_named("export"), "disk-0")
    again, saved = resumed(record, saved)
    assert titles(saved.workflow) == ["preflight"]
    assert again.phase(path) is None


def test_reopen_keeps_failed_attempts_of_a_succeeded_stage() -> None:
    record, saved = begun()
    attempt(record, "export", "disk-0", 30)
    record.end_stage(attempt(record, "export", "disk-0"))
    _, saved = resumed(record, saved)
    assert leaf(saved.workflow, "export disk-0").attempts == 2


def test_a_removed_stage_starts_again_with_its_first_attempt() -> None:
    record, saved = begun()
    record.end_stage(attempt(record, "export", "disk-0", Exit.NO_SPACE))
    again, saved = resumed(record, saved)
    attempt(again, "export", "disk-0")
    assert leaf(saved.workflow, "export disk-0").attempts == 1
    assert reachable(saved.workflow) == set(saved.workflow["status"]["nodes"])


Work = tuple[str, str | None]
WORK: Final[list[Work]] = [
    (stage.name, disk)
    for stage in stages_for(TargetKind.DIRECTORY)
    for disk in (DISKS if stage.scope is Scope.DISK else (None,))
]
CODES: Final = st.sampled_from([0, 0, 0, 10, 13, 20, 30, 70, 137, 143])
LIVES: Final = st.lists(  # events of a stage during one runner: the codes of its attempts; None is a kill
    st.tuples(st.sampled_from(WORK), st.lists(st.one_of(CODES, st.none()), min_size=1, max_size=3)),
    max_size=12,
)


def live(record: Record, life: list[tuple[Work, list[int | None]]]) -> None:
    for (name, disk), codes in life:
        stage: Stage = stage_named(name)
        path = record.path(stage, disk, DISKS)
        if record.phase(path) is not None:
            continue
        if stage.gate:
            record.skip(path, stage, disk, Phase.SKIPPED, "")
            continue
        for code in codes:
            number = record.begin(path, stage, disk)
            if code is None:
                return
            record.end(path, number, code, "words", {})
            if code == 0:
                break
        record.end_stage(path)
    record.finish()


def well(workflow: Json) -> dict[str, Any]:
    return {
        one.title: one for one in leaves(workflow) if one.phase.succeeded and one.stage != "release-source"
    }


@given(st.lists(LIVES, min_size=1, max_size=5))
def test_reopen_always_keeps_exactly_the_succeeded_stages(
    lives: list[list[tuple[Work, list[int | None]]]],
) -> None:
    record, saved = begun()
    for life in lives:
        live(record, life)
        before = well(saved.workflow)
        record, saved = resumed(record, saved)
        assert well(saved.workflow) == before
        assert set(titles(saved.workflow)) == set(before)
        assert reachable(saved.workflow) == set(saved.workflow["status"]["nodes"])
        assert not record.failed()
