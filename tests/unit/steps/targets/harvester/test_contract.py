"""The contract of a target, with the cluster in memory: Longhorn's backing images, and CDI."""

from __future__ import annotations

import pytest

from steps.model.kinds import IMPORT
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from tests.unit.steps.targets.harvester.contract import Lab, TargetContract
from tests.unit.steps.targets.harvester.stand_ins import a_class
from tests.unit.steps.targets.harvester.world import World


class FakeLab:
    """A `World` with the interface of the contract."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.generation = 1

    @property
    def cluster(self) -> Cluster:
        return self.world.cluster

    @property
    def plan(self) -> Plan:
        return self.world.plan

    def publish(self, disk: str) -> str:
        name: str = self.world.publish(int(disk.removeprefix("disk-")))["metadata"]["name"]
        return name

    def build(self) -> None:
        self.world.build()

    def start(self) -> None:
        self.world.start()

    def delete_import(self) -> None:
        self.world.cluster.drop(IMPORT, "web", "default")

    def import_again(self) -> None:
        self.world.planned("another")

    def change_bytes(self, disk: str) -> None:
        self.world.serving.data[disk] = b"other bytes"

    def settle(self) -> None:
        """Garbage is collected immediately."""


@pytest.fixture
def lab() -> Lab:
    return FakeLab(World(disks=2))


class TestBackingImages(TargetContract):
    """Harvester with Longhorn's v1 engine."""


class TestCdi(TargetContract):
    """Harvester with a class that is not Longhorn's."""

    reuses = False

    @pytest.fixture
    def lab(self) -> Lab:
        world = World(disks=2, storage_class="lvm")
        world.cluster.put(a_class("lvm", "lvm.driver.harvesterhci.io"))
        return FakeLab(world)
