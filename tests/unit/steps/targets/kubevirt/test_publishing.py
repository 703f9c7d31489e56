"""The step `image` for KubeVirt: a disk becomes a DataVolume."""

from __future__ import annotations

import pytest

from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, DATA_VOLUME
from steps.targets.cluster import markers
from steps.targets.kubevirt.publishing import QUOTA_SECONDS, STALLED_SECONDS, VOLUME_SECONDS
from steps.targets.kubevirt.volume_state import MOST_RESTARTS, TOO_SMALL
from tests.unit.steps.targets.harvester.stand_ins import DIGEST, TOKEN, a_class
from tests.unit.steps.targets.kubevirt.world import World, a_profile


def test_a_disk_becomes_a_data_volume_named_after_the_vm() -> None:
    world = World()
    made = world.publish()
    assert made["metadata"]["name"] == "web01-disk-0"
    assert made["status"]["phase"] == "Succeeded"
    storage = made["spec"]["storage"]
    assert (storage["storageClassName"], storage["accessModes"], storage["volumeMode"]) == (
        "ceph",
        ["ReadWriteMany"],
        "Block",
    )
    assert made["metadata"]["annotations"]["cdi.kubevirt.io/storage.bind.immediate.requested"] == "true"
    assert made["metadata"]["annotations"][markers.PUBLISHED] == "vmi-web-6f1d-g1/disk-0"


def test_a_phase_that_goes_back_is_no_failure_and_progress_never_exceeds_the_size() -> None:
    world = World()
    world.publish()
    done = [report[0] for report in world.reports]
    assert done == sorted(done)
    assert all(count <= total for count, total in world.reports)
    assert world.cdi.made == ["web01-disk-0"]


def test_cdi_compares_the_digest_of_the_served_bytes() -> None:
    world = World()
    world.serving.pending = 3
    made = world.publish()
    assert made["spec"]["source"]["http"]["checksum"] == f"sha512:{DIGEST}"
    assert made["metadata"]["annotations"][markers.INTEGRITY] == "sha512"
    assert made["metadata"]["annotations"][markers.DIGEST] == DIGEST


def test_an_older_cdi_gets_no_digest_and_the_status_says_so() -> None:
    world = World()
    world.cdi.checks_digests = False
    made = world.publish()
    assert "checksum" not in made["spec"]["source"]["http"]
    assert made["metadata"]["annotations"][markers.INTEGRITY] == "transfer-only"


def test_a_changed_byte_is_detected_and_the_next_attempt_imports_again() -> None:
    world = World()
    world.cdi.corrupt = 1
    with pytest.raises(StepError, match="checksum mismatch") as caught:
        world.publish()
    assert caught.value.code is Exit.BROKEN_STREAM
    assert markers.PUBLISHED not in world.data_volumes()[0]["metadata"]["annotations"]
    assert world.publish()["status"]["phase"] == "Succeeded"
    assert world.cdi.made == ["web01-disk-0"] * 2


def test_an_importer_that_restarts_is_waited_for() -> None:
    world = World()
    world.cdi.fail = ["Unable to connect"] * (MOST_RESTARTS - 1)
    assert world.publish()["status"]["phase"] == "Succeeded"


def test_after_five_restarts_the_step_gives_up_with_the_last_words_of_the_importer() -> None:
    world = World()
    world.cdi.fail = [f"Unable to process data: http://serve/{TOKEN}/disk-0.raw"] * MOST_RESTARTS
    with pytest.raises(StepError, match="Unable to process data") as caught:
        world.publish()
    assert caught.value.code is Exit.BROKEN_STREAM
    assert TOKEN not in str(caught.value)


def test_a_disk_that_never_fits_ends_the_step_at_the_second_try_and_says_what_to_change() -> None:
    world = World()
    world.cdi.fail = [TOO_SMALL] * MOST_RESTARTS
    with pytest.raises(StepError, match="filesystemOverhead") as caught:
        world.publish()
    assert caught.value.code is Exit.NO_SPACE
    assert len(world.cdi.fail) == MOST_RESTARTS - 2


def test_a_failed_data_volume_is_deleted_by_its_uid_before_the_next_try() -> None:
    world = World()
    world.cdi.fatal = ["Unable to process data: no"]
    with pytest.raises(StepError):
        world.publish()
    failed = world.data_volumes()[0]["metadata"]["uid"]
    assert world.publish()["metadata"]["uid"] != failed


def test_a_served_disk_at_a_new_url_is_imported_again() -> None:
    world = World()
    world.cdi.held_at = 5

    def serve_starts_again(_: object) -> None:
        if world.time.now > 30 and world.serving.token == TOKEN:
            world.serving.token = "another-token-nobody-guesses"  # noqa: S105
            world.cdi.held_at = None

    world.cluster.reconcilers.append(serve_starts_again)
    made = world.publish()
    assert world.serving.token in made["spec"]["source"]["http"]["url"]
    assert len(world.cdi.made) == 2


