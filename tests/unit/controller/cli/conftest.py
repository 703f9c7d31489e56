"""Shared by the tests of this folder: the command line, and imports in a folder.

Hypothesis uses the same examples on every computer and in every run, few enough for a suite of seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.cli import main
from controller.local.record import Record
from controller.local.rundir import RunDir
from steps.model.contract import Exit
from tests.unit.builders import a_plan
from tests.unit.controller.local.test_rundir import failed_at
from workflows.stages import stage_named


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


Vmferry = Callable[..., Ended]


@pytest.fixture
def vmferry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Vmferry:
    """The command line in an empty folder, without environment variables of its own."""
    for name in [name for name in os.environ if name == "VM_NAME" or name.startswith(("GOVC_", "OS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def call(*argv: str | Path) -> Ended:
        code = main.attempt([str(word) for word in argv])
        message = capsys.readouterr()
        return Ended(code, message.out, message.err)

    return call


def refused(ended: Ended, code: Exit, message: str) -> None:
    """Assert one line and this exit code."""
    assert ended.code == code
    assert ended.err.startswith(f"error: {message}")
    assert len(ended.err.splitlines()) == 1
    assert ended.out == ""


def failed(folder: Path) -> None:
    rundir = RunDir(folder)
    rundir.create(a_plan(), {})
    failed_at(rundir, "preflight", "poweroff")


def succeeded(folder: Path) -> None:
    rundir = RunDir(folder)
    rundir.create(a_plan(), {})
    record = Record.new(a_plan().run, {}, rundir.save)
    path = record.path(stage_named("build"), None)
    record.end(path, record.begin(path, stage_named("build"), None), 0, "", {})
    record.end_stage(path)
    record.finish()
