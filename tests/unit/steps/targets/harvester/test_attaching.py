"""Only volumes that the import made are attached: no old ones, and none of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, DATA_VOLUME, IMAGE, IMPORT, MACHINE, Object
from steps.model.volumes import Volumes
from steps.runtime.cluster import ExistsError
from steps.targets.cluster.discard import discard
from steps.targets.cluster.vm_objects import attached_claims
from steps.targets.harvester import KINDS
from tests.unit.steps.targets.harvester.stand_ins import a_class, owner_reference
from tests.unit.steps.targets.harvester.world import World

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
    """Run the import; returns the claims of the VM."""
    for step in world.steps():
        step()
    return attached_claims(world.vm())


def delete_vm(world: World, *, ticked: bool) -> None:
    """As Harvester's UI does: ticked claims are deleted, too, except golden ones (pkg/api/vm/store.go)."""
    claims = attached_claims(world.vm()).values()
    world.cluster.drop(IMPORT, "web", "default")
    world.cluster.drop(MACHINE, "web01", "default")
    for name in claims if ticked else ():
        found = world.cluster.peek(CLAIM, name, "default")
        if found and "harvesterhci.io/goldenImage" not in (found["metadata"].get("annotations") or {}):
            world.cluster.drop(CLAIM, name, "default")


@both
@pytest.mark.parametrize("ticked", [False, True], ids=["disks stay", "disks ticked"])
def test_a_deleted_vm_is_imported_again(make: Make, ticked: bool) -> None:
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
def test_another_vm_of_the_same_import_gets_its_own_volumes(make: Make) -> None:
    """The spec names another source VM: a new run of the same import, whose old claims still exist."""
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
def test_every_attached_claim_has_the_uid_of_the_import(make: Make) -> None:
    world = make()
    carry_out(world)
    assert [one["metadata"]["labels"][names.LABEL_UID] for one in world.claims()] == ["6f1d", "6f1d"]
    assert [one["metadata"]["labels"][names.LABEL_RUN] for one in world.claims()] == [world.plan.run] * 2


class TestConflictingClaims:
    """They were made after the names were chosen."""

    def test_a_claim_of_another_import_is_not_attached(self) -> None:
        world = backing()
        world.publish_all()
        theirs = {names.LABEL_UID: "else", names.LABEL_NAME: "shop", names.LABEL_NAMESPACE: "prod"}
        a_volume(world, CLAIM, "web01-disk-1", **theirs)
        refused(world.build, "belongs to import prod/shop")
        assert world.vms() == []

    def test_a_claim_of_an_earlier_run_is_not_attached(self) -> None:
        world = backing()
        world.publish_all()
        a_volume(world, CLAIM, "web01-disk-1", **{**names.labels(world.plan), names.LABEL_RUN: "vmi-old-g0"})
        refused(world.build, "is not attached: it belongs to an earlier run, vmi-old-g0")
        assert world.vms() == []

    def test_a_claim_of_an_image_with_other_bytes_is_not_attached(self) -> None:
        world = backing()
        world.publish_all()
        marks = {**names.labels(world.plan), names.LABEL_RUN: world.plan.run}
        a_volume(world, CLAIM, "web01-disk-1", **marks)
        refused(world.build, "is not attached: it was not made from image image-")
        assert world.vms() == []


