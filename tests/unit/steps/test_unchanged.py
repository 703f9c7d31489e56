"""Proves that a VM was not started at its source since its disks were copied."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps import poweroff, unchanged
from steps.model.contract import TERMINATION_LOG_ENV, Exit, StepError
from steps.model.power import POWER, PowerRecord
from steps.providers import outage
from steps.runtime.program import run_body
from steps.runtime.stop import Stop
from tests.unit.builders import a_machine, a_plan
from tests.unit.power import UNREACHABLE, PowerSource


class Step:
    """The folders of a step, and a source."""

    def __init__(self, folder: Path, source: PowerSource) -> None:
        self.request, self.outputs, self.source = folder / "request", folder / "outputs", source
        for path in (self.request, self.outputs, folder / "scratch"):
            path.mkdir()
        a_plan().save(self.request / "plan.json")
        source.machine.save(self.request / "machine.json")
        self._folder = folder

    def power_off(self) -> None:
        """Run poweroff; its document becomes part of the request, as in a run."""
        assert self._run(poweroff) is Exit.DONE
        (self.outputs / POWER).rename(self.request / POWER)

    def check(self) -> Exit:
        return self._run(unchanged)

    def _run(self, module: object) -> Exit:
        folders = {"request": self.request, "outputs": self.outputs, "scratch": self._folder / "scratch"}
        argv = [part for name, path in folders.items() for part in (f"--{name}", str(path))]
        return run_body(module.arguments(), module.body, argv, Stop())  # type: ignore[attr-defined]

    @property
    def words(self) -> str:
        return (self._folder / "words").read_text()


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Step:
    source = PowerSource(a_machine())
    monkeypatch.setattr(outage, "connect", source.connect)
    monkeypatch.setenv(TERMINATION_LOG_ENV, str(tmp_path / "words"))
    return Step(tmp_path, source)


def test_a_vm_that_stays_off_may_be_built(step: Step) -> None:
    step.power_off()
    assert step.check() is Exit.DONE
    assert step.check() is Exit.DONE


def test_a_vm_that_was_off_before_the_import_may_be_built(step: Step) -> None:
    step.source.stop("alice")
    step.power_off()
    assert step.check() is Exit.DONE


def test_a_start_before_the_shutdown_does_not_count(step: Step) -> None:
    step.source.stop("alice")
    step.source.start("alice")
    step.power_off()
    assert step.check() is Exit.DONE


@pytest.mark.parametrize("is_off_again", [False, True])
def test_a_vm_that_was_started_is_stale_also_when_it_is_off_again(step: Step, is_off_again: bool) -> None:
    step.power_off()
    step.source.start("alice")
    if is_off_again:
        step.source.stop("alice")
    assert step.check() is Exit.STALE
    assert "alice started it" in step.words
    assert "retry=true" in step.words
    assert "from preflight" in step.words


def test_a_source_that_does_not_answer_proves_nothing_and_is_asked_again(step: Step) -> None:
    step.power_off()
    step.source.down = UNREACHABLE
    assert step.check() is Exit.UNREACHABLE


def test_a_vm_that_was_deleted_is_stale(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    step.power_off()

    def deleted(*_: object) -> str:
        raise StepError(Exit.NOT_FOUND, "cannot read the VM", "it was deleted")

    monkeypatch.setattr(step.source, "was_started_since", deleted)
    assert step.check() is Exit.STALE
    assert "it was deleted" in step.words


def test_a_run_without_a_record_is_stale(step: Step) -> None:
    assert step.check() is Exit.STALE
    assert "an earlier version of vmferry began this run" in step.words


def test_a_damaged_record_is_refused(step: Step) -> None:
    (step.request / POWER).write_text("{")
    assert step.check() is Exit.INVALID


def test_the_reason_is_short_and_cannot_control_a_terminal(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    step.power_off()
    reason = "\x1b[31m" + "a" * 5000
    monkeypatch.setattr(step.source, "was_started_since", lambda *_: reason)
    assert step.check() is Exit.STALE
    assert len(step.words) < 1000
    assert "\x1b" not in step.words


def test_the_record_survives_another_version_of_the_document(step: Step) -> None:
    step.power_off()
    record = PowerRecord.load(step.request / POWER)
    assert PowerRecord.model_validate_json(record.to_json()) == record
