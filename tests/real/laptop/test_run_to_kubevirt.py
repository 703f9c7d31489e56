"""`vmferry run --to kubevirt`: local processes, a real API server, stand-ins for CDI and KubeVirt."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from steps.model.contract import Exit
from steps.model.kinds import CLAIM, DATA_VOLUME, IMAGE, MACHINE
from steps.targets.cluster import markers
from steps.targets.cluster.vm_objects import attached_claims
from tests.real.e2e import harness
from tests.real.e2e.conftest import MakeDisk
from tests.real.laptop.desk import OPTIONS, SLOW, TESTED, Desk, kubectl, same_bytes
from tests.real.simulator import Simulator
from tests.real.standins.api import Api
from tests.real.standins.asked import gone
from tests.real.standins.crds import LONGHORN_CLASS
from tests.real.standins.lab import Lab
from tests.real.standins.process import running

pytestmark = [pytest.mark.vcenter, pytest.mark.programs]

CORRUPT: Final = ("--corrupt", "1")


@pytest.fixture(scope="module")
def originals(disks: MakeDisk) -> tuple[Path, Path]:
    """Mostly holes: the volumes have a filesystem, which a disk of a few MiB does not fit."""
    return disks("system", 64, 6), disks("data", 64, 4)


@pytest.fixture
def desk(tmp_path: Path, where: Lab, api: Api, vcenter: Simulator, namespace: str) -> Desk:
    assert namespace == TESTED
    return Desk(tmp_path, where, api, vcenter, LONGHORN_CLASS, to="kubevirt")


def assert_imported(desk: Desk, where: Lab, originals: tuple[Path, Path]) -> None:
    """The VM runs on the claims of its DataVolumes, which have the source's bytes, and owns them."""
    (machine,) = desk.made(MACHINE)
    assert machine["status"]["ready"]
    claims = attached_claims(machine)
    for number, original in enumerate(originals):
        assert same_bytes(original, where.disk(desk.api, TESTED, claims[f"disk-{number}"]))
    for data_volume in desk.made(DATA_VOLUME):
        owners = [owner["uid"] for owner in data_volume["metadata"]["ownerReferences"]]
        assert owners == [machine["metadata"]["uid"]]
        assert data_volume["metadata"]["annotations"][markers.INTEGRITY] == "sha512"
    assert desk.made(IMAGE) == []


def test_a_vm_is_imported_and_its_disks_go_with_it(
    desk: Desk, where: Lab, api: Api, originals: tuple[Path, Path]
) -> None:
    with running(where, *OPTIONS):
        ended = desk.run()
        assert ended.code == 0, ended.err
        assert f"shop: imported as VirtualMachine {TESTED}/shop" in ended.err
        assert_imported(desk, where, originals)
        api.delete(desk.made(MACHINE)[0])
        for name in ("shop-disk-0", "shop-disk-1"):
            gone(api, DATA_VOLUME, TESTED, name)
            gone(api, CLAIM, TESTED, name)


def test_a_changed_byte_is_detected_before_the_vm_exists_and_a_new_attempt_repairs_it(
    desk: Desk, where: Lab, originals: tuple[Path, Path]
) -> None:
    with running(where, *OPTIONS, *CORRUPT):
        ended = desk.run()
        assert ended.code == 0, ended.err
        logs = [log.read_text() for log in desk.into.rglob("image-disk-*.log")]
        assert any("checksum mismatch" in text for text in logs)
        assert_imported(desk, where, originals)


def test_an_import_resumes_after_a_kill_during_the_download(
    desk: Desk, where: Lab, originals: tuple[Path, Path]
) -> None:
    with running(where, *OPTIONS, *SLOW), desk.started() as run:
        run.until(lambda: len(desk.made(DATA_VOLUME)) == 2, why="DataVolumes were made")
        run.kill_all()
    with running(where, *OPTIONS):
        ended = desk.retry()
        assert ended.code == 0, ended.err
        assert_imported(desk, where, originals)


def test_a_volume_of_others_keeps_its_content_and_the_disk_gets_another_name(
    desk: Desk, where: Lab, api: Api
) -> None:
    metadata = {"name": "shop-disk-0", "namespace": TESTED}
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": LONGHORN_CLASS,
        "resources": {"requests": {"storage": "1Mi"}},
    }
    theirs = api.create({"apiVersion": "v1", "kind": CLAIM.kind, "metadata": metadata, "spec": spec})
    with running(where, *OPTIONS):
        ended = desk.run()
        assert ended.code == 0, ended.err
        attached = attached_claims(desk.made(MACHINE)[0])
        assert attached["disk-0"].startswith("shop-disk-0-")
        uids = {one["metadata"]["uid"] for one in desk.made(CLAIM)}
        assert theirs["metadata"]["uid"] in uids


def test_a_quota_without_room_is_refused_before_the_vm_is_shut_down(
    desk: Desk, where: Lab, vcenter: Simulator
) -> None:
    kubectl(where, "create", "quota", "small", "--hard=requests.storage=1Mi")
    kubectl(where, "wait", "quota/small", "--for=jsonpath={.status.hard}", "--timeout=60s")
    before = harness.tasks(vcenter, "shop")
    with running(where, *OPTIONS):
        ended = desk.run()
        assert harness.tasks(vcenter, "shop") == before
        assert ended.code == Exit.NO_SPACE, ended.err
        assert "requests.storage" in ended.err
        assert desk.made(DATA_VOLUME) == desk.made(MACHINE) == []
