from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steps.model.contract import LAST_WORDS_LIMIT, TERMINATION_LOG_ENV, Exit, StepError, Stopped
from steps.model.machine import Machine
from steps.runtime.program import PARENT_ENV, Arguments, Context, follow_parent, run_body
from steps.runtime.stop import Stop
from tests.unit.builders import a_machine, a_plan

Body = Callable[[Context], None]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "words"
    monkeypatch.setenv(TERMINATION_LOG_ENV, str(path))
    return path


def ended(body: Body, *argv: str) -> Exit:
    return run_body(Arguments("fly", "fly away"), body, argv, Stop())


def raising(error: BaseException) -> Body:
    def body(_context: Context) -> None:
        raise error

    return body


def test_a_successful_step_has_no_last_words(words: Path) -> None:
    assert ended(lambda _: None) is Exit.DONE
    assert not words.exists()


@pytest.mark.parametrize("code", [code for code in Exit if code is not Exit.DONE])
def test_an_error_of_a_step_becomes_its_code_and_line(words: Path, code: Exit) -> None:
    assert ended(raising(StepError(code, "no lease", "the host\nis busy", "wait"))) is code
    assert words.read_text() == "no lease: the host is busy; wait\n"


def test_a_stop_is_reported_and_retried(words: Path) -> None:
    assert ended(raising(Stopped())) is Exit.STOPPED
    assert words.read_text().startswith("stopped on request;")


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("x"), OSError(28, "full"), RuntimeError()])
def test_other_errors_are_internal_errors(words: Path, error: Exception) -> None:
    assert ended(raising(error)) is Exit.INTERNAL
    assert words.read_text().startswith(f"a fault in vmferry itself: {type(error).__name__}: ")


def test_the_last_words_about_a_fault_are_one_line(words: Path) -> None:
    ended(raising(ValueError("first\nsecond")))
    assert len(words.read_text().splitlines()) == 1


def test_last_words_are_cut_between_characters(words: Path) -> None:
    ended(raising(ValueError("ü" * 5000)))
    assert set(words.read_text().strip().partition(": ValueError: ")[2]) == {"ü"}
    assert LAST_WORDS_LIMIT - 2 <= len(words.read_bytes()) <= LAST_WORDS_LIMIT


def test_last_words_fit_where_kubernetes_reads_them(words: Path) -> None:
    ended(raising(StepError(Exit.INVALID, "x" * 5000)))
    assert len(words.read_bytes()) <= LAST_WORDS_LIMIT


def test_the_exit_code_is_kept_if_the_words_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TERMINATION_LOG_ENV, str(tmp_path / "missing" / "words"))
    assert ended(raising(StepError(Exit.DENIED, "no"))) is Exit.DENIED


@pytest.mark.parametrize("argv", [("--colour", "red"), ("stray",), ("--request",)])
def test_a_wrong_command_line_is_permanent(words: Path, argv: tuple[str, ...]) -> None:
    assert ended(lambda _: None, *argv) is Exit.INVALID
    assert "see python -m steps.fly --help" in words.read_text()


def test_help_is_not_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        ended(lambda _: None, "--help")
    assert caught.value.code == 0
    assert "python -m steps.fly" in capsys.readouterr().out


def context(folder: Path) -> Context:
    seen: list[Context] = []
    options = ("request", "scratch", "credentials", "into", "outputs")
    argv = [text for name in options for text in (f"--{name}", str(folder / name))]
    assert ended(seen.append, *argv) is Exit.DONE
    return seen[0]


def test_the_command_line_sets_the_folders(tmp_path: Path) -> None:
    given: Any = context(tmp_path)
    for name in ("request", "scratch", "credentials", "into", "outputs"):
        assert getattr(given, name) == tmp_path / name


def test_the_folders_of_a_pod_are_the_default() -> None:
    seen: list[Context] = []
    ended(seen.append)
    assert [str(path) for path in (seen[0].request, seen[0].scratch, seen[0].credentials, seen[0].into)] == [
        "/request",
        "/scratch",
        "/run/source",
        "/target",
    ]


def test_the_request_is_read_on_demand(tmp_path: Path, words: Path) -> None:
    given = context(tmp_path)
    given.request.mkdir()
    a_plan().save(given.request / "plan.json")
    a_machine().save(given.request / "machine.json")
    assert given.plan() == a_plan()
    assert given.machine() == Machine.load(given.request / "machine.json")
    assert not words.exists()


def asking_for_the_plan(given: Context) -> None:
    given.plan()


def test_a_missing_request_is_reported(tmp_path: Path, words: Path) -> None:
    assert ended(asking_for_the_plan, "--request", str(tmp_path)) is Exit.INVALID
    assert words.read_text().startswith("plan.json is missing")


def test_a_step_without_a_parent_does_not_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop()
    monkeypatch.delenv(PARENT_ENV, raising=False)
    follow_parent(stop)
    assert not stop.is_set()
