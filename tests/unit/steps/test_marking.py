"""After a success the VM is marked at its source; an undo removes the mark before it starts the VM."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from steps import release_source
from steps.model.contract import Exit, NoAnswerError, StepError
from steps.model.machine import Power
from steps.model.plan import PowerPlan
from steps.model.restore import RESTORED, Restored, RestoreState
from steps.model.source_mark import MarkState, SourceMark
from steps.providers import outage
from steps.runtime.program import run_body
from steps.runtime.stop import Stop
from tests.unit.builders import a_machine, a_plan
from tests.unit.marks import FakeMarker, MarkedSource

MARK: Final = SourceMark(tag="moved", name_suffix="-imported", disconnect_nics=True)
DENIED: Final = StepError(Exit.DENIED, "cannot rename the VM", "a privilege is missing")


class End:
    """An import that has shut its VM down and then ended."""

    def __init__(self, folder: Path, mark: SourceMark = MARK, absent_tag: str = MARK.tag) -> None:
        self.source = MarkedSource(a_machine(name="web01", power=Power.ON))
        self.marks: FakeMarker = self.source.marks
        self._folders = {"request": folder / "request", "outputs": folder / "outputs", "scratch": folder}
        for path in self._folders.values():
            path.mkdir(exist_ok=True)
        plan = a_plan().model_copy(update={"mark": mark})
        source = plan.source.model_copy(update={"wait_seconds": 0})
        plan.model_copy(update={"source": source}).save(self._folders["request"] / "plan.json")
        machine = self.source.machine
        marked = machine.model_copy(
            update={"mark": self.source.power_mark(machine), "absent_tag": absent_tag}
        )
        marked.save(self._folders["request"] / "machine.json")
        self.source.power_off(machine, PowerPlan())

    def release(self, *options: str) -> Restored:
        argv = [part for name, path in self._folders.items() for part in (f"--{name}", str(path))]
        code = run_body(release_source.arguments(), release_source.body, [*argv, *options], Stop())
        assert code is Exit.DONE  # whatever happens: the VM at the target runs already
        return Restored.load(self._folders["outputs"] / RESTORED)


@pytest.fixture
def end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> End:
    made = End(tmp_path)
    monkeypatch.setattr(outage, "connect", made.source.connect)
    return made


@pytest.mark.parametrize(
    "options", [("--outcome", "Succeeded"), ("--outcome", "Failed", "--keep-off", "succeeded")]
)
def test_a_success_marks_the_vm(end: End, options: tuple[str, ...]) -> None:
    """Also in a repeated cleanup, whose own Workflow was stopped before it started."""
    restored = end.release(*options, "--halt", "Skipped")
    assert (restored.state, restored.mark) == (RestoreState.NOTHING, MarkState.MARKED)
    assert (end.marks.name, end.marks.tags, end.marks.connected) == ("web01-imported", {"moved"}, False)
    assert "name ends with -imported" in restored.mark_message
    assert not end.source.is_running


def test_a_second_run_changes_nothing_more(end: End) -> None:
    for _ in range(2):
        assert end.release("--outcome", "Succeeded").mark is MarkState.MARKED
    assert end.marks.name == "web01-imported"


@pytest.mark.parametrize(
    "options",
    [
        ("--outcome", "Failed", "--halt", "Succeeded"),
        ("--outcome", "Error"),
        (),
        ("--outcome", "Succeeded", "--keep-off", "true"),
    ],
)
def test_nothing_is_marked_otherwise(end: End, options: tuple[str, ...]) -> None:
    assert end.release(*options).mark is MarkState.NOTHING
    assert end.marks.done == []


def test_nothing_is_marked_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = End(tmp_path, SourceMark())
    monkeypatch.setattr(outage, "connect", end.source.connect)
    assert end.release("--outcome", "Succeeded") == Restored()
    assert end.marks.done == []


def test_only_the_wanted_parts_are_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = End(tmp_path, SourceMark(name_suffix="-old"))
    monkeypatch.setattr(outage, "connect", end.source.connect)
    end.release("--outcome", "Succeeded")
    assert end.marks.done == ["rename"]


def test_a_vm_that_runs_again_is_left_alone(end: End) -> None:
    """Somebody uses it: without its NICs it would be cut off."""
    end.source.start("alice")
    restored = end.release("--outcome", "Succeeded")
    assert restored.mark is MarkState.FAILED
    assert "runs at its source" in restored.mark_message
    assert end.marks.done == []


def test_a_part_that_fails_does_not_keep_the_others_back(end: End) -> None:
    end.marks.fails["connect_nics"] = DENIED
    restored = end.release("--outcome", "Succeeded")
    assert restored.mark is MarkState.FAILED
    assert "the NICs: cannot rename the VM: a privilege is missing" in restored.mark_message
    assert (end.marks.name, end.marks.tags, end.marks.connected) == ("web01-imported", {"moved"}, True)
    assert end.release("--outcome", "Succeeded").mark is MarkState.MARKED
    assert not end.marks.connected


def test_a_source_that_stops_answering_is_asked_again_later(end: End) -> None:
    end.marks.fails["rename"] = NoAnswerError(Exit.UNREACHABLE, "cannot rename the VM", "it does not answer")
    restored = end.release("--outcome", "Succeeded")
    assert restored.mark is MarkState.FAILED
    assert "could not be asked" in restored.mark_message


def test_the_suffix_is_never_cut() -> None:
    assert SourceMark(name_suffix="-imported").renamed("a" * 30, 20) == "a" * 11 + "-imported"


def test_an_undo_removes_the_mark_before_it_starts_the_vm(end: End) -> None:
    end.release("--outcome", "Succeeded")
    end.marks.done.clear()
    restored = end.release("--undo", "true", "--halt", "Succeeded")
    assert (restored.state, restored.mark) == (RestoreState.STARTED, MarkState.REMOVED)
    assert end.marks.done == ["connect_nics", "rename", "set_tag", "power_on"]
    assert (end.marks.name, end.marks.tags, end.marks.connected) == ("web01", set(), True)


@pytest.mark.parametrize("known", ["", "another"], ids=["had it", "another tag"])
def test_an_undo_keeps_a_tag_that_the_vm_may_have_had_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: str
) -> None:
    end = End(tmp_path, absent_tag=known)
    monkeypatch.setattr(outage, "connect", end.source.connect)
    end.release("--outcome", "Succeeded")
    restored = end.release("--undo", "true", "--halt", "Succeeded")
    assert (restored.state, restored.mark) == (RestoreState.STARTED, MarkState.REMOVED)
    assert restored.mark_message == "the tag moved stays, because the VM may have had it before the import"
    assert (end.marks.name, end.marks.tags, end.marks.connected) == ("web01", {"moved"}, True)


def test_a_vm_whose_mark_stays_is_not_started(end: End) -> None:
    end.release("--outcome", "Succeeded")
    end.marks.fails["connect_nics"] = DENIED
    restored = end.release("--undo", "true", "--halt", "Succeeded")
    assert restored.state is RestoreState.FAILED
    assert "its mark could not be removed" in restored.message
    assert not end.source.is_running
