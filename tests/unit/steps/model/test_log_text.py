"""A packed text in a log: it survives, and a forged log is refused."""

from __future__ import annotations

import random

import pytest

from steps.model.contract import Exit, StepError
from steps.model.log_text import MOST_LINES, from_lines, to_lines
from steps.model.machine_output import LONGEST_OUTPUT, from_output, to_output
from tests.unit.builders import a_machine


def noise(count: int) -> str:
    return random.Random(7).randbytes(count).hex()


@pytest.mark.parametrize("notes", ["", "ä{{workflow.name}}\n", noise(40_000)])
def test_a_description_survives(notes: str) -> None:
    machine = a_machine(notes=notes)
    log = ["{}", *to_lines(to_output(machine)), "an error"]
    assert from_output(from_lines("\r\n".join(log))) == machine


def test_the_last_text_of_a_log_counts() -> None:
    lines = [*to_lines("b2xk"), *to_lines("bmV3")]
    assert from_lines("\n".join(lines)) == "bmV3"


LINES = to_lines(to_output(a_machine(notes=noise(20_000))))


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["vmferry-document"],
        LINES[:-1],
        LINES[1:],
        ["vmferry-document 0/0 A"],
        ["vmferry-document 1/999 A"],
    ],
)
def test_a_log_without_the_whole_text_is_refused(lines: list[str]) -> None:
    with pytest.raises(StepError) as caught:
        from_lines("\n".join(lines))
    assert caught.value.code is Exit.CORRUPT


def test_lines_fit_into_one_entry_of_a_container_log() -> None:
    assert len(LINES) > 2
    assert max(map(len, LINES)) < 16 << 10
    assert len(to_lines("A" * LONGEST_OUTPUT)) == MOST_LINES
