"""What a parser must not do is detected and saved, and can be repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import __main__ as command
from tests.fuzz.case import Case
from tests.fuzz.rogue import ACTS

ROGUE = "tests.fuzz.rogue:Rogue"
SAYS = {
    "crash": "KeyError: 'key'",
    "reads": "Outside: open '/etc/hostname'",
    "writes": "Outside: open '../escaped'",
    "renames": "Outside: os.rename",
    "runs": "Outside: runs ['true']",
    "canary": "outside its folder: [\"canary 'secret' touched",
    "connects": "Outside: socket",
    "memory": "MemoryError",
    "at length": "an error of",
    "wrong": "Wrong: it is another disk",
    "dies": "the process ended with -6",
}


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "KEPT", tmp_path)
    return tmp_path


def result_of(act: str, folder: Path) -> command.Result:
    case = folder / "one.case"
    Case(ROGUE, b"", {"act": act}).save(case)
    return command.fuzz(ROGUE, "replay", str(case))


@pytest.mark.parametrize("act", ACTS)
def test_every_forbidden_act_is_detected_and_saved(act: str, tmp_path: Path, kept: Path) -> None:
    result = result_of(act, tmp_path)
    assert result.good is (act not in SAYS)
    assert SAYS.get(act, "CORRUPT no good") in result.text
    if act in SAYS:
        (again,) = set(kept.glob("*.case")) - {tmp_path / "one.case"}
        assert Case.load(again).options == {"act": act}
        assert f"--replay {again}" in result.text


def test_a_run_depends_only_on_its_seed(kept: Path) -> None:
    one, two, other = (command.fuzz(ROGUE, "12n", seed) for seed in ("1", "1", "2"))
    assert outcomes(one) == outcomes(two) != outcomes(other)


def outcomes(result: command.Result) -> list[str]:
    return sorted(line for line in result.text.splitlines() if line.startswith("   "))


def test_too_few_branches_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "BRANCHES", 0.99)
    result = command.fuzz("vmdk", "5n", "1")
    assert not result.good
    assert "fewer than 99% of the branches" in result.text
