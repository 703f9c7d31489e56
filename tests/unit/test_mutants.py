"""`make mutants`: what is mutated, and what is reported."""

from __future__ import annotations

import tomllib

import pytest

from tests.mutants import score, tree
from tests.mutants.score import Mutant

FILES = ["Makefile", "charts/a.py", "steps/a.py", "steps/a.txt", "steps/sub/b.py", "stepson.py", "tests/c.py"]


@pytest.mark.parametrize(
    ("place", "modules"),
    [
        ("steps", ["steps/a.py", "steps/sub/b.py"]),
        ("steps/sub/", ["steps/sub/b.py"]),
        ("steps/a.py", ["steps/a.py"]),
    ],
)
def test_a_place_is_a_module_or_a_folder(place: str, modules: list[str]) -> None:
    assert tree.modules(FILES, "main", [place]) == modules


def test_the_modules_changed_since_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "changed", lambda since: {since, "steps/a.py", "tests/c.py"})
    assert tree.modules(FILES, "steps/sub/b.py", []) == ["steps/a.py", "steps/sub/b.py"]


@pytest.mark.parametrize("place", ["tests", "charts", "steps/a.txt", "step"])
def test_only_modules_of_the_product_are_mutated(place: str) -> None:
    with pytest.raises(tree.NothingToMutateError, match=f"is at {place}$"):
        tree.modules(FILES, "main", [place])


def test_the_copy_has_every_file() -> None:
    added = tomllib.loads(tree.settings([*FILES, "pyproject.toml"], ["steps/a.py"], ["tests/unit"]))
    settings = added["tool"]["mutmut"]
    assert settings["only_mutate"] == ["steps/a.py"]
    assert settings["also_copy"] == ["Makefile", "charts", "stepson.py"]
    assert settings["pytest_add_cli_args_test_selection"][0] == "tests/unit"


def mutants(**verdicts: int) -> list[Mutant]:
    return [
        Mutant("steps/model/a.py", f"{verdict}{number}", verdict.replace("_", " "))
        for verdict, count in verdicts.items()
        for number in range(count)
    ]


def test_the_score_counts_what_a_test_notices() -> None:
    several = [
        *mutants(killed=5, timeout=1, survived=1, no_tests=1, not_checked=8),
        Mutant("steps/b.py", "b", "killed"),
    ]
    assert [line.split() for line in score.table(several).splitlines()] == [
        ["package", "mutants", "killed", "timeout", "survived", "no", "tests", "score"],
        ["steps", "1", "1", "0", "0", "0", "100.0", "%"],
        ["steps/model", "8", "5", "1", "1", "1", "75.0", "%"],
        ["all", "9", "6", "1", "1", "1", "77.8", "%"],
    ]


def test_what_is_shown_is_what_no_test_noticed() -> None:
    shown = score.unnoticed(mutants(killed=1, timeout=1, survived=1, no_tests=1, suspicious=1, not_checked=1))
    assert [mutant.verdict for mutant in shown] == ["survived", "suspicious"]