def test_a_new_export_is_imported_again() -> None:
    world = World()
    first = world.publish(workflow="one")
    world.serving.landed = "2"
    assert world.publish(workflow="two")["metadata"]["uid"] != first["metadata"]["uid"]


def test_a_finished_data_volume_is_taken_by_a_retry_without_a_second_download() -> None:
    world = World()
    first = world.publish(workflow="one")
    assert world.publish(workflow="two")["metadata"]["uid"] == first["metadata"]["uid"]
    assert world.cdi.made == ["web01-disk-0"]


def test_a_data_volume_under_a_started_vm_is_never_deleted() -> None:
    world = World()
    world.carry_out()
    world.serving.landed = "2"
    with pytest.raises(StepError, match="VM web01 runs on it") as caught:
        world.publish(workflow="two")
    assert caught.value.code is Exit.CONFLICT
    assert len(world.data_volumes()) == 1


@pytest.mark.parametrize("kind", [CLAIM, DATA_VOLUME])
def test_a_volume_of_others_that_takes_the_name_is_a_conflict_and_stays(kind: object) -> None:
    world = World()
    world.volumes()
    theirs = {
        "apiVersion": kind.api_version,  # type: ignore[attr-defined]
        "kind": kind.kind,  # type: ignore[attr-defined]
        "metadata": {"name": "web01-disk-0", "namespace": "default"},
        "spec": {"source": {"blank": {}}},
    }
    world.cluster.put(theirs)
    with pytest.raises(StepError) as caught:
        world.publish()
    assert caught.value.code is Exit.CONFLICT
    assert world.cluster.peek(kind, "web01-disk-0", "default") is not None  # type: ignore[arg-type]
    assert world.cdi.made == []


def test_a_data_volume_of_an_earlier_run_gets_no_new_content_and_another_name_is_used() -> None:
    world = World()
    world.publish()
    world.planned("6f1d", generation=2)
    made = world.publish()
    assert made["metadata"]["name"].startswith("web01-disk-0-")
    assert len(world.data_volumes()) == 2


def test_a_quota_without_room_ends_the_step_after_a_while() -> None:
    world = World()
    world.cdi.blocked = ("ErrExceededQuota", "exceeded quota: small, requested: requests.storage=1Gi")
    with pytest.raises(StepError, match="exceeded quota: small") as caught:
        world.publish()
    assert caught.value.code is Exit.NO_SPACE
    assert QUOTA_SECONDS < world.time.now < 2 * QUOTA_SECONDS


@pytest.mark.parametrize("phase", ["Pending", ""])
def test_a_claim_without_a_volume_ends_the_step_after_a_while_with_the_reason(phase: str) -> None:
    world = World()
    why = "target PVC web01-disk-0 Pending and no space left in pool"
    world.cdi.blocked, world.cdi.blocked_phase = ("Pending", why), phase
    with pytest.raises(StepError, match="no space left in pool") as caught:
        world.publish()
    assert caught.value.code is Exit.NO_SPACE
    assert "kubectl describe pvc web01-disk-0 -n default" in caught.value.remedy
    assert VOLUME_SECONDS < world.time.now < 2 * VOLUME_SECONDS


def test_scratch_space_that_never_comes_ends_the_step_as_late_as_a_stalled_download() -> None:
    """With a tight quota a disk waits while CDI copies another one."""
    world = World()
    world.cdi.held_at = 3
    with pytest.raises(StepError, match="no scratch space") as caught:
        world.publish()
    assert caught.value.code is Exit.NO_SPACE
    assert world.time.now > STALLED_SECONDS


def test_a_claim_that_cdi_cannot_make_ends_the_step_at_once() -> None:
    world = World()
    world.cdi.blocked = ("ErrClaimNotValid", "no accessMode specified in StorageProfile ceph")
    with pytest.raises(StepError, match="no accessMode") as caught:
        world.publish()
    assert caught.value.code is Exit.INVALID
    assert world.time.now < 60


def test_a_download_without_progress_ends_the_step() -> None:
    world = World()
    world.cdi.held_at = 5
    with pytest.raises(StepError, match="makes no progress") as caught:
        world.publish()
    assert caught.value.code is Exit.UNREACHABLE
    assert world.time.now > STALLED_SECONDS


def test_a_disk_that_cdi_would_misread_is_refused_on_a_filesystem() -> None:
    world = World()
    world.serving.taken_for = "qcow2"
    world.cluster.put(a_profile("ceph", "ReadWriteOnce", "Filesystem"))
    with pytest.raises(StepError, match="header of a qcow2 image") as caught:
        world.publish()
    assert caught.value.code is Exit.UNSUPPORTED
    assert world.data_volumes() == []


def test_the_default_class_of_kubevirt_goes_before_that_of_kubernetes() -> None:
    world = World()
    fast = a_class("fast", "fast.example")
    fast["metadata"]["annotations"] = {"storageclass.kubevirt.io/is-default-virt-class": "true"}
    world.cluster.put(fast)
    assert world.publish()["spec"]["storage"]["storageClassName"] == "fast"
