"""A program that fails or is missing ends the release with a message."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from images.release.errors import ReleaseError
from images.release.programs import LINES, run


def test_the_output_is_returned(tmp_path: Path) -> None:
    program = "import os; print(os.getcwd(), os.environ['ONE'])"
    assert run([sys.executable, "-c", program], "no", tmp_path, {"ONE": "1"}) == f"{tmp_path} 1\n"


def test_a_failure_shows_the_end_of_the_output() -> None:
    program = "import sys; [print(f'line {n}', file=sys.stderr) for n in range(100)]; sys.exit(3)"
    with pytest.raises(ReleaseError, match=r"\Athe build failed: line 80\n(?s:.*)line 99\Z") as caught:
        run([sys.executable, "-c", program], "the build failed")
    assert str(caught.value).count("line") == LINES


def test_a_missing_program_has_a_remedy() -> None:
    with pytest.raises(
        ReleaseError, match=r"the build failed: no-such-program is missing; docs/contributing/"
    ):
        run(["no-such-program"], "the build failed")
