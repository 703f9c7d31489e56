"""The objects of an import into KubeVirt, as files for people to read, and for KubeVirt's own decoder.

`VMFERRY_GOLDEN=write pytest tests/unit/steps/targets/kubevirt -k golden` rewrites them: look at the diff
before you commit it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from steps.model.kinds import Object
from steps.model.machine import Machine
from steps.model.plan import CpuTopology, NetworkRule, Plan
from tests.unit.steps.targets.harvester.harvester_rules import a_network
from tests.unit.steps.targets.harvester.test_golden import MACHINES, SOURCES, readable
from tests.unit.steps.targets.kubevirt.world import World, a_profile

GOLDEN: Final = Path(__file__).parent / "golden"


def built(world: World) -> World:
    world.publish_all()
    world.build()
    return world


def block() -> list[Object]:
    networks = (NetworkRule(source="VM Network", destination="default/vlan1"),)
    world = built(World(disks=2, networks=networks))
    return [*world.data_volumes(), *world.vms()]


def filesystem() -> list[Object]:
    world = World()
    world.cluster.put(a_profile("ceph", "ReadWriteOnce", "Filesystem"))
    world.cdi.checks_digests = False
    built(world)
    return [*world.data_volumes(), *world.vms()]


def started() -> list[Object]:
    world = World()
    world.carry_out()
    return [*world.data_volumes(), *world.vms()]


CASES: Final[dict[str, Callable[[], list[Object]]]] = {
    "block": block,
    "filesystem": filesystem,
    "started": started,
}


def vm_of(case: str) -> Object:
    """The VM that an import of a case of tests/unit/golden makes in KubeVirt."""
    world = World()
    world.machine = Machine.load(SOURCES / case / "machine.json")
    asked = Plan.load(SOURCES / case / "plan.json").target
    ours = {
        "kind": world.plan.target.kind,
        "storage_class": "",
        "disks": tuple(rule.model_copy(update={"storage_class": ""}) for rule in asked.disks),
        "cpu_topology": CpuTopology.SOURCE,
    }
    world.plan = world.plan.model_copy(update={"target": asked.model_copy(update=ours)})
    world.cluster.namespaces.add(asked.namespace)
    for rule in asked.networks:
        namespace, _, name = rule.destination.partition("/")
        world.cluster.put(a_network(name, namespace))
    built(world)
    if not asked.start:
        world.leave_off()
    return world.vm()


def check(golden: Path, made: list[Object]) -> None:
    text = re.sub(r"\buid: uid-[0-9]+", "uid: UID", readable(made))
    if os.environ.get("VMFERRY_GOLDEN") == "write":
        assert "CI" not in os.environ, "golden files are written by a person, who reads the diff"
        golden.write_text(text)
        pytest.skip(f"{golden} written")
    assert text == golden.read_text()


@pytest.mark.parametrize("case", MACHINES)
def test_golden_vm(case: str) -> None:
    check(SOURCES / case / "kubevirt.yaml", [vm_of(case)])


@pytest.mark.parametrize("case", CASES)
def test_golden_objects(case: str) -> None:
    check(GOLDEN / f"{case}.yaml", CASES[case]())
