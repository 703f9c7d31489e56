"""image in a cluster: which image a disk becomes, how it is made, how the wait for it ends."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model import names
from steps.model.contract import Exit, StepError, Stopped
from steps.model.kinds import IMAGE, IMPORT, STORAGE_CLASS, STORAGE_PROFILE, Object
from steps.model.plan import DiskRule
from steps.targets.cluster import markers
from steps.targets.cluster.completion import WorkflowRef, is_completed
from steps.targets.cluster.serving import PATIENCE
from steps.targets.cluster.vm_objects import attached_claims
from steps.targets.harvester import image_names
from steps.targets.harvester.image_state import IMAGES
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster
from tests.unit.steps.targets.harvester.stand_ins import DIGEST, TOKEN, FakeServing, a_class
from tests.unit.steps.targets.harvester.world import World

UNSTAMPED: Object = {
    "metadata": {"annotations": dict.fromkeys((markers.PUBLISHED, markers.DIGEST, markers.INTEGRITY))}
}
UNMARKED: Object = {"metadata": {"annotations": {markers.PUBLISHED: None}}}


def notes(image: Object) -> dict[str, str]:
    found: dict[str, str] = image["metadata"]["annotations"]
    return found


def unstamped(world: World, name: str = "image-x7k2p", **more: Any) -> Object:
    """An image as vm-import-controller leaves it after a success: no stamp, no owner."""
    display = image_names.display_name(world.plan.import_, "disk-0")
    made: Object = {
        "apiVersion": IMAGE.api_version,
        "kind": IMAGE.kind,
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {names.LABEL_IMPORTED: "true", image_names.IMAGE_DISPLAY_NAME: display},
        },
        "spec": {
            "displayName": display,
            "url": "http://old",
            "sourceType": "download",
            "backend": "backingimage",
        },
        "status": {
            "conditions": [{"type": "Imported", "status": "True"}],
            "storageClassName": f"lh-{name}",
        },
    }
    return world.cluster.put(made | more)


def reimport(world: World) -> None:
    """The import succeeded, was deleted with its VM and volumes, and is made again."""
    for step in world.steps():
        step()
    world.cluster.drop(IMPORT, "web", "default")
    for thing in (*world.vms(), *world.claims()):
        kind = next(kind for kind in world.cluster.kinds if kind.kind == thing["kind"])
        world.cluster.drop(kind, thing["metadata"]["name"], "default")
    world.planned("second")


# --- success


def test_progress_counts_the_bytes_of_the_disk() -> None:
    world = World()
    world.publish()
    done = [one for one, _ in world.reports]
    assert done == sorted(done)
    assert world.reports[-1] == (19, 19)
    assert (7, 19) in world.reports  # 37 %


def test_the_digest_is_compared_with_that_of_longhorn() -> None:
    image = World().publish()
    assert notes(image)[markers.DIGEST] == DIGEST
    assert notes(image)[markers.INTEGRITY] == "sha512"


def test_a_late_checksum_is_waited_for() -> None:
    world = World()
    world.harvester.hidden = 20
    assert notes(world.publish())[markers.INTEGRITY] == "sha512"


def test_a_target_without_checksums_is_marked_as_such() -> None:
    world = World(storage_class="lvm")
    world.cluster.put(a_class("lvm", "lvm.driver.harvesterhci.io"))
    assert notes(world.publish())[markers.INTEGRITY] == "transfer-only"


def test_damaged_bytes_at_the_target_are_deleted_and_uploaded_again() -> None:
    world = World()
    world.harvester.corrupt = 1
    with pytest.raises(StepError, match="differs from the disk that was served") as caught:
        world.publish()
    assert caught.value.code is Exit.BROKEN_STREAM
    assert world.images() == []
    assert notes(world.publish())[markers.INTEGRITY] == "sha512"


def test_the_image_waits_for_serve() -> None:
    world = World()
    world.serving.silent = 5
    world.publish()
    assert world.time.now >= 10


def test_a_serve_step_that_never_starts_is_an_error() -> None:
    world = World()
    world.serving.silent = 10_000
    with pytest.raises(StepError, match=r"disk-0 is not served.*quota") as caught:
        world.publish()
    assert caught.value.code is Exit.UNREACHABLE
    assert PATIENCE <= world.time.now < PATIENCE + 10
    assert world.cluster.writes() == []


def test_the_download_does_not_wait_for_the_digest() -> None:
    world = World()
    world.serving.pending = 3
    world.publish()
    assert world.cluster.writes()[0].startswith("create virtualmachineimages")
    assert world.serving.pending == 0


def test_a_stop_leaves_the_image_to_the_next_attempt() -> None:
    world = World()
    world.cluster.reconcilers.append(
        lambda cluster: world.time.set() if cluster.all(IMAGE, "default") else None
    )
    with pytest.raises(Stopped):
        world.publish()
    assert len(world.images()) == 1


# --- classes and backends


@pytest.mark.parametrize(
    ("provisioner", "parameters", "backend"),
    [
        ("driver.longhorn.io", {"dataEngine": "v1"}, "backingimage"),
        ("driver.longhorn.io", {"dataEngine": "v2"}, "cdi"),
        ("driver.longhorn.io", {}, "cdi"),  # as vm-import-controller decides for a named class
        ("lvm.driver.harvesterhci.io", {"dataEngine": "v1"}, "cdi"),
    ],
)
def test_a_named_class_decides_the_backend(
    provisioner: str, parameters: dict[str, str], backend: str
) -> None:
    world = World(storage_class="fast")
    world.cluster.put(a_class("fast", provisioner, parameters=parameters))
    image = world.publish()
    assert image["spec"]["backend"] == backend
    assert image["spec"]["targetStorageClassName"] == "fast"
    assert notes(image)[image_names.STORAGE_CLASS_NAME] == "fast"


@pytest.mark.parametrize(
    ("provisioner", "parameters", "backend"),
    [
        ("driver.longhorn.io", {}, "backingimage"),  # harvester-longhorn as it is installed
        ("driver.longhorn.io", {"dataEngine": "v2"}, "cdi"),
        ("lvm.driver.harvesterhci.io", {}, "cdi"),
    ],
)
def test_the_default_class_is_respected(provisioner: str, parameters: dict[str, str], backend: str) -> None:
    world = World()
    world.cluster.drop(STORAGE_CLASS, "harvester-longhorn")
    world.cluster.put(a_class("chosen", provisioner, parameters=parameters, default=True))
    image = world.publish()
    assert (image["spec"]["targetStorageClassName"], image["spec"]["backend"]) == ("chosen", backend)


FACTORY = {"numberOfReplicas": "3", "staleReplicaTimeout": "30", "migratable": "true"}
"""Parameters of the class in a fresh Harvester (its chart, harvester-storageclass.yaml): no dataEngine."""


@pytest.mark.parametrize(
    ("wanted", "backend", "name"),
    [("", "backingimage", "image-c72cda1eae78"), ("harvester-longhorn", "cdi", "web01-disk-0")],
    ids=["as the default", "named"],
)
def test_the_default_class_of_harvester_has_its_backend(wanted: str, backend: str, name: str) -> None:
    """vm-import-controller decides the same for a named class (pkg/util/storageclass.go)."""
    world = World(storage_class=wanted)
    world.cluster.put(a_class("harvester-longhorn", default=True, parameters=FACTORY))
    image = world.publish()
    assert image["spec"]["targetStorageClassName"] == "harvester-longhorn"
    assert (image["spec"]["backend"], image["metadata"]["name"]) == (backend, name)
    world.build()
    assert attached_claims(world.vm()) == {"disk-0": "web01-disk-0"}


def test_one_disk_may_have_another_class() -> None:
    world = World(disks=2)
    rules = (DiskRule(disk="Hard disk 2", storage_class="fast"),)
    target = world.plan.target.model_copy(update={"disks": rules})
    world.plan = world.plan.model_copy(update={"target": target})
    world.cluster.put(a_class("fast", parameters={"dataEngine": "v1"}))
    classes = [image["spec"]["targetStorageClassName"] for image in world.publish_all()]
    assert classes == ["harvester-longhorn", "fast"]


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(StepError, match="no storage class fast") as caught:
        World(storage_class="fast").publish()
    assert caught.value.code is Exit.NOT_FOUND


def test_a_missing_default_class_is_reported() -> None:
    world = World()
    world.cluster.drop(STORAGE_CLASS, "harvester-longhorn")
    with pytest.raises(StepError, match=r"no default storage class.*spec\.storageClass"):
        world.publish()


# --- failures


def test_a_failure_is_reported_verbatim_and_repaired_by_the_next_attempt() -> None:
    world = World()
    world.harvester.fail = ["no space left on device"]
    with pytest.raises(StepError) as caught:
        world.publish()
    assert caught.value.code is Exit.BROKEN_STREAM
    assert caught.value.why == "retry attempted 3/3 failed due to error: no space left on device"
    failed = world.images()[0]["metadata"]["uid"]
    image = world.publish()
    assert image["metadata"]["uid"] != failed
    assert len(world.harvester.made) == 2


def test_no_message_contains_the_secret_part_of_the_url(capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    url = world.served_url()
    world.harvester.trouble = f"got 404 status code from {url}"
    world.harvester.fail = [f"got 502 status code from {url}"]
    with pytest.raises(StepError) as caught:
        world.publish()
    assert "got 502 status code from http://serve/…/disk-0.raw" in str(caught.value)
    world.publish()
    captured = capsys.readouterr()
    assert "got 404" in captured.out + captured.err
    assert TOKEN not in captured.out + captured.err + str(caught.value)


def test_an_exceeded_quota_is_reported() -> None:
    world = World()
    world.cluster.quota["default", IMAGE] = 0
    with pytest.raises(StepError, match=r"exceeded quota.*raise that limit") as caught:
        world.publish()
    assert caught.value.code is Exit.NO_SPACE


def test_a_missing_right_names_verb_and_resource() -> None:
    world = World()
    world.cluster.denied.add(("create", IMAGE))
    with pytest.raises(
        StepError, match=r"right to create on virtualmachineimages\.harvesterhci\.io"
    ) as caught:
        world.publish()
    assert caught.value.code is Exit.DENIED


def test_a_controller_without_progress_is_detected() -> None:
    world = World()
    world.harvester.steps = (5,) * 10_000
    with pytest.raises(StepError, match=r"makes no progress.*at 5 %") as caught:
        world.publish()
    assert caught.value.code is Exit.UNREACHABLE


def test_an_image_deleted_meanwhile_is_reported() -> None:
    world = World()

    def someone(cluster: FakeCluster) -> None:
        for one in world.images():
            cluster.drop(IMAGE, one["metadata"]["name"], "default")

    world.cluster.reconcilers.append(someone)
    with pytest.raises(StepError, match="was deleted") as caught:
        world.publish()
    assert caught.value.code is Exit.UNREACHABLE


# --- an earlier attempt


def begun(world: World) -> Object:
    """An attempt that was killed while Harvester downloads, which takes some more polls."""
    world.harvester.steps = (0, 37, 60, 99)
    world.harvester.held_at = 1
    with pytest.raises(StepError):
        world.publish()
    world.harvester.held_at = None
    return world.images()[0]


def test_a_running_download_is_continued() -> None:
    world = World()
    uid = begun(world)["metadata"]["uid"]
    assert world.publish()["metadata"]["uid"] == uid


@pytest.mark.parametrize(
    ("field", "value"), [("landed", "2"), ("origin", "http://elsewhere"), ("token", "t" * 32)]
)
def test_a_download_of_another_file_or_from_elsewhere_is_restarted(field: str, value: str) -> None:
    world = World()
    uid = begun(world)["metadata"]["uid"]
    setattr(world.serving, field, value)
    assert world.publish()["metadata"]["uid"] != uid
    assert len(world.images()) == 1


def test_an_image_is_made_again_when_serve_starts_again_during_its_download() -> None:
    """The new serve step has a new URL: Harvester's own retries would end at the old one."""
    world = World()
    world.harvester.steps = (0, 37, 60, 99)
    world.harvester.held_at = 1

    def restart(_: FakeCluster) -> None:
        if world.time.now > 100:
            world.serving.token, world.harvester.held_at = "t" * 32, None

    world.cluster.reconcilers.append(restart)
    image = world.publish()
    assert image["spec"]["url"] == f"http://serve/{'t' * 32}/disk-0.raw"
    assert len(world.harvester.made) == 2
    assert len(world.images()) == 1


