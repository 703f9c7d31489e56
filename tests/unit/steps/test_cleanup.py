"""The end of an import at its source: what is held is released, then the VM is started if that is due."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps import cleanup
from steps.model.contract import Exit
from steps.model.machine import Power
from steps.model.plan import OnFailure, PowerPlan
from steps.model.restore import RESTORED, Restored, RestoreState
from steps.runtime.program import run_body
from steps.runtime.stop import Stop
from tests.unit.builders import a_machine, a_plan
from tests.unit.power import UNREACHABLE, PowerSource


class End:
    """An import that has shut its VM down and then ended."""

    def __init__(self, folder: Path, on_failure: OnFailure = OnFailure.RESTORE_POWER) -> None:
        self.source = PowerSource(a_machine(power=Power.ON))
        self.request, self.outputs = folder / "request", folder / "outputs"
        for path in (self.request, self.outputs):
            path.mkdir()
        a_plan().model_copy(update={"on_failure": on_failure}).save(self.request / "plan.json")
        machine = self.source.machine
        marked = machine.model_copy(update={"mark": self.source.power_mark(machine)})
        marked.save(self.request / "machine.json")
        self.source.power_off(machine, PowerPlan())
        self._folder = folder

    def cleanup(self, *options: str) -> Restored:
        folders = {"request": self.request, "outputs": self.outputs, "scratch": self._folder}
        argv = [part for name, path in folders.items() for part in (f"--{name}", str(path))]
        assert run_body(cleanup.arguments(), cleanup.body, [*argv, *options], Stop()) is Exit.DONE
        return Restored.load(self.outputs / RESTORED)


@pytest.fixture
def end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> End:
    made = End(tmp_path)
    monkeypatch.setattr(cleanup, "connect", made.source.connect)
    return made


@pytest.mark.parametrize("halted", ["Succeeded", "Skipped"])
def test_the_vm_runs_again_after_a_failure(end: End, halted: str) -> None:
    assert end.cleanup("--outcome", "Failed", "--halt", halted).state is RestoreState.STARTED
    assert end.source.is_running


@pytest.mark.parametrize("halted", ["Failed", "Error", "Omitted", "Pending", ""])
def test_it_stays_off_unless_the_vm_at_the_target_is_stopped(end: End, halted: str) -> None:
    restored = end.cleanup("--outcome", "Failed", "--halt", halted)
    assert restored.state is RestoreState.FAILED
    assert "could not be stopped" in restored.message
    assert not end.source.is_running


def test_it_stays_off_after_a_success(end: End) -> None:
    assert end.cleanup("--outcome", "Succeeded", "--halt", "Skipped") == Restored()
    assert not end.source.is_running


def test_it_stays_off_with_keep_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = End(tmp_path, OnFailure.KEEP_OFF)
    monkeypatch.setattr(cleanup, "connect", end.source.connect)
    assert end.cleanup("--outcome", "Failed", "--halt", "Succeeded") == Restored()
    assert not end.source.is_running


def test_undo_starts_it_after_a_success(end: End) -> None:
    assert end.cleanup("--undo", "true", "--halt", "Succeeded").state is RestoreState.STARTED


def test_a_source_that_does_not_answer_is_reported(end: End) -> None:
    end.source.down = UNREACHABLE
    restored = end.cleanup("--outcome", "Failed", "--halt", "Succeeded")
    assert restored.state is RestoreState.FAILED
    assert "may be off" in restored.message


def test_without_a_described_vm_there_is_nothing_to_start(end: End) -> None:
    (end.request / "machine.json").unlink()
    assert end.cleanup("--outcome", "Failed", "--halt", "Succeeded") == Restored()
