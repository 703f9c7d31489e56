"""No volume is attached but those that the import made: neither an old one nor anybody else's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, DATA_VOLUME, IMAGE, IMPORT, MACHINE, Object
from steps.model.volumes import Volumes
from steps.runtime.cluster import ExistsError
from steps.targets.harvester.discard import discard
from steps.targets.harvester.vm_objects import attached_claims
from tests.targets.stand_ins import a_class, owner_reference
from tests.targets.world import World

Make = Callable[[], World]


def backing() -> World:
    return World(disks=2)


def cdi() -> World:
    world = World(disks=2, storage_class="lvm")
    world.cluster.put(a_class("lvm", "lvm.driver.harvesterhci.io"))
    return world


both = pytest.mark.parametrize("make", [backing, cdi], ids=["backing image", "cdi"])


def refused(call: Callable[[], Any], words: str) -> StepError:
    with pytest.raises(StepError, match=words) as caught:
        call()
    assert caught.value.code is Exit.CONFLICT
    return caught.value


def a_volume(world: World, kind: Any, name: str, *owners: Object, **labels: str) -> Object:
    metadata: Object = {"name": name, "namespace": "default", "labels": labels}
    spec = {"storageClassName": "lvm", "resources": {"requests": {"storage": "1Gi"}}}
    thing = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}
    if owners:
        metadata["ownerReferences"] = list(owners)
    return world.cluster.put(thing)


def carry_out(world: World) -> dict[str, str]:
    """Import; returns the claims that the VM uses."""
    for step in world.steps():
        step()
    return attached_claims(world.vm())


def delete_vm(world: World, *, ticked: bool) -> None:
    """As Harvester's UI does: claims that are ticked go as well, except golden ones (pkg/api/vm/store.go)."""
    claims = attached_claims(world.vm()).values()
    world.cluster.drop(IMPORT, "web", "default")
    world.cluster.drop(MACHINE, "web01", "default")
    for name in claims if ticked else ():
        found = world.cluster.peek(CLAIM, name, "default")
        if found and "harvesterhci.io/goldenImage" not in (found["metadata"].get("annotations") or {}):
            world.cluster.drop(CLAIM, name, "default")


@both
@pytest.mark.parametrize("ticked", [False, True], ids=["disks stay", "disks ticked"])
def test_a_vm_that_was_deleted_is_imported_again(make: Make, ticked: bool) -> None:
    world = make()
    first = carry_out(world)
    delete_vm(world, ticked=ticked)
    before = {one["metadata"]["uid"]: one for one in world.claims()}
    world.planned("second")
    second = carry_out(world)
    made = [world.cluster.peek(CLAIM, name, "default") for name in second.values()]
    assert all(one is not None and one["metadata"]["uid"] not in before for one in made)
    assert before.keys() <= {one["metadata"]["uid"] for one in world.claims()}, "an old volume is gone"
    stays = not ticked or make is cdi
    assert set(first.values()).isdisjoint(second.values()) is stays


@both
def test_another_vm_under_the_same_import_gets_volumes_of_its_own(make: Make) -> None:
    """The spec was changed to another source VM: a new run of the same import, whose old claims are there."""
    world = make()
    world.publish_all()
    world.build()
    old = attached_claims(world.vm())
    world.cluster.drop(MACHINE, "web01", "default")
    world.planned(generation=2)
    world.serving.data = {"disk-0": b"other bytes", "disk-1": b"others still"}
    new = carry_out(world)
    assert set(old.values()).isdisjoint(new.values())
    assert set(old.values()) <= {one["metadata"]["name"] for one in world.claims()}


@both
def test_every_claim_that_is_attached_bears_the_imports_uid(make: Make) -> None:
    world = make()
    carry_out(world)
    assert [one["metadata"]["labels"][names.LABEL_UID] for one in world.claims()] == ["6f1d", "6f1d"]
    assert [one["metadata"]["labels"][names.LABEL_RUN] for one in world.claims()] == [world.plan.run] * 2


