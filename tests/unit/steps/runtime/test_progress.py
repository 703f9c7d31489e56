from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.model.contract import PROGRESS_FILE_ENV
from steps.runtime.progress import INTERVAL, Progress


class Clock:
    """A clock that advances only when it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Reported:
    """A progress and its reports so far."""

    def __init__(self, total: int = 0) -> None:
        self.clock, self.stream = Clock(), io.StringIO()
        self.progress = Progress(total, stream=self.stream, clock=self.clock)

    def later(self, done: int, total: int | None = None) -> None:
        self.clock.now += INTERVAL
        self.progress.update(done, total)

    @property
    def reports(self) -> list[tuple[int, int]]:
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        assert all(line["event"] == "progress" for line in lines)
        return [(line["done"], line["total"]) for line in lines]


def test_the_first_report_is_immediate_and_the_next_after_the_interval() -> None:
    it = Reported(total=100)
    it.progress.update(10)
    it.clock.now = INTERVAL * 0.99
    it.progress.update(20)
    it.later(30)
    assert it.reports == [(10, 100), (30, 100)]


def test_progress_never_goes_back() -> None:
    it = Reported(total=100)
    it.later(50)
    it.later(20)
    assert it.reports == [(50, 100), (50, 100)]


def test_the_total_grows_with_the_progress() -> None:
    it = Reported(total=10)
    it.later(30)
    assert it.reports == [(30, 30)]


def test_a_better_total_is_used() -> None:
    it = Reported(total=10)
    it.later(5, 40)
    it.later(6)
    assert it.reports == [(5, 40), (6, 40)]


def test_an_unknown_total_is_at_least_one() -> None:
    it = Reported()
    it.later(0)
    assert it.reports == [(0, 1)]


def test_the_end_is_always_reported_and_complete() -> None:
    it = Reported(total=100)
    it.progress.update(60)
    it.progress.update(70)
    it.progress.finish()
    assert it.reports == [(60, 100), (70, 70)]


def test_an_empty_task_is_reported_as_complete() -> None:
    it = Reported()
    it.progress.finish()
    assert it.reports == [(1, 1)]


@given(st.lists(st.tuples(st.integers(0, 100), st.one_of(st.none(), st.integers(0, 100)))))
def test_every_report_is_valid_for_argo(updates: list[tuple[int, int | None]]) -> None:
    it = Reported()
    for done, total in updates:
        it.later(done, total)
    it.progress.finish()
    done_ = [done for done, _ in it.reports]
    assert done_ == sorted(done_)
    assert all(0 <= done <= total and total > 0 for done, total in it.reports)


def test_the_file_contains_the_last_report_for_argo(tmp_path: Path) -> None:
    progress = Progress(100, file=tmp_path / "progress", clock=Clock())
    progress.update(7)
    assert (tmp_path / "progress").read_text() == "7/100\n"


class Full(io.StringIO):
    """A stream on a full filesystem."""

    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_filesystem_is_ignored(tmp_path: Path) -> None:
    Progress(file=tmp_path / "missing" / "progress").update(1)
    Progress(stream=Full()).finish()


def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROGRESS_FILE_ENV, str(tmp_path / "progress"))
    Progress.from_environment(2).update(1)
    assert (tmp_path / "progress").read_text() == "1/2\n"
    monkeypatch.delenv(PROGRESS_FILE_ENV)
    Progress.from_environment(2).update(2)
    assert (tmp_path / "progress").read_text() == "1/2\n"
