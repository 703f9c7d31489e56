from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Final

import pytest

from controller.local.record import Record
from controller.local.rundir import RunDir
from steps.model.contract import Exit, StepError
from steps.model.plan import Plan
from steps.runtime.program import PLAN
from steps.targets.directory import STATE_FOLDER
from tests.unit.builders import a_plan
from workflows.stages import stage_named

CREDENTIALS: Final = {"username": b"u", "password": b"\x00\xff"}


@pytest.fixture
def rundir(tmp_path: Path) -> RunDir:
    """A folder in which an import has just been created."""
    made = RunDir(tmp_path / "run")
    made.create(a_plan(), CREDENTIALS)
    return made


def refusal(folder: Path) -> StepError:
    with pytest.raises(StepError) as caught:
        RunDir(folder).require_free()
    return caught.value


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def failed_at(rundir: RunDir, *names: str) -> None:
    """An import in which each named stage succeeded except the last, which failed."""
    record = Record.new(a_plan().run, {}, rundir.save)
    for name in names:
        path = record.path(stage_named(name), None)
        code = Exit.DENIED if name == names[-1] else Exit.DONE
        record.end(path, record.begin(path, stage_named(name), None), code, "words", {})
        record.end_stage(path)
    record.finish()


# --- the owner of the folder


def test_a_missing_or_empty_folder_is_free(tmp_path: Path) -> None:
    RunDir(tmp_path / "new").require_free()
    RunDir(tmp_path).require_free()


def test_a_foreign_folder_is_refused_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    error = refusal(tmp_path)
    assert error.code is Exit.CONFLICT
    assert "is not empty: vmferry did not fill it" in str(error)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is not a folder" in str(refusal(tmp_path / "file"))


def test_a_started_import_must_be_retried_instead(rundir: RunDir) -> None:
    failed_at(rundir, "preflight", "poweroff")
    error = refusal(rundir.root)
    assert error.code is Exit.CONFLICT
    assert f"vmferry retry {rundir.root}" in str(error)
    assert rundir.load()


def test_an_import_refused_by_preflight_is_replaced(rundir: RunDir) -> None:
    failed_at(rundir, "preflight")
    RunDir(rundir.root).require_free()
    assert list(rundir.root.iterdir()) == []


def test_an_import_in_use_is_not_replaced(rundir: RunDir) -> None:
    descriptor = rundir.lock()
    error = refusal(rundir.root)
    assert error.code is Exit.BUSY
    assert rundir.request.exists()
    os.close(descriptor)


def test_a_folder_with_results_is_never_replaced(rundir: RunDir) -> None:
    (rundir.root / "disk-0.qcow2").write_bytes(b"disk")
    assert refusal(rundir.root).code is Exit.CONFLICT
    assert (rundir.root / "disk-0.qcow2").exists()


def test_a_folder_without_an_import_is_reported(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(StepError, match=r"no import in .*it does not contain run\.json") as caught:
            RunDir(folder).load()
        assert caught.value.code is Exit.NOT_FOUND


# --- credentials


def test_only_the_owner_may_read_the_credentials(rundir: RunDir) -> None:
    assert mode(rundir.credentials) == 0o700
    found = {path.name: (mode(path), path.read_bytes()) for path in rundir.credentials.iterdir()}
    assert found == {"username": (0o600, b"u"), "password": (0o600, b"\x00\xff")}


def test_new_credentials_replace_all_old_ones(rundir: RunDir) -> None:
    rundir.write_credentials({"username": b"v"})
    assert [path.name for path in rundir.credentials.iterdir()] == ["username"]


def test_no_document_contains_a_credential(rundir: RunDir) -> None:
    for path in rundir.request.iterdir():
        assert "password" not in path.read_text()


# --- state


def test_the_plan_is_in_the_request(rundir: RunDir) -> None:
    assert Plan.load(rundir.request / PLAN) == a_plan()


def test_state_is_saved_and_loaded(rundir: RunDir) -> None:
    rundir.save({"a": [1]})
    assert rundir.load() == {"a": [1]}


@pytest.mark.parametrize("content", [b"", b'{"status": {', b"\xff\xfe\x00"])
def test_a_state_that_cannot_be_read_is_corrupt(rundir: RunDir, content: bytes) -> None:
    rundir.state.write_bytes(content)
    with pytest.raises(StepError, match=r"cannot read .*run\.json") as caught:
        rundir.load()
    assert caught.value.code is Exit.CORRUPT


def test_room_is_reserved_and_released(rundir: RunDir) -> None:
    rundir.reserve_space()
    assert (rundir.notes / "reserve").stat().st_size == 1 << 20


def test_a_finished_import_keeps_its_results_and_its_state(rundir: RunDir) -> None:
    rundir.save({})
    rundir.reserve_space()
    rundir.scratch("disk-0").mkdir(parents=True)
    (rundir.root / "disk-0.qcow2").write_bytes(b"disk")
    rundir.delete_leftovers()
    assert {path.name for path in rundir.root.iterdir()} == {STATE_FOLDER, "run.json", "disk-0.qcow2"}
    assert {path.name for path in rundir.notes.iterdir()} == {"request", "logs"}


# --- the process that works in it


def test_only_one_process_can_lock_a_folder(rundir: RunDir) -> None:
    first = rundir.lock()
    with pytest.raises(BlockingIOError):
        RunDir(rundir.root).lock()
    os.close(first)
    os.close(RunDir(rundir.root).lock())


def test_the_steps_inherit_the_lock(rundir: RunDir) -> None:
    descriptor = rundir.lock()
    assert os.get_inheritable(descriptor)
    os.close(descriptor)


def test_a_signed_runner_is_detected_as_running(rundir: RunDir) -> None:
    assert not rundir.is_running()
    rundir.mark_running()
    assert RunDir(rundir.root).is_running()


def test_a_relative_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rundir = RunDir(Path("here"))
    monkeypatch.chdir("/")
    assert rundir.root == tmp_path / "here"


def test_the_saved_state_is_readable_json(rundir: RunDir) -> None:
    rundir.save({"status": {"phase": "Running"}})
    assert json.loads(rundir.state.read_text()) == {"status": {"phase": "Running"}}
    assert rundir.state.read_text().count("\n") > 1