class TestClaimsThatAreInTheWay:
    """They came after the names were chosen."""

    def test_of_another_import(self) -> None:
        world = backing()
        world.publish_all()
        theirs = {names.LABEL_UID: "else", names.LABEL_NAME: "shop", names.LABEL_NAMESPACE: "prod"}
        a_volume(world, CLAIM, "web01-disk-1", **theirs)
        refused(world.build, "belongs to import prod/shop")
        assert world.vms() == []

    def test_of_an_earlier_run_of_the_import(self) -> None:
        world = backing()
        world.publish_all()
        a_volume(world, CLAIM, "web01-disk-1", **{**names.labels(world.plan), names.LABEL_RUN: "vmi-old-g0"})
        refused(world.build, "is not attached: it belongs to an earlier run, vmi-old-g0")
        assert world.vms() == []

    def test_of_an_image_with_other_bytes(self) -> None:
        world = backing()
        world.publish_all()
        marks = {**names.labels(world.plan), names.LABEL_RUN: world.plan.run}
        a_volume(world, CLAIM, "web01-disk-1", **marks)
        refused(world.build, "is not attached: it was not made from image image-")
        assert world.vms() == []


class TestVolumesOfCdi:
    """CDI makes them without our labels, so they are proved by their owners."""

    def claim(self, world: World, name: str = "web01-disk-0") -> Object:
        found = world.cluster.peek(CLAIM, name, "default")
        assert found is not None
        return found

    @pytest.mark.parametrize("kind", [CLAIM, DATA_VOLUME], ids=lambda kind: kind.kind)
    def test_no_image_is_made_where_a_volume_of_its_name_is(self, kind: Any) -> None:
        """Harvester would take it for the image's, and delete it with the image."""
        world = cdi()
        world.volumes()
        theirs = a_volume(world, kind, "web01-disk-0")
        refused(world.publish, "Harvester would use it as the volume of the image")
        assert world.images() == []
        assert world.cluster.peek(kind, "web01-disk-0", "default") == theirs

    def test_a_volume_that_came_between_is_not_attached(self) -> None:
        world = cdi()
        world.publish_all()
        self.claim(world)["metadata"]["ownerReferences"] = []
        refused(world.build, "is not attached: it is not the volume of image web01-disk-0")
        assert world.vms() == []

    def test_a_datavolume_of_another_owner(self) -> None:
        world = cdi()
        world.publish_all()
        between = world.cluster.peek(DATA_VOLUME, "web01-disk-0", "default")
        assert between is not None
        between["metadata"]["ownerReferences"] = [owner_reference(MACHINE, "theirs", "uid-of-theirs")]
        refused(world.build, "it is not the volume of image web01-disk-0")

    def test_a_claim_that_cdi_adopted(self) -> None:
        """It is owned as it should be, and older than the image."""
        world = cdi()
        world.publish_all()
        self.claim(world)["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
        refused(world.build, "it is not the volume of image web01-disk-0")

    def test_a_claim_whose_datavolume_is_collected_is_owned_by_the_image(self) -> None:
        world = cdi()
        world.publish_all()
        image = world.images()[0]["metadata"]
        claim = self.claim(world)
        claim["metadata"]["ownerReferences"] = [owner_reference(IMAGE, image["name"], image["uid"])]
        world.cluster.drop(DATA_VOLUME, "web01-disk-0", "default")
        world.build()
        assert self.claim(world)["metadata"]["labels"][names.LABEL_UID] == "6f1d"

    def test_an_image_is_not_deleted_with_somebody_elses_datavolume(self) -> None:
        world = cdi()
        world.harvester.fail = ["no space left"]
        with pytest.raises(StepError, match="no space left"):
            world.publish()
        a_volume(world, DATA_VOLUME, "web01-disk-0")
        refused(world.publish, "Harvester would use it as the volume of the image")
        assert len(world.images()) == 1

    def test_what_is_left_of_a_deleted_image_is_waited_for(self) -> None:
        world = cdi()
        world.volumes()
        gone = owner_reference(IMAGE, "web01-disk-0", "uid-of-a-deleted-image")
        looks: list[int] = []

        def collect(_cluster: object) -> None:
            looks.append(1)
            if len(looks) > 12:
                world.cluster.drop(CLAIM, "web01-disk-0", "default")

        leaving = a_volume(world, CLAIM, "web01-disk-0")
        leaving["metadata"]["ownerReferences"] = [gone]
        world.cluster.peek(CLAIM, "web01-disk-0", "default")["metadata"]["ownerReferences"] = [gone]  # type: ignore[index]
        world.cluster.reconcilers.append(collect)
        assert world.publish()["metadata"]["name"] == "web01-disk-0"
        assert len(looks) > 12

    def test_a_failed_image_is_made_again_under_its_name(self) -> None:
        world = cdi()
        world.harvester.fail = ["no space left"]
        with pytest.raises(StepError, match="no space left"):
            world.publish()
        assert world.publish()["metadata"]["name"] == "web01-disk-0"
        assert len(world.images()) == 1

    def test_of_an_earlier_run_none_is_used_though_the_bytes_are_the_same(self) -> None:
        """A VM may have written to it. Both runs began before names were chosen."""
        world = cdi()
        world.chosen[world.plan.run] = Volumes()
        first = world.publish()["metadata"]
        world.planned(generation=2)
        world.chosen[world.plan.run] = Volumes()
        assert world.publish()["metadata"]["uid"] != first["uid"]
        assert len(world.images()) == 2

    def test_an_image_of_others_that_came_since_we_looked(self) -> None:
        world = cdi()
        world.volumes()

        def rival(verb: str, thing: Object) -> None:
            if verb == "create" and thing["kind"] == IMAGE.kind and not world.images():
                theirs = {**thing, "metadata": {**thing["metadata"], "labels": {names.LABEL_UID: "else"}}}
                world.cluster.put(theirs)
                raise ExistsError(Exit.CONFLICT, "cannot create", "already exists")

        world.cluster.admission.append(rival)
        refused(world.publish, "VirtualMachineImage default/web01-disk-0 already exists")

    def test_other_bytes_within_a_run_go_to_an_additional_image(self) -> None:
        world = cdi()
        first = world.publish()["metadata"]["name"]
        world.serving.data["disk-0"] = b"other bytes"
        world.serving.landed = "2"
        second = world.publish(workflow="second")["metadata"]["name"]
        assert second.startswith(f"{first}-")
        world.publish(1)
        world.build()
        assert attached_claims(world.vm())["disk-0"] == second

    def test_discarding_leaves_them_to_their_images(self) -> None:
        world = cdi()
        world.publish_all()
        world.build()
        lines = discard(world.plan, world.cluster, world.time, clock=world.time.clock)
        assert [line.partition(" ")[0] for line in lines] == [MACHINE.kind, IMAGE.kind, IMAGE.kind]
        assert [*world.vms(), *world.claims(), *world.images()] == []


class TestStart:
    """It looks at what the VM would start from."""

    @both
    def test_a_claim_without_the_label(self, make: Make) -> None:
        world = make()
        world.publish_all()
        world.build()
        world.claims()[0]["metadata"]["labels"][names.LABEL_UID] = "else"
        refused(world.start, "web01-disk-0 already exists")
        assert world.vm()["spec"]["runStrategy"] == "Halted"

    @both
    def test_a_claim_that_was_put_in_place_of_ours(self, make: Make) -> None:
        world = make()
        world.publish_all()
        world.build()
        a_volume(world, CLAIM, "theirs")
        volumes = world.vm()["spec"]["template"]["spec"]["volumes"]
        volumes[0]["persistentVolumeClaim"]["claimName"] = "theirs"
        refused(world.start, "PersistentVolumeClaim default/theirs already exists")
        assert world.vm()["spec"]["runStrategy"] == "Halted"

    def test_a_claim_that_is_gone(self) -> None:
        world = backing()
        world.publish_all()
        world.build()
        world.cluster.drop(CLAIM, "web01-disk-0", "default")
        with pytest.raises(
            StepError, match="no volume for disk-0: claim default/web01-disk-0 was deleted"
        ) as caught:
            world.start()
        assert caught.value.code is Exit.INVALID

    def test_a_vm_that_was_built_before_claims_of_cdi_had_labels(self) -> None:
        world = cdi()
        world.publish_all()
        world.build()
        for claim in world.claims():
            del claim["metadata"]["labels"]
        world.start()
        assert world.kubevirt.starts == ["web01"]
        assert [one["metadata"]["labels"][names.LABEL_UID] for one in world.claims()] == ["6f1d", "6f1d"]

    def test_what_a_person_added_is_theirs(self) -> None:
        world = backing()
        world.publish_all()
        world.build()
        a_volume(world, CLAIM, "data")
        more = {"name": "more", "persistentVolumeClaim": {"claimName": "data"}}
        world.vm()["spec"]["template"]["spec"]["volumes"].append(more)
        world.start()
        assert world.kubevirt.starts == ["web01"]


@both
def test_deleting_the_import_after_a_success_leaves_its_volumes(make: Make) -> None:
    world = make()
    carry_out(world)
    world.cluster.drop(IMPORT, "web", "default")
    assert len(world.claims()) == len(world.images()) == 2
