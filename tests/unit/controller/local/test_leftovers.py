"""What an import on a computer left at its source, and that a step waits for it: a person reads both."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from controller.local.process import _report_progress
from tests.unit.controller.local.fakes import Import, exit_codes


@pytest.mark.parametrize(
    ("left", "warnings"),
    [
        (json.dumps(["snapshot a (1, in-use)"]), ["left at the source: snapshot a (1, in-use)"]),
        ("[]", []),
        ("null", []),
    ],
)
def test_leftovers_are_warnings_at_the_end(tmp_path: Path, left: str, warnings: list[str]) -> None:
    one = Import(tmp_path / "one")
    runner = one.runner(exit_codes(one.disks))
    one.launcher.outputs["release-source"] = {"left": left}
    asyncio.run(runner.run())
    assert [text for text in one.warnings if "left at" in text] == warnings


@pytest.mark.parametrize(
    ("text", "note", "reported"),
    [
        ("5/10\n", "", [(5, 10)]),
        ("waits for the source since 12:03\n5/10\n", "waits for the source since 12:03", [(5, 10)]),
        ("waits for the source since 12:03\n", "", []),  # half written
        ("", "", []),
    ],
)
def test_a_note_stands_above_the_progress(
    tmp_path: Path, text: str, note: str, reported: list[tuple[int, int]]
) -> None:
    file = tmp_path / "progress"
    file.write_text(text)
    seen: list[tuple[int, int]] = []
    assert _report_progress(file, lambda done, total: seen.append((done, total))) == note
    assert seen == reported
