"""KubeVirt's own API judges a VM: what it refuses, what it warns of, and what it does not store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from steps.model.kinds import Object
from steps.targets.cluster.quota import amount
from tests.real.cluster.lab import Lab
from tests.real.standins.seen import FOLDER

QUANTITIES: Final = frozenset({"cpu", "guest", "memory", "storage"})
"""Fields that KubeVirt writes in another unit: 1024Mi becomes 1Gi."""
RECORDED: Final = Path(__file__).parents[3] / ".cache" / "e2e" / "machines"


def recorded() -> list[Path]:
    """The VMs that the stand-ins kept while other suites ran, one file each."""
    return sorted(Path(os.environ.get(FOLDER) or RECORDED).rglob("*.json"))


def judged(lab: Lab, manifest: Object) -> Object:
    """The object as it would be stored.

    Raises:
        CommandError: it is refused, it has an unknown field, or it draws a warning.
    """
    strict = ("--dry-run=server", "--validate=strict", "--warnings-as-errors")
    found: Object = json.loads(
        lab.kubectl("create", *strict, "-o", "json", "-f", "-", given=json.dumps(manifest))
    )
    return found


def instance(machine: Object) -> Object:
    """The VirtualMachineInstance that KubeVirt starts for the VM; another webhook judges it."""
    metadata = {name: machine["metadata"][name] for name in ("name", "namespace")}
    template = machine["spec"]["template"]
    return {
        "apiVersion": machine["apiVersion"],
        "kind": "VirtualMachineInstance",
        "metadata": {**template.get("metadata", {}), **metadata},
        "spec": template["spec"],
    }


def lost(given: object, stored: object, path: str = "") -> Iterator[str]:
    """Everything of `given` that is not in `stored`: PATH: WHAT. Empty lists may be left out, and null."""
    match given:
        case None:
            return
        case dict():
            if not isinstance(stored, dict):
                yield f"{path}: {given} became {stored}"
                return
            for name, value in given.items():
                yield from lost(value, stored.get(name), f"{path}.{name}")
        case list():
            found = stored if isinstance(stored, list) else []
            if len(found) != len(given):
                yield f"{path}: {len(given)} entries became {len(found)}"
                return
            for number, (value, kept) in enumerate(zip(given, found, strict=True)):
                yield from lost(value, kept, f"{path}[{number}]")
        case _:
            if not _same(path.rpartition(".")[2], given, stored):
                yield f"{path}: {given} became {stored}"


def _same(name: str, given: object, stored: object) -> bool:
    return given == stored or (name in QUANTITIES and stored is not None and amount(given) == amount(stored))