def test_a_finished_download_outlives_the_url_of_its_serve_step() -> None:
    world = World()
    uid = world.publish()["metadata"]["uid"]
    world.cluster.patch(IMAGE, world.images()[0]["metadata"]["name"], UNSTAMPED, "default")
    world.serving.token = "t" * 32
    assert world.publish()["metadata"]["uid"] == uid


def test_a_deletion_in_progress_is_waited_for() -> None:
    world = World()
    image = begun(world)
    stored = world.cluster.peek(IMAGE, image["metadata"]["name"], "default")
    assert stored is not None
    stored["metadata"]["finalizers"] = ["harvester"]
    world.cluster.drop(IMAGE, image["metadata"]["name"], "default")

    def finish(cluster: FakeCluster) -> None:
        if world.time.now > 4000 and cluster.peek(IMAGE, image["metadata"]["name"], "default") is stored:
            cluster.finish(IMAGE, image["metadata"]["name"], "default")

    world.time.now = 3990
    world.cluster.reconcilers.append(finish)
    assert world.publish()["metadata"]["uid"] != image["metadata"]["uid"]


def test_a_deletion_that_hangs_names_its_finalizers() -> None:
    world = World()
    image = begun(world)
    stored = world.cluster.peek(IMAGE, image["metadata"]["name"], "default")
    assert stored is not None
    stored["metadata"]["finalizers"] = ["wrangler.cattle.io/vm-image"]
    world.cluster.drop(IMAGE, image["metadata"]["name"], "default")
    with pytest.raises(StepError, match=r"still being deleted.*wrangler\.cattle\.io/vm-image") as caught:
        world.publish()
    assert caught.value.code is Exit.BUSY


