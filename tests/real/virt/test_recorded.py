"""The real virt-api judges every VM that the other suites made in this run (cluster/run records them)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.real.cluster.lab import Lab
from tests.real.harvester.install import namespace as namespace_object
from tests.real.virt.judge import instance, judged, lost, recorded

FILES: Final = recorded()
SPACE: Final = "virt-recorded"
"""The namespaces of the other suites are gone."""


@pytest.fixture(scope="module")
def surroundings(lab: Lab) -> None:
    lab.apply(namespace_object(SPACE))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
@pytest.mark.usefixtures("surroundings")
def test_kubevirt_accepts_a_vm_of_another_suite(lab: Lab, path: Path) -> None:
    machine: dict[str, Any] = json.loads(path.read_text())
    machine["metadata"]["namespace"] = SPACE
    assert list(lost(machine, judged(lab, machine))) == []
    started = instance(machine)
    assert list(lost(started, judged(lab, started))) == []
