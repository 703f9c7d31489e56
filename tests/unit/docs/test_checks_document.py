"""docs/reference/checks.md matches the code: each finding has its row, each row is made somewhere."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from steps.targets.checks.catalogue import CHECKS

ROOT: Final = Path(__file__).parents[3]
TARGETS: Final = ROOT / "steps" / "targets"
MAKERS: Final = {"passed", "warned", "not_checked", "record", "dry_run"}
PLACES: Final = {"disk": "DISK", "disk.id": "DISK", "name": "CLASS", "destination": "NETWORK"}
"""What the variables in the name of a check stand for."""


def made() -> Iterator[str]:
    """The name of the check in each call that makes a finding or records a refusal."""
    for path in sorted(TARGETS.rglob("*.py")):
        tree = ast.parse(path.read_text())
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        everywhere = dict(pair for node in tree.body for pair in assigned(node))
        for function in functions:
            yield from made_in(function, everywhere | dict(assigned(function)))


def made_in(function: ast.FunctionDef, constants: dict[str, ast.expr]) -> Iterator[str]:
    """The names in the calls of one function."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and node.args and called(node) in MAKERS:
            first = node.args[0]
            value = constants.get(first.id, first) if isinstance(first, ast.Name) else first
            if (text := name_of(value)) is not None:
                yield text


def assigned(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Names and their values."""
    for node in [tree] if isinstance(tree, ast.Assign | ast.AnnAssign) else ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            yield from ((target.id, node.value) for target in targets if isinstance(target, ast.Name))


def called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def name_of(value: ast.expr | None) -> str | None:
    """The text of a constant or an f-string, with words for its variables; None for anything else."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    if not isinstance(value, ast.JoinedStr):
        return None
    parts = [
        part.value if isinstance(part, ast.Constant) else PLACES[ast.unparse(part.value)]  # type: ignore[attr-defined]
        for part in value.values
    ]
    return "".join(map(str, parts))


def test_every_finding_has_its_row_and_every_row_its_finding() -> None:
    assert sorted(set(made())) == sorted(check.name for check in CHECKS)


def test_every_right_that_a_check_needs_is_granted_by_the_chart() -> None:
    granted = json.loads((ROOT / "docs" / "reference" / "rights.json").read_text())["now"]["vmferry-target"]
    rights = {
        f"{verb} {re.sub(r' .*', '', resource)}"
        for place in granted.values()
        for resource, verbs in place.items()
        for verb in verbs.split()
    }
    # The right on volumes is granted only with a value of the chart.
    needed = {right for check in CHECKS for right in check.reads} - {"get persistentvolumes"}
    assert needed <= rights


def test_every_check_may_refuse_or_warn() -> None:
    assert [check.name for check in CHECKS if not check.refuses and not check.warns] == []
