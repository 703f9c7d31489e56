"""A simulated vCenter with thousands of VMs, whose inventory is measured."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.real import scenario
from tests.real.simulator import Simulator


@dataclass(frozen=True)
class Crowd:
    """The simulator, the manifests of a source on it, and its number of VMs."""

    simulator: Simulator
    manifests: Path
    count: int


@contextlib.contextmanager
def crowd(folder: Path, count: int) -> Iterator[Crowd]:
    """VMs in folders of 50, each with two disks, two NICs and two tags, as a data centre may have them."""
    inventory = {
        "datacenters": [
            {
                "name": "DC0",
                "networks": [{"name": "VM Network"}, {"name": "prod-pg", "kind": "distributed"}],
                "vms": [_vm(number) for number in range(count)],
            }
        ]
    }
    with Simulator.start(inventory, folder / "crowd", patience=600) as simulator:
        secret, source, _ = scenario.manifests(simulator)
        yield Crowd(simulator, scenario.write(folder / "crowd.yaml", [secret, source]), count)


def _vm(number: int) -> dict[str, Any]:
    return {
        "name": f"vm-{number:05}",
        "folder": f"group-{number // 50:03}",
        "cpus": 1 + number % 8,
        "firmware": "efi" if number % 3 else "bios",
        "annotation": f"owner: team {number % 17}",
        "tags": [f"env:{('prod', 'test', 'dev')[number % 3]}", f"wave:{number % 20}"],
        "disks": [{"capacity": (1 + number % 40) << 30}, {"capacity": 100 << 30, "controller": "lsilogic"}],
        "nics": [{"network": "VM Network"}, {"network": "prod-pg"}],
    }
