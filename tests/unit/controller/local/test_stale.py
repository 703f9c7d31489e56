"""A retry of an import whose copies are stale begins again, and keeps nothing that was copied."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from controller.local import imports, stale
from controller.local.record import Record
from controller.local.rundir import RunDir
from steps.model import names
from steps.model.contract import Exit
from steps.model.plan import Plan
from steps.runtime.program import PLAN
from tests.unit.builders import a_plan
from workflows.stages import stage_named
from workflows.status.nodes import Phase, leaves

RESTORED = '{"version": "1", "state": "started", "message": "web01 was started again"}'


class Ended:
    """An import in a folder, with a landed disk, a published disk and documents."""

    def __init__(self, folder: Path) -> None:
        self.rundir = RunDir(folder)
        self.rundir.create(a_plan(), {"password": b"secret"})
        self.record = Record.new(a_plan().run, names.labels(a_plan()), self.rundir.save)
        scratch = self.rundir.scratch("disk-0")
        scratch.mkdir(parents=True)
        published = self.rundir.notes / "published"
        published.mkdir()
        self.copies = [
            scratch / "disk.qcow2",
            published / "disk-1.json",
            folder / "disk-1.qcow2",
            folder / "virtualmachine.yaml",
            folder / "SHA256SUMS",
            self.rundir.request / "machine.json",
            self.rundir.request / "power.json",
            self.rundir.request / "volumes.json",
        ]
        for path in self.copies:
            path.write_text("{}")

    def end(
        self, stage: str, code: int, container: str = "main", outputs: dict[str, str] | None = None
    ) -> None:
        path = self.record.path(stage_named(stage), None)
        number = self.record.begin(path, stage_named(stage), None)
        self.record.end(path, number, code, "words", outputs or {}, container)
        self.record.end_stage(path)

    def reopened(self) -> imports.EmbeddedRun:
        run = imports.reopen(self.rundir)
        assert run is not None
        os.close(run.lock)
        return run


@pytest.fixture
def ended(tmp_path: Path) -> Ended:
    return Ended(tmp_path / "web")


def refused(ended: Ended) -> None:
    ended.end("build", Exit.STALE, "unchanged")
    ended.record.finish()


def restored(ended: Ended) -> None:
    ended.end("poweroff", Exit.POWER)
    ended.end("release-source", Exit.DONE, outputs={"restored": RESTORED})
    ended.record.finish()


def undone(ended: Ended) -> None:
    ended.end("build", Exit.DONE)
    assert ended.record.finish() is Phase.SUCCEEDED
    ended.record.undo()


@pytest.mark.parametrize("how", [refused, restored, undone])
def test_nothing_of_a_stale_run_is_kept(
    ended: Ended, how: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(how)
    how(ended)
    run = ended.reopened()
    assert [path for path in ended.copies if path.exists()] == []
    assert leaves(run.record.workflow) == ()
    plan = Plan.load(ended.rundir.request / PLAN)
    assert plan == a_plan().model_copy(update={"run": run.record.workflow["metadata"]["name"]})
    assert plan.run == f"{a_plan().run.removesuffix('-g1')}-g2"
    assert ended.rundir.credentials.exists()
    assert "a new run starts from preflight" in capsys.readouterr().err


def test_a_new_run_is_begun_again_if_it_was_killed_before_its_state_was_saved(
    ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(ended)
    with monkeypatch.context() as patch:
        patch.setattr(Record, "new", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stale.begin_again(ended.rundir, a_plan())
    assert leaves(ended.reopened().record.workflow) == ()


def test_another_failure_resumes_with_what_was_copied(ended: Ended) -> None:
    ended.end("poweroff", Exit.DONE)
    ended.end("build", Exit.CONFLICT)
    ended.end("release-source", Exit.DONE, outputs={"restored": '{"version": "1", "state": "nothing"}'})
    ended.record.finish()
    run = ended.reopened()
    assert all(path.exists() for path in ended.copies)
    assert [leaf.stage for leaf in leaves(run.record.workflow)] == ["poweroff"]