def test_a_finished_image_of_the_import_is_found_again() -> None:
    world = World()
    uid = world.publish()["metadata"]["uid"]
    world.planned(generation=2)
    again = world.publish()
    assert again["metadata"]["uid"] == uid
    assert notes(again)[markers.PUBLISHED] == "vmi-web-6f1d-g2/disk-0"


def test_a_retry_by_another_workflow_compares_the_existing_image() -> None:
    world = World()
    first = world.publish(workflow="vmi-web-g1")
    world.serving.silent = 5
    again = world.publish(workflow="vmi-web-g1-r1")
    assert world.serving.silent == 0, "it has to see the disk's digest"
    assert again["metadata"]["uid"] == first["metadata"]["uid"]
    assert world.harvester.made == [first["metadata"]["name"]]
    assert notes(again)[markers.PUBLISHED] == "vmi-web-6f1d-g1/disk-0"
    assert notes(again)[markers.PUBLISHED_BY] == "vmi-web-g1-r1"


@pytest.mark.parametrize("workflow", ["", "vmi-web-g1"])
def test_after_a_kill_a_marked_image_needs_no_serve(workflow: str) -> None:
    """The serve step of this disk has seen the mark and has ended: no serve would answer for 15 minutes."""
    world = World()
    first = world.publish(workflow=workflow)
    world.serving.silent = 1_000_000
    begun = world.time.now
    assert world.publish(workflow=workflow)["metadata"]["uid"] == first["metadata"]["uid"]
    assert world.time.now == begun


