"""The end of an import at its source: what is held is released, then the VM is started if that is due."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps import release_source
from steps.model import leftovers
from steps.model.contract import Exit
from steps.model.machine import Power
from steps.model.plan import OnFailure, PowerPlan
from steps.model.restore import RESTORED, Restored, RestoreState
from steps.providers import outage
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

    def release(self, *options: str) -> Restored:
        folders = {"request": self.request, "outputs": self.outputs, "scratch": self._folder}
        argv = [part for name, path in folders.items() for part in (f"--{name}", str(path))]
        assert (
            run_body(release_source.arguments(), release_source.body, [*argv, *options], Stop()) is Exit.DONE
        )
        return Restored.load(self.outputs / RESTORED)


@pytest.fixture
def end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> End:
    made = End(tmp_path)
    monkeypatch.setattr(outage, "connect", made.source.connect)
    return made


@pytest.mark.parametrize("halted", ["Succeeded", "Skipped"])
def test_the_vm_runs_again_after_a_failure(end: End, halted: str) -> None:
    assert end.release("--outcome", "Failed", "--halt", halted).state is RestoreState.STARTED
    assert end.source.is_running


@pytest.mark.parametrize("halted", ["Failed", "Error", "Omitted", "Pending", ""])
def test_it_stays_off_unless_the_vm_at_the_target_is_stopped(end: End, halted: str) -> None:
    restored = end.release("--outcome", "Failed", "--halt", halted)
    assert restored.state is RestoreState.FAILED
    assert "could not be stopped" in restored.message
    assert not end.source.is_running


def test_it_stays_off_after_a_success(end: End) -> None:
    assert end.release("--outcome", "Succeeded", "--halt", "Skipped") == Restored()
    assert not end.source.is_running


def test_it_stays_off_with_keep_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = End(tmp_path, OnFailure.KEEP_OFF)
    monkeypatch.setattr(outage, "connect", end.source.connect)
    assert end.release("--outcome", "Failed", "--halt", "Succeeded") == Restored()
    assert not end.source.is_running


def test_undo_starts_it_after_a_success(end: End) -> None:
    assert end.release("--undo", "true", "--halt", "Succeeded").state is RestoreState.STARTED


def test_a_source_that_does_not_answer_is_reported(end: End) -> None:
    end.source.down = UNREACHABLE
    restored = end.release("--outcome", "Failed", "--halt", "Succeeded")
    assert restored.state is RestoreState.FAILED
    assert "may be off" in restored.message
    assert leftovers.from_text((end.outputs / leftovers.OUTPUT).read_text()) is None


def test_a_repeated_cleanup_of_an_import_that_succeeded_starts_nothing(end: End) -> None:
    """Its Workflow is stopped before it starts, so the outcome that it sees is a failure."""
    assert end.release("--outcome", "Failed", "--halt", "Skipped", "--keep-off", "true") == Restored()
    assert not end.source.is_running
    assert leftovers.from_text((end.outputs / leftovers.OUTPUT).read_text()) == ()


def test_without_a_described_vm_there_is_nothing_to_start(end: End) -> None:
    (end.request / "machine.json").unlink()
    assert end.release("--outcome", "Failed", "--halt", "Succeeded") == Restored()
