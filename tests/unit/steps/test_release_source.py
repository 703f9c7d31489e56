"""The release of the source ends with success and reports what it could not release (finding F8)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from steps import release_source
from steps.model import leftovers
from steps.model.contract import Exit, NoAnswerError, StepError
from steps.model.restore import RESTORED
from steps.runtime.program import PLAN, Context, run_body
from steps.runtime.stop import Stop
from tests.unit.builders import a_plan
from workflows.stages import RELEASE_SOURCE, stage_named


@pytest.fixture(autouse=True)
def _request(tmp_path: Path) -> None:
    a_plan().save(tmp_path / PLAN)


def left_after(folder: Path, monkeypatch: pytest.MonkeyPatch, release: Callable[[], list[str]]) -> str:
    def with_source(context: Context, step: str, use: Callable[[Any], Any]) -> Any:
        assert step == "release-source"
        return use(SimpleNamespace(release=release))

    monkeypatch.setattr(release_source, "with_source", with_source)
    folders = [word for name in ("request", "outputs") for word in (f"--{name}", str(folder))]
    assert run_body(release_source.arguments(), release_source.body, folders, Stop()) is Exit.DONE
    return (folder / leftovers.OUTPUT).read_text()


def raising(error: Exception) -> Callable[[], list[str]]:
    def release() -> list[str]:
        raise error

    return release


def test_a_clean_source_is_an_empty_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert leftovers.from_text(left_after(tmp_path, monkeypatch, list)) == ()


def test_leftovers_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = ["snapshot a (1, in-use)", "image b (2, active)"]
    assert leftovers.from_text(left_after(tmp_path, monkeypatch, lambda: left)) == tuple(left)


@pytest.mark.parametrize(
    "error",
    [
        NoAnswerError(Exit.UNREACHABLE, "no answer"),
        StepError(Exit.DENIED, "no"),
        StepError(Exit.BUSY, "later"),
    ],
)
def test_a_source_that_could_not_be_asked_is_not_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: StepError
) -> None:
    assert leftovers.from_text(left_after(tmp_path, monkeypatch, raising(error))) is None


def test_the_result_is_an_output_of_the_stage_whose_default_is_not_clean() -> None:
    assert stage_named(RELEASE_SOURCE).outputs == (leftovers.OUTPUT, RESTORED)
    assert leftovers.from_text("") is None