class TestVolumesOfCdi:
    """CDI makes them without our labels, so their owners prove whose they are."""

    def claim(self, world: World, name: str = "web01-disk-0") -> Object:
        found = world.cluster.peek(CLAIM, name, "default")
        assert found is not None
        return found

    @pytest.mark.parametrize("kind", [CLAIM, DATA_VOLUME], ids=lambda kind: kind.kind)
    def test_no_image_is_made_if_its_volume_name_is_taken(self, kind: Any) -> None:
        """Harvester would use it as the image's volume, and delete it with the image."""
        world = cdi()
        world.volumes()
        theirs = a_volume(world, kind, "web01-disk-0")
        refused(world.publish, "Harvester would use it as the volume of the image")
        assert world.images() == []
        assert world.cluster.peek(kind, "web01-disk-0", "default") == theirs

    def test_a_volume_without_the_image_as_owner_is_not_attached(self) -> None:
        world = cdi()
        world.publish_all()
        self.claim(world)["metadata"]["ownerReferences"] = []
        refused(world.build, "is not attached: it is not the volume of image web01-disk-0")
        assert world.vms() == []

    def test_a_datavolume_of_another_owner_is_not_attached(self) -> None:
        world = cdi()
        world.publish_all()
        between = world.cluster.peek(DATA_VOLUME, "web01-disk-0", "default")
        assert between is not None
        between["metadata"]["ownerReferences"] = [owner_reference(MACHINE, "theirs", "uid-of-theirs")]
        refused(world.build, "it is not the volume of image web01-disk-0")

    def test_a_claim_adopted_by_cdi_is_not_attached(self) -> None:
        """It has the right owner, but it is older than the image."""
        world = cdi()
        world.publish_all()
        self.claim(world)["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
        refused(world.build, "it is not the volume of image web01-disk-0")

    def test_a_claim_without_its_datavolume_is_attached_if_the_image_owns_it(self) -> None:
        world = cdi()
        world.publish_all()
        image = world.images()[0]["metadata"]
        claim = self.claim(world)
        claim["metadata"]["ownerReferences"] = [owner_reference(IMAGE, image["name"], image["uid"])]
        world.cluster.drop(DATA_VOLUME, "web01-disk-0", "default")
        world.build()
        assert self.claim(world)["metadata"]["labels"][names.LABEL_UID] == "6f1d"

    def test_an_image_is_not_deleted_with_the_datavolume_of_others(self) -> None:
        world = cdi()
        world.harvester.fail = ["no space left"]
        with pytest.raises(StepError, match="no space left"):
            world.publish()
        a_volume(world, DATA_VOLUME, "web01-disk-0")
        refused(world.publish, "Harvester would use it as the volume of the image")
        assert len(world.images()) == 1

    def test_leftovers_of_a_deleted_image_are_waited_for(self) -> None:
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

    def test_a_failed_image_is_recreated_with_its_name(self) -> None:
        world = cdi()
        world.harvester.fail = ["no space left"]
        with pytest.raises(StepError, match="no space left"):
            world.publish()
        assert world.publish()["metadata"]["name"] == "web01-disk-0"
        assert len(world.images()) == 1

    def test_an_image_of_an_earlier_run_is_not_used_even_with_equal_bytes(self) -> None:
        """A VM may have written to it. Both runs started before names were chosen."""
        world = cdi()
        world.chosen[world.plan.run] = Volumes()
        first = world.publish()["metadata"]
        world.planned(generation=2)
        world.chosen[world.plan.run] = Volumes()
        assert world.publish()["metadata"]["uid"] != first["uid"]
        assert len(world.images()) == 2

    def test_a_concurrent_image_of_others_is_a_conflict(self) -> None:
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

    def test_discarding_deletes_the_images_not_their_volumes(self) -> None:
        world = cdi()
        world.publish_all()
        world.build()
        lines = discard(world.plan, world.cluster, world.time, KINDS, clock=world.time.clock)
        assert [line.partition(" ")[0] for line in lines] == [MACHINE.kind, IMAGE.kind, IMAGE.kind]
        assert [*world.vms(), *world.claims(), *world.images()] == []


class TestStart:
    """start checks the volumes that the VM would start from."""

    @both
    def test_a_claim_without_the_label_is_refused(self, make: Make) -> None:
        world = make()
        world.publish_all()
        world.build()
        world.claims()[0]["metadata"]["labels"][names.LABEL_UID] = "else"
        refused(world.start, "web01-disk-0 already exists")
        assert world.vm()["spec"]["runStrategy"] == "Halted"

    @both
    def test_a_replaced_claim_is_refused(self, make: Make) -> None:
        world = make()
        world.publish_all()
        world.build()
        a_volume(world, CLAIM, "theirs")
        volumes = world.vm()["spec"]["template"]["spec"]["volumes"]
        volumes[0]["persistentVolumeClaim"]["claimName"] = "theirs"
        refused(world.start, "PersistentVolumeClaim default/theirs already exists")
        assert world.vm()["spec"]["runStrategy"] == "Halted"

    def test_a_deleted_claim_is_refused(self) -> None:
        world = backing()
        world.publish_all()
        world.build()
        world.cluster.drop(CLAIM, "web01-disk-0", "default")
        with pytest.raises(
            StepError, match="no volume for disk-0: claim default/web01-disk-0 does not exist"
        ) as caught:
            world.start()
        assert caught.value.code is Exit.INVALID

    def test_a_vm_built_by_an_older_version_starts(self) -> None:
        world = cdi()
        world.publish_all()
        world.build()
        for claim in world.claims():
            del claim["metadata"]["labels"]
        world.start()
        assert world.kubevirt.starts == ["web01"]
        assert [one["metadata"]["labels"][names.LABEL_UID] for one in world.claims()] == ["6f1d", "6f1d"]

    def test_volumes_added_by_a_person_are_kept(self) -> None:
        world = backing()
        world.publish_all()
        world.build()
        a_volume(world, CLAIM, "data")
        more = {"name": "more", "persistentVolumeClaim": {"claimName": "data"}}
        world.vm()["spec"]["template"]["spec"]["volumes"].append(more)
        world.start()
        assert world.kubevirt.starts == ["web01"]


@both
def test_deleting_a_succeeded_import_keeps_its_volumes(make: Make) -> None:
    world = make()
    carry_out(world)
    world.cluster.drop(IMPORT, "web", "default")
    assert len(world.claims()) == len(world.images()) == 2
