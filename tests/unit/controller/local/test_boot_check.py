"""`vmferry run` with a boot check: the last stage of the import, and what a person reads of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from steps.model.booting import BootResult, Verdict
from steps.model.contract import Exit
from steps.model.plan import BootCheckPlan, TargetKind
from tests.unit.controller.local.fakes import Import, exit_codes
from workflows.status.nodes import Phase


@pytest.fixture
def one(tmp_path: Path) -> Import:
    return Import(tmp_path / "one", target=TargetKind.KUBEVIRT, boot_check=BootCheckPlan())


def test_it_is_the_last_stage(one: Import) -> None:
    assert one.run() is Phase.SUCCEEDED
    events = one.launcher.events
    assert events.index(("end", "start")) < events.index(("begin", "check"))


def test_without_the_wish_it_does_not_run(tmp_path: Path) -> None:
    one = Import(tmp_path / "one", target=TargetKind.KUBEVIRT)
    assert one.run() is Phase.SUCCEEDED
    assert "check" not in one.launcher.began


def test_a_guest_that_does_not_boot_fails_the_import_and_a_retry_repeats_only_the_check(one: Import) -> None:
    assert one.run(check=[Exit.UNSUPPORTED]) is Phase.FAILED
    assert one.leaf("start").phase is Phase.SUCCEEDED
    one.reopen()
    assert asyncio.run(one.runner({"check": [0], "release-source": [0]}).run()) is Phase.SUCCEEDED
    assert one.launcher.began == ["check", "release-source"]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (BootResult(verdict=Verdict.BOOTED, message="its agent is connected"), []),
        (
            BootResult(verdict=Verdict.UNKNOWN, message="nothing proves it"),
            ["boot check: nothing proves it"],
        ),
        (
            BootResult(verdict=Verdict.SILENT, message="it has sent nothing"),
            ["boot check: it has sent nothing; check the network of the guest"],
        ),
    ],
)
def test_what_a_person_should_know_is_shown(one: Import, result: BootResult, words: list[str]) -> None:
    runner = one.runner(exit_codes(one.disks, TargetKind.KUBEVIRT, None, BootCheckPlan()))
    one.launcher.outputs = {"check": {"booted": result.to_json()}}
    assert asyncio.run(runner.run()) is Phase.SUCCEEDED
    assert [line for line in one.warnings if line.startswith("boot check")] == words
