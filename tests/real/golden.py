"""The objects in the golden files, for the suites that give them to a real API."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from steps.model.kinds import Kind
from steps.model.plan import TargetKind

UNIT: Final = Path(__file__).parents[1] / "unit"
Object = dict[str, Any]


def golden(kind: Kind, target: TargetKind) -> dict[str, Object]:
    """Every object of a kind that is made for a target in a cluster.

    The key is the name of the file's folder and of the file; a number follows if a file has several.
    """
    found: dict[str, Object] = {}
    for path in _files(target):
        wanted = [one for one in YAML(typ="safe").load_all(path) if one.get("kind") == kind.kind]
        name = f"{path.parent.name}-{path.stem}"
        for number, document in enumerate(wanted):
            found[f"{name}-{number}" if len(wanted) > 1 else name] = document
    return found


def _files(target: TargetKind) -> list[Path]:
    """The plain virtualmachine.yaml, which `vmferry run` writes to a folder, is one for Harvester."""
    kubevirt = target is TargetKind.KUBEVIRT
    shapes = [path for path in UNIT.glob("golden/*/*.yaml") if (path.stem == "kubevirt") == kubevirt]
    return sorted([*shapes, *(UNIT / "steps" / "targets" / target.value / "golden").glob("*.yaml")])
