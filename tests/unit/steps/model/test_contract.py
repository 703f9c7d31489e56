from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.model.contract import Exit, StepError, is_retryable


def test_only_done_permanent_sibling_and_stale_codes_are_not_retried() -> None:
    assert [code for code in range(256) if not is_retryable(code)] == [0, *range(10, 22)]


@pytest.mark.parametrize("code", Exit)
def test_no_code_collides_with_those_of_argo(code: Exit) -> None:
    assert code not in (64, 65)
    assert code.permanent is (10 <= code <= 19 or code is Exit.STALE)


def test_an_error_names_what_failed_why_and_what_to_do() -> None:
    assert str(StepError(Exit.INVALID, "no disk", "it is gone", "add one")) == "no disk: it is gone; add one"
    assert str(StepError(Exit.INVALID, "no disk", remedy="add one")) == "no disk; add one"
    assert str(StepError(Exit.INVALID, "no disk")) == "no disk"


@given(st.text(), st.text(), st.text())
def test_an_error_is_one_line(what: str, why: str, remedy: str) -> None:
    line = str(StepError(Exit.INVALID, what, why, remedy))
    assert len(line.splitlines()) <= 1
    assert line.isprintable()  # a name from a foreign file cannot control the terminal