@pytest.mark.parametrize("damage", ["unmarked", "leaving", "not imported"])
def test_a_mark_counts_only_on_an_intact_image(damage: str) -> None:
    world = World()
    image = world.publish(workflow="vmi-web-g1")
    stored = world.cluster.peek(IMAGE, image["metadata"]["name"], "default")
    assert stored is not None
    if damage == "unmarked":
        del stored["metadata"]["annotations"][markers.PUBLISHED]
    elif damage == "leaving":
        stored["metadata"]["finalizers"] = ["harvester"]
        world.cluster.drop(IMAGE, image["metadata"]["name"], "default")
    else:
        stored["status"]["conditions"] = [{"type": "Imported", "status": "False", "message": "lost"}]
    assert not is_completed(stored, IMAGES, world.plan, "disk-0", WorkflowRef("vmi-web-g1"))


def test_without_a_workflow_its_name_is_removed() -> None:
    world = World()
    world.publish(workflow="vmi-web-g1")
    world.cluster.patch(IMAGE, world.images()[0]["metadata"]["name"], UNMARKED, "default")
    assert markers.PUBLISHED_BY not in notes(world.publish())


def test_new_bytes_of_the_same_import_make_an_additional_image() -> None:
    world = World()
    old = world.publish(workflow="vmi-web-g1")
    world.serving.data["disk-0"] = b"new bytes"
    world.serving.landed = "2"
    new = world.publish(workflow="vmi-web-g1-r1")
    assert new["metadata"]["name"] != old["metadata"]["name"]
    assert new["spec"]["displayName"] != old["spec"]["displayName"]
    assert [one["metadata"]["uid"] for one in world.published()] == [new["metadata"]["uid"]]
    assert world.publish(workflow="vmi-web-g1-r2")["metadata"]["uid"] == new["metadata"]["uid"]


