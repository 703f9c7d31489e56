"""The objects of an import, as files for people to read.

`VMFERRY_GOLDEN=write pytest tests/unit/steps/targets/harvester -k golden` rewrites them: look at the diff
before you commit it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import walk_tree

from steps.model.kinds import CLAIM, CONFIG_MAP, SERVICE, Object
from steps.model.machine import Machine
from steps.model.plan import NetworkRule, Plan
from steps.targets.cluster.run_objects import RunObjects
from tests.unit.steps.targets.harvester.mixed_world import MixedWorld
from tests.unit.steps.targets.harvester.stand_ins import DIGEST, a_class, class_by_uid
from tests.unit.steps.targets.harvester.test_run import a_request
from tests.unit.steps.targets.harvester.world import World

GOLDEN: Final = Path(__file__).parent / "golden"
MADE_BY_OTHERS: Final = ("resourceVersion", "creationTimestamp", "uid")


def built(world: World) -> World:
    world.rules.mutates = False
    world.publish_all()
    world.build()
    return world


def backing_image() -> list[Object]:
    networks = (NetworkRule(source="VM Network", destination="default/vlan1"),)
    world = built(World(disks=2, networks=networks))
    return [*world.images(), *world.claims(), *world.vms()]


def cdi() -> list[Object]:
    world = World(storage_class="lvm")
    world.cluster.put(a_class("lvm", "lvm.driver.harvesterhci.io"))
    built(world)
    return [*world.images(), *world.vms()]


def left_off() -> list[Object]:
    world = built(World(start=False))
    world.leave_off()
    return [*world.images(), *world.claims(), *world.vms()]


def mixed() -> list[Object]:
    """One disk over an image, and one that landed on a plain volume."""
    world = MixedWorld()
    world.rules.mutates = False
    world.admit()
    for disk in world.places:
        world.export(disk)
        world.give(disk)
    world.build()
    return [*world.images(), *world.claims(), *world.vms()]


def run() -> list[Object]:
    world = World()
    world.cluster.put(a_request(world.plan))
    RunObjects(world.plan, world.cluster, "vmferry").prepare(world.machine, world.shape)
    return [one for kind in (CLAIM, SERVICE, CONFIG_MAP) for one in world.cluster.all(kind, "vmferry")]


CASES: Final[dict[str, Callable[[], list[Object]]]] = {
    "backing-image": backing_image,
    "cdi": cdi,
    "left-off": left_off,
    "mixed": mixed,
    "run": run,
}


SOURCES: Final = Path(__file__).parents[4] / "unit" / "golden"
MACHINES: Final = sorted(
    path.parent.name
    for path in SOURCES.glob("*/plan.json")
    if path.parent.name.partition("-")[0] in {"vmware", "openstack", "ova"}
)


def vm_on(backend: str, case: str) -> Object:
    """The VM that an import of a case of tests/unit/golden makes in Harvester."""
    world = World(storage_class="lvm" if backend == "cdi" else "")
    world.cluster.put(a_class("lvm", "lvm.driver.harvesterhci.io"))
    world.machine = Machine.load(SOURCES / case / "machine.json")
    asked = Plan.load(SOURCES / case / "plan.json").target
    ours = {"kind": world.plan.target.kind, "storage_class": world.plan.target.storage_class}
    world.plan = world.plan.model_copy(update={"target": asked.model_copy(update=ours)})
    world.cluster.namespaces.add(asked.namespace)
    world.make_networks()
    built(world)
    if not asked.start:
        world.leave_off()
    return world.vm()


@pytest.mark.parametrize("backend", ["backingimage", "cdi"])
@pytest.mark.parametrize("case", MACHINES)
def test_golden_vm(case: str, backend: str) -> None:
    golden = SOURCES / case / f"harvester-{backend}.yaml"
    text = readable([vm_on(backend, case)])
    if os.environ.get("VMFERRY_GOLDEN") == "write":
        assert "CI" not in os.environ, "golden files are written by a person, who reads the diff"
        golden.write_text(text)
        pytest.skip(f"{golden} written")
    assert text == golden.read_text()


def readable(things: list[Object]) -> str:
    yaml, text = YAML(), io.StringIO()
    yaml.default_flow_style, yaml.width = False, 1000
    shown = [plain(thing) for thing in things]
    walk_tree(shown)
    yaml.dump_all(shown, text)
    return class_by_uid(text.getvalue().replace(DIGEST, "DIGEST"))


def plain(thing: Object) -> Object:
    """What we send, without what the API server and the controllers add."""
    metadata: dict[str, Any] = {
        key: value for key, value in thing["metadata"].items() if key not in MADE_BY_OTHERS
    }
    return {key: metadata if key == "metadata" else value for key, value in thing.items() if key != "status"}


@pytest.mark.parametrize("case", CASES)
def test_golden_objects(case: str) -> None:
    golden = GOLDEN / f"{case}.yaml"
    if os.environ.get("VMFERRY_GOLDEN") == "write":
        assert "CI" not in os.environ, "golden files are written by a person, who reads the diff"
        golden.write_text(readable(CASES[case]()))
        pytest.skip(f"{golden} written")
    assert readable(CASES[case]()) == golden.read_text()
