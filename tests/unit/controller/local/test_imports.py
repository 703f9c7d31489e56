from __future__ import annotations

import asyncio
import io
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from controller.cli.watch import Watch
from controller.local import imports
from controller.local.imports import ImportResult
from controller.local.rundir import RunDir
from controller.manifests.resolve import Job
from steps.model.contract import Exit, StepError
from steps.model.plan import Plan
from steps.runtime.program import PLAN
from tests.unit.builders import a_plan
from tests.unit.controller.cli.test_view import a_leaf
from workflows.status.nodes import Phase, leaves


def job(name: str = "web", **plan: Any) -> Job:
    return Job(a_plan(name=name, **plan), {"password": b"p"})


def test_one_import_uses_the_folder_itself(tmp_path: Path) -> None:
    (run,) = imports.create([job()], tmp_path / "into")
    assert run.rundir.root == tmp_path / "into"
    assert Plan.load(run.rundir.request / PLAN) == job().plan
    assert [rundir.root for rundir in imports.find(tmp_path / "into")] == [tmp_path / "into"]


def test_several_imports_use_subfolders(tmp_path: Path) -> None:
    jobs = [job("a"), job("b"), job("b", namespace="shop")]
    runs = imports.create(jobs, tmp_path / "into")
    assert [run.rundir.root.name for run in runs] == ["a", "default-b", "shop-b"]
    assert {rundir.root for rundir in imports.find(tmp_path / "into")} == {run.rundir.root for run in runs}


def test_nothing_is_created_if_one_folder_is_in_use(tmp_path: Path) -> None:
    (tmp_path / "into" / "b").mkdir(parents=True)
    (tmp_path / "into" / "b" / "thesis").touch()
    with pytest.raises(StepError) as caught:
        imports.create([job("a"), job("b")], tmp_path / "into")
    assert caught.value.code is Exit.CONFLICT
    assert not (tmp_path / "into" / "a").exists()


def test_a_run_has_the_labels_of_its_import(tmp_path: Path) -> None:
    (run,) = imports.create([job()], tmp_path)
    found = run.record.workflow["metadata"]["labels"]
    assert found["migration.harvesterhci.io/import-namespace"] == "default"


def test_a_folder_is_for_one_runner(tmp_path: Path) -> None:
    imports.create([job()], tmp_path)
    with pytest.raises(StepError, match="in use by another vmferry process") as caught:
        imports.reopen(RunDir(tmp_path))
    assert caught.value.code is Exit.BUSY


@pytest.mark.parametrize(
    ("phase", "code", "wanted"),
    [(Phase.SUCCEEDED, None, 0), (Phase.FAILED, 13, 13), (Phase.FAILED, None, Exit.INTERNAL)],
)
def test_an_import_ends_with_the_code_of_the_failed_step(phase: Phase, code: int | None, wanted: int) -> None:
    cause = a_leaf(exit_code=code) if code else None
    assert ImportResult("web", Path("web"), phase, cause).code == wanted


def test_a_run_of_real_steps_reports_the_error_of_its_step(tmp_path: Path) -> None:
    """The only test with processes: there are no credentials, which preflight reports."""
    runs = imports.create([Job(job().plan, {})], tmp_path)
    console = Console(file=io.StringIO(), width=200)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Watch(console) as watch:
        (outcome,) = asyncio.run(imports.run_all(runs, watch, first_delay=0))
    assert (outcome.phase, outcome.code) == (Phase.FAILED, Exit.INVALID)
    assert outcome.cause is not None
    assert outcome.cause.step_message.startswith("the source's secret has no username")
    assert {leaf.title: leaf.phase for leaf in leaves(runs[0].rundir.load())}[
        "release-source"
    ] is Phase.SKIPPED
    assert (tmp_path / ".vmferry" / "logs" / "preflight.log").read_text()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
