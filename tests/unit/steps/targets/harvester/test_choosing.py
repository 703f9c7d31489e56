"""The names of an import's volumes: unused names, the same every time, kept once the volumes exist."""

from __future__ import annotations

from itertools import islice

import pytest

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, DATA_VOLUME, IMAGE, Kind
from steps.model.volumes import Volumes, volume_names
from steps.targets.cluster.volume_names import MAX_NAMES
from steps.targets.harvester import image_names
from steps.targets.harvester.volume_names import choose_names
from tests.unit.steps.targets.harvester.fake_cluster import READ
from tests.unit.steps.targets.harvester.stand_ins import a_class
from tests.unit.steps.targets.harvester.world import World

PLAIN = {"disk-0": "web01-disk-0", "disk-1": "web01-disk-1"}


def choose(world: World, before: Volumes | None = None) -> dict[str, str]:
    return dict(choose_names(world.cluster, world.plan, world.shape, before).names)


def renamed(world: World, name: str) -> None:
    """The target's name is edited, which is possible while an import waits for a retry."""
    target = world.plan.target.model_copy(update={"vm_name": name})
    world.plan = world.plan.model_copy(update={"target": target})


def put(world: World, kind: Kind, name: str, labels: dict[str, str] | None = None) -> None:
    metadata = {"name": name, "namespace": "default", "labels": labels or {}}
    status = {"conditions": [{"type": "Imported", "status": "True"}]}
    thing = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": {}}
    world.cluster.put({**thing, "status": status})


def with_cdi(uid: str = "6f1d") -> World:
    world = World(disks=2, uid=uid, storage_class="lvm")
    world.cluster.put(a_class("lvm", "lvm.driver.harvesterhci.io"))
    return world


def test_volumes_are_named_after_their_vm() -> None:
    world = World(disks=2)
    assert choose(world) == PLAIN
    assert {call.verb for call in world.cluster.calls} <= set(READ)


@pytest.mark.parametrize("kind", [CLAIM, DATA_VOLUME, IMAGE], ids=lambda kind: kind.kind)
@pytest.mark.parametrize(
    "labels",
    [{}, {names.LABEL_UID: "else"}, {names.LABEL_UID: "6f1d"}],
    ids=["without labels", "of another import", "of an earlier run"],
)
def test_a_taken_name_gets_a_short_hash(kind: Kind, labels: dict[str, str]) -> None:
    world = World(disks=2)
    put(world, kind, "web01-disk-0", labels)
    chosen = choose(world)
    assert chosen["disk-0"].removeprefix("web01-disk-0-").isalnum()
    assert len(chosen["disk-0"]) == len("web01-disk-0-") + 6
    assert chosen["disk-1"] == "web01-disk-1"


def test_copied_labels_prove_nothing() -> None:
    world = World()
    forged = {names.LABEL_RUN: world.plan.run, names.LABEL_DISK: "disk-0", names.LABEL_UID: "else"}
    put(world, CLAIM, "theirs", forged)
    assert choose(world) == {"disk-0": "web01-disk-0"}


def test_a_taken_hash_is_replaced() -> None:
    world = World()
    put(world, CLAIM, "web01-disk-0")
    first = choose(world)["disk-0"]
    put(world, CLAIM, first)
    assert choose(world)["disk-0"] not in ("web01-disk-0", first)


def test_a_namespace_without_a_free_name_is_a_conflict() -> None:
    world = World()
    for name in islice(volume_names("web01", "disk-0", world.plan.run), MAX_NAMES):
        put(world, CLAIM, name)
    with pytest.raises(StepError, match="targetVirtualMachineName") as caught:
        choose(world)
    assert caught.value.code is Exit.CONFLICT


def test_the_same_call_gives_the_same_names() -> None:
    world = World(disks=2)
    put(world, CLAIM, "web01-disk-1")
    first = choose_names(world.cluster, world.plan, world.shape)
    again = choose_names(world.cluster, world.plan, world.shape, first)
    assert again == first == choose_names(world.cluster, world.plan, world.shape)


def test_a_name_with_a_hash_is_kept() -> None:
    world = World()
    put(world, CLAIM, "web01-disk-0")
    first = choose_names(world.cluster, world.plan, world.shape)
    world.cluster.drop(CLAIM, "web01-disk-0", "default")
    assert choose(world, first) == first.names


def test_a_name_taken_by_others_meanwhile_is_replaced() -> None:
    world = World()
    first = choose_names(world.cluster, world.plan, world.shape)
    put(world, CLAIM, "web01-disk-0", {names.LABEL_UID: "else"})
    assert choose(world, first) != first.names


@pytest.mark.parametrize("make", [lambda: World(disks=2), with_cdi], ids=["backing image", "cdi"])
@pytest.mark.parametrize("steps", range(5))
def test_a_retry_after_any_step_has_the_same_names(make: type[World], steps: int) -> None:
    world = make()
    for step in world.steps()[:steps]:
        step()
    assert choose(world, world.volumes()) == choose(world, Volumes(vm="x", names={"disk-0": "x"})) == PLAIN


def test_with_cdi_a_renamed_target_keeps_the_volume_name() -> None:
    world = with_cdi()
    world.publish(0)
    renamed(world, "shop")
    assert choose(world, world.volumes()) == {"disk-0": "web01-disk-0", "disk-1": "shop-disk-1"}


def test_with_backing_images_an_existing_claim_keeps_its_name() -> None:
    world = World(disks=2)
    chosen = world.volumes()
    world.publish_all()
    renamed(world, "shop")
    assert choose(world, chosen) == {"disk-0": "shop-disk-0", "disk-1": "shop-disk-1"}
    renamed(world, "")
    world.build()
    renamed(world, "shop")
    assert choose(world, chosen) == PLAIN


class TestUpgrade:
    """Runs that started before names were chosen: images exist, but no chosen names."""

    @pytest.mark.parametrize("make", [lambda: World(disks=2), with_cdi], ids=["backing image", "cdi"])
    @pytest.mark.parametrize("steps", [1, 2, 3])
    def test_older_runs_keep_their_names(self, make: type[World], steps: int) -> None:
        world = make()
        world.chosen[world.plan.run] = Volumes()  # as in the version before: the names of the images
        for step in world.steps()[:steps]:
            step()
        kept = choose_names(world.cluster, world.plan, world.shape)
        assert kept.names == {}
        assert choose(world, kept) == {}
        for step in world.steps():
            step()
        of = world.plan.import_
        assert [one["metadata"]["name"] for one in world.claims()] == sorted(
            image_names.image_name(of, disk) for disk in ("disk-0", "disk-1")
        )
        assert world.kubevirt.starts == ["web01"]

    def test_a_new_run_of_an_older_import_chooses_names(self) -> None:
        world = World(disks=2)
        world.chosen[world.plan.run] = Volumes()
        for step in world.steps():
            step()
        world.planned(generation=2)
        assert choose(world) == PLAIN


def test_a_long_vm_name_is_shortened() -> None:
    world = World()
    renamed(world, "a" * 63)
    (name,) = choose(world).values()
    assert len(name) <= 63
    assert name.endswith("-disk-0")