# --- an earlier import


def test_equal_bytes_are_reused_without_an_upload() -> None:
    world = World()
    reimport(world)
    before = list(world.harvester.made)
    image = world.publish()
    assert world.harvester.made == before
    assert notes(image)[markers.PUBLISHED] == "vmi-web-second-g1/disk-0"
    world.build()
    world.start()


def test_serve_gets_no_request_after_the_mark() -> None:
    """The mark ends serve, so a later request for its description would wait in vain."""
    for before in (lambda world: None, reimport):
        world = World()
        before(world)

        def ends(verb: str, thing: Object, world: World = world) -> None:
            if verb == "update" and notes(thing).get(markers.PUBLISHED, "").startswith(world.plan.run):
                world.serving.silent = 1_000_000

        world.cluster.admission.append(ends)
        assert notes(world.publish())[markers.PUBLISHED] == f"{world.plan.run}/disk-0"
        assert world.serving.silent


def test_equal_bytes_are_found_among_several_images() -> None:
    world = World()
    reimport(world)
    world.serving.data["disk-0"] = b"second bytes"
    second = world.publish()
    world.cluster.drop(IMPORT, "web", "default")
    stored = world.cluster.peek(IMAGE, second["metadata"]["name"], "default")
    assert stored is None  # it still belonged to the import
    world.planned("third")
    assert notes(world.publish())[markers.PUBLISHED] == "vmi-web-third-g1/disk-0"
    assert len(world.images()) == 2


def test_other_bytes_cause_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    reimport(world)
    world.serving.data["disk-0"] = b"other bytes"
    world.publish()
    captured = capsys.readouterr()
    assert "its content cannot be verified" in captured.out + captured.err
    assert len(world.images()) == 2


def test_cdi_images_of_an_earlier_import_are_never_reused() -> None:
    world = World(storage_class="lvm")
    world.cluster.put(a_class("lvm", "lvm.driver.harvesterhci.io"))
    world.publish()
    stored = world.images()[0]
    stored["metadata"]["ownerReferences"] = []
    world.planned("second", storage_class="lvm")
    assert world.publish()["metadata"]["uid"] != stored["metadata"]["uid"]
    assert len(world.images()) == 2


def test_an_unstamped_image_is_not_reused() -> None:
    world = World()
    old = unstamped(world)
    new = world.publish()
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    assert new["spec"]["displayName"].startswith("vm-import-web-disk-0-")


def test_an_unstamped_image_is_reused_by_its_name_if_allowed() -> None:
    world = World(reuse_unstamped=True)
    old = unstamped(world)
    image = world.publish()
    assert image["metadata"]["uid"] == old["metadata"]["uid"]
    assert markers.DIGEST not in notes(image)
    assert world.harvester.made == []


def test_several_images_of_the_name_are_ambiguous() -> None:
    world = World()
    unstamped(world, "image-a")
    unstamped(world, "image-b")
    with pytest.raises(StepError, match=r"2 images.*image-a, image-b; delete or rename") as caught:
        world.publish()
    assert caught.value.code is Exit.AMBIGUOUS


# --- owners


def test_the_import_owns_its_image() -> None:
    (owner,) = World().publish()["metadata"]["ownerReferences"]
    assert owner == {
        "apiVersion": "migration.harvesterhci.io/v1beta1",
        "kind": "VirtualMachineImport",
        "name": "web",
        "uid": "6f1d",
    }


def test_an_import_that_is_not_an_object_owns_nothing() -> None:
    world = World()
    world.cluster.drop(IMPORT, "web", "default")
    assert "ownerReferences" not in world.publish()["metadata"]


def test_an_image_has_no_owner_without_the_import_crd() -> None:
    world = World()
    world.cluster.drop(IMPORT, "web", "default")
    world.cluster.kinds.discard(IMPORT)
    assert "ownerReferences" not in world.publish()["metadata"]


