"""docs/explanation/threats.yaml: every row is complete, and each of its tests exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from tests.unit.docs.test_docs import generator

ROOT: Final = Path(__file__).parents[3]
FILE: Final = ROOT / "docs" / "explanation" / "threats.yaml"
ROWS: Final[list[dict[str, Any]]] = YAML(typ="safe").load(FILE.read_text())
COVERED: Final = [
    (row["id"], name.split("::")[0], name.split("::")[-1]) for row in ROWS for name in row["tests"]
]


def test_every_row_is_complete() -> None:
    for row in ROWS:
        assert list(row) == ["id", "from", "threat", "defence", "tests"], row
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", row["id"])
        assert row["tests"], row["id"]


def test_every_threat_has_an_id_of_its_own() -> None:
    ids = [row["id"] for row in ROWS]
    assert sorted(ids) == sorted(set(ids))


def test_every_attacker_has_a_table() -> None:
    assert {row["from"] for row in ROWS} == set(generator().tables.ATTACKERS)


@pytest.mark.parametrize(("row", "file", "test"), COVERED)
def test_the_test_of_each_threat_exists(row: str, file: str, test: str) -> None:
    assert test in functions(ROOT / file), row


@cache
def functions(file: Path) -> frozenset[str]:
    nodes = ast.walk(ast.parse(file.read_text()))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef))
