"""docs/reference/mapping.md matches the code: every deviation has its test, every concern its line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[3]
TEXT: Final = (ROOT / "docs" / "reference" / "mapping.md").read_text()
NAMES: Final = {
    "vmware": "VMware",
    "openstack": "OpenStack",
    "ova": "OVA",
    "ovirt": "oVirt",
    "kubevirt": "KubeVirt",
}
WEIGHTS: Final = {"block", "warn", "log"}
HELD: Final = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)


def rows(title: str) -> list[list[str]]:
    """The cells of the table after a title, without its head."""
    section = TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(("file", "test"), HELD)
def test_the_test_of_each_deviation_exists(file: str, test: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    assert test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_deviation_has_a_test() -> None:
    found = rows("Deliberate deviations from vm-import-controller")
    assert len(found) > 10
    assert [row[0] for row in found if not re.fullmatch(r"`tests/[\w/]+\.py::\w+`", row[3])] == []


def used() -> Iterator[tuple[str, str, str]]:
    """(code, severity, source) of each concern that the steps make; the severity is "" if it depends."""
    for path in sorted((ROOT / "steps").rglob("*.py")):
        provider = path.relative_to(ROOT / "steps").parts
        source = NAMES[provider[1]] if provider[0] == "providers" and len(provider) > 2 else "every"
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                for code, weight in concern(node, node.func.id.lstrip("_")):
                    yield code, weight, source


def concern(call: ast.Call, name: str) -> Iterator[tuple[str, str]]:
    if name in WEIGHTS and call.args and isinstance(call.args[0], ast.Constant):
        yield str(call.args[0].value), name
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if name == "Concern" and isinstance(code := given.get("code"), ast.Constant):
        weight = given.get("severity")
        yield str(code.value), weight.attr.lower() if isinstance(weight, ast.Attribute) else ""


def test_every_concern_has_its_line() -> None:
    found: dict[str, tuple[set[str], set[str]]] = {}
    for code, weight, source in used():
        weights, sources = found.setdefault(code, (set(), set()))
        weights |= {weight} - {""}
        sources.add(source)
    documented = {row[0]: (set(row[1].split(", ")), set(row[2].split(", "))) for row in rows("Concerns")}
    assert sorted(documented) == sorted(found)
    for code, (weights, sources) in found.items():
        assert weights <= documented[code][0] <= WEIGHTS, code
        assert sources == documented[code][1], code