def test_the_name_of_another_imports_image_is_a_conflict() -> None:
    world = World()
    name = image_names.image_name(world.plan.import_, "disk-0")
    theirs = {names.LABEL_UID: "else", names.LABEL_NAME: "shop", names.LABEL_NAMESPACE: "prod"}
    unstamped(world, name, metadata={"name": name, "namespace": "default", "labels": theirs})
    with pytest.raises(StepError, match=r"belongs to import prod/shop \(uid else\)") as caught:
        world.publish()
    assert caught.value.code is Exit.CONFLICT


def test_the_fake_serving_hides_its_token() -> None:
    assert TOKEN not in FakeServing().redact(f"x {TOKEN} y")


# --- what the receiver can prove


def test_longhorn_is_told_the_digest_if_it_is_known_already() -> None:
    world = World()
    assert world.publish()["spec"]["checksum"] == DIGEST


def test_longhorn_is_told_no_digest_that_is_not_known_yet() -> None:
    world = World()
    world.serving.pending = 3
    image = world.publish()
    assert "checksum" not in image["spec"]
    assert notes(image)[markers.INTEGRITY] == "sha512"


def test_cdi_is_told_no_digest_as_harvester_does_not_pass_it_on() -> None:
    world = World(storage_class="lvm")
    world.cluster.put(a_class("lvm", "lvm.driver.harvesterhci.io"))
    image = world.publish()
    assert image["spec"]["backend"] == "cdi"
    assert "checksum" not in image["spec"]
    assert notes(image)[markers.INTEGRITY] == "transfer-only"


def test_over_tls_cdi_gets_the_bytes_unchanged() -> None:
    world = World(storage_class="lvm")
    world.cluster.put(a_class("lvm", "lvm.driver.harvesterhci.io"))
    world.serving.origin = "https://serve"
    assert notes(world.publish())[markers.INTEGRITY] == "tls"


def test_over_tls_the_digest_of_longhorn_still_counts() -> None:
    world = World()
    world.serving.origin = "https://serve"
    assert notes(world.publish())[markers.INTEGRITY] == "sha512"


def a_profile(name: str, mode: str) -> Object:
    """How CDI uses a class (CDI's StorageProfile)."""
    return {
        "apiVersion": STORAGE_PROFILE.api_version,
        "kind": STORAGE_PROFILE.kind,
        "metadata": {"name": name},
        "status": {"claimPropertySets": [{"accessModes": ["ReadWriteOnce"], "volumeMode": mode}]},
    }


def cdi_world(mode: str, taken_for: str) -> World:
    world = World(storage_class="nfs")
    world.cluster.put(a_class("nfs", "nfs.csi.k8s.io"))
    world.cluster.put(a_profile("nfs", mode))
    world.serving.taken_for = taken_for
    return world


def test_a_disk_that_cdi_would_misread_on_a_filesystem_is_refused_before_an_image_is_made() -> None:
    world = cdi_world("Filesystem", "luks")
    with pytest.raises(StepError, match="use a class whose volumes are block devices") as caught:
        world.publish()
    assert caught.value.code is Exit.UNSUPPORTED
    assert "disk-0" in caught.value.what
    assert "luks" in caught.value.why
    assert world.harvester.made == []


@pytest.mark.parametrize(("mode", "taken_for"), [("Block", "luks"), ("Filesystem", "")])
def test_other_disks_are_imported_by_cdi(mode: str, taken_for: str) -> None:
    world = cdi_world(mode, taken_for)
    world.publish()
    assert len(world.harvester.made) == 1


@pytest.mark.parametrize("absence", ["profile", "kind", "right"])
def test_without_a_profile_that_can_be_read_cdi_decides(absence: str) -> None:
    world = cdi_world("Filesystem", "luks")
    if absence == "right":
        world.cluster.denied.add(("get", STORAGE_PROFILE))
    else:
        world.cluster.drop(STORAGE_PROFILE, "nfs", "")
    if absence == "kind":
        world.cluster.kinds.discard(STORAGE_PROFILE)
    world.publish()
    assert len(world.harvester.made) == 1


def test_longhorn_takes_such_a_disk() -> None:
    """Nothing looks at what is inside a qcow2 backing image."""
    world = World()
    world.serving.taken_for = "luks"
    world.publish()
    assert len(world.harvester.made) == 1
