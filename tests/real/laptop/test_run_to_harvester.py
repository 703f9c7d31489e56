"""`vmferry run --to harvester`: local processes, a real API server, stand-ins for Harvester's controllers."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model import names
from steps.model.contract import Exit
from steps.model.kinds import CLAIM, IMAGE, MACHINE, Kind
from steps.model.names import PORT
from steps.targets.cluster import markers
from steps.targets.cluster.vm_objects import attached_claims
from tests.real.e2e import harness
from tests.real.e2e.conftest import MakeDisk
from tests.real.laptop.desk import OPTIONS, SLOW, TESTED, Desk, kubectl, same_bytes
from tests.real.simulator import Simulator
from tests.real.standins import harvester_machines
from tests.real.standins.api import NAMESPACE, Api
from tests.real.standins.asked import gone
from tests.real.standins.crds import LONGHORN_CLASS, V1_CLASS
from tests.real.standins.lab import Lab
from tests.real.standins.process import eventually, running

pytestmark = [pytest.mark.vcenter, pytest.mark.programs]

MADE: Final[tuple[Kind, ...]] = (MACHINE, CLAIM, IMAGE)


@pytest.fixture(scope="module")
def originals(disks: MakeDisk) -> tuple[Path, Path]:
    return disks("system", 6), disks("data", 4)


@pytest.fixture
def desk(tmp_path: Path, where: Lab, api: Api, vcenter: Simulator, namespace: str) -> Desk:
    assert namespace == TESTED
    return Desk(tmp_path, where, api, vcenter)


def test_a_vm_is_imported_into_the_cluster(
    desk: Desk, where: Lab, originals: tuple[Path, Path], vcenter: Simulator
) -> None:
    with running(where, *OPTIONS):
        ended = desk.run()
        assert ended.code == 0, ended.err
        assert f"shop: imported as VirtualMachine {TESTED}/shop" in ended.err
        (machine,) = desk.made(MACHINE)
        assert machine["status"]["ready"]
        for kind in MADE:
            for thing in desk.made(kind):
                assert thing["metadata"]["labels"][names.LABEL_NAME] == "shop"
                assert not thing["metadata"].get("ownerReferences")
        for image in desk.made(IMAGE):
            assert image["metadata"]["annotations"][markers.INTEGRITY] == "sha512"
        assert_holds(desk, where, originals, machine)
        assert harness.left(vcenter) == []
        (message,) = json.loads(harness.vmferry("status", desk.into, "-o", "json").out)
        stages = {(one["stage"], one["disk"]): one["phase"] for one in message["stages"]}
        assert message["phase"] == "Succeeded"
        assert stages["serve", "disk-1"] == stages["image", "disk-1"] == stages["start", None] == "Succeeded"
        assert {path.name for path in desk.into.iterdir()} == {"run.json", ".vmferry"}
        assert not (desk.into / ".vmferry" / "scratch").exists()


def assert_holds(desk: Desk, where: Lab, originals: tuple[Path, Path], machine: Any) -> None:
    """The VM uses one claim per disk, named after it, and those have the source's bytes."""
    claims = attached_claims(machine)
    assert claims == {"disk-0": "shop-disk-0", "disk-1": "shop-disk-1"}
    for number, original in enumerate(originals):
        assert same_bytes(original, where.disk(desk.api, TESTED, claims[f"disk-{number}"]))


def test_the_named_default_class_of_harvester_uses_cdi(
    tmp_path: Path, where: Lab, api: Api, originals: tuple[Path, Path], vcenter: Simulator, namespace: str
) -> None:
    assert namespace == TESTED
    desk = Desk(tmp_path, where, api, vcenter, LONGHORN_CLASS)
    with running(where, *OPTIONS):
        ended = desk.run()
        assert ended.code == 0, ended.err
        (machine,) = desk.made(MACHINE)
        assert {image["spec"]["backend"] for image in desk.made(IMAGE)} == {"cdi"}
        assert desk.uids().keys() == {"shop-disk-0", "shop-disk-1"}
        assert_holds(desk, where, originals, machine)


@pytest.mark.parametrize("storage_class", [V1_CLASS, LONGHORN_CLASS], ids=["backing image", "cdi"])
def test_a_deleted_vm_is_imported_again_next_to_its_old_volumes(
    tmp_path: Path,
    where: Lab,
    api: Api,
    originals: tuple[Path, Path],
    vcenter: Simulator,
    namespace: str,
    storage_class: str,
) -> None:
    """Unticked disks stay the first time. Ticked ones are deleted the second time, except with CDI."""
    assert namespace == TESTED
    old: dict[str, str] = {}
    with running(where, *OPTIONS):
        for number, ticked in enumerate(([], ["disk-0", "disk-1"], [])):
            folder = tmp_path / str(number)
            folder.mkdir()
            desk = Desk(folder, where, api, vcenter, storage_class)
            ended = desk.run()
            assert ended.code == 0, ended.err
            (machine,) = desk.made(MACHINE)
            attached = attached_claims(machine)
            claims = {one["metadata"]["name"]: one["metadata"]["uid"] for one in desk.made(CLAIM)}
            assert not old.keys() & set(attached.values()), "an old volume was attached"
            assert old.items() <= claims.items(), "an old volume is gone"
            for disk, original in zip(("disk-0", "disk-1"), originals, strict=True):
                assert attached[disk].startswith(f"shop-{disk}")
                assert same_bytes(original, where.disk(api, TESTED, attached[disk]))
            harvester_machines.remove(api, TESTED, "shop", ticked)
            gone(api, MACHINE, TESTED, "shop")
            if ticked and storage_class == V1_CLASS:
                for name in attached.values():
                    gone(api, CLAIM, TESTED, name)
            else:
                old |= {name: claims[name] for name in attached.values()}


def test_an_import_resumes_after_a_kill_during_the_download(desk: Desk, where: Lab) -> None:
    with running(where, *OPTIONS, *SLOW), desk.started() as run:
        run.until(lambda: len(desk.made(IMAGE)) == 2, why="images were made")
        before = desk.uids()
        run.kill_all()
        (message,) = json.loads(harness.vmferry("status", desk.into, "-o", "json").out)
        assert (message["phase"], message["goOn"]) == ("Interrupted", f"vmferry retry {desk.into}")
    with running(where, *OPTIONS):
        ended = desk.retry()
        assert ended.code == 0, ended.err
        assert desk.uids().keys() == before.keys()
        assert len(desk.made(MACHINE)) == 1


def test_a_failed_image_ends_its_serve_and_retry_runs_both(
    desk: Desk, where: Lab, vcenter: Simulator
) -> None:
    """The quota is filled after `admit` has found room in it."""
    vcenter.hold("ShutdownGuest")
    with running(where, *OPTIONS):
        with desk.started() as run:
            run.until(lambda: bool(vcenter.held(1)), why="the VM is shut down")
            kubectl(where, "create", "quota", "none", "--hard=count/virtualmachineimages.harvesterhci.io=0")
            kubectl(where, "wait", "quota/none", "--for=jsonpath={.status.hard}", "--timeout=60s")
            vcenter.release()
            ended = run.wait()
        assert ended.code == Exit.NO_SPACE, ended.err
        assert ended.error.startswith("error: shop: image disk-")
        codes = {
            node["outputs"]["exitCode"]
            for node in harness.state(desk.into)["status"]["nodes"].values()
            if node["templateName"] == "serve" and node["type"] == "Pod"
        }
        assert codes == {str(int(Exit.SIBLING))}
        kubectl(where, "delete", "quota", "none")
        ended = desk.retry()
        assert ended.code == 0, ended.err


def test_a_stopped_import_is_discarded_without_a_trace(desk: Desk, where: Lab) -> None:
    with running(where, *OPTIONS, *SLOW), desk.started() as run:
        run.until(lambda: len(desk.made(IMAGE)) == 2, why="images were made")
        run.signal(signal.SIGINT)
        assert run.wait().code == 130
        assert len(desk.made(IMAGE)) == 2, "a retry resumes from there"
        ended = harness.vmferry("discard", desk.into)
        assert ended.code == 0, ended.err
        assert ended.err.count("deleted VirtualMachineImage") == 2
        eventually(lambda: not desk.made(IMAGE), "images go")
        assert not desk.into.exists()


@pytest.mark.parametrize(
    ("environ", "message", "code"),
    [
        ({"KUBECONFIG": ""}, "KUBECONFIG is not set; set it to the kubeconfig file", Exit.INVALID),
        ({"SVC_ADDRESS": ""}, "SVC_ADDRESS is not set: the cluster fetches the disks", Exit.INVALID),
        ({"SVC_ADDRESS": "http://x"}, "SVC_ADDRESS 'http://x' is not an address; write HOST", Exit.INVALID),
        ({"PATH": "/nowhere"}, "nginx is missing; install", Exit.INVALID),
    ],
)
def test_missing_settings_are_refused_before_any_change(
    desk: Desk, vcenter: Simulator, environ: dict[str, str], message: str, code: Exit
) -> None:
    before = vcenter.tasks()
    ended = desk.run(**environ)
    assert ended.code == code
    assert ended.error.startswith(f"error: {message}")
    assert not desk.into.exists()
    assert vcenter.tasks() == before


def test_an_unknown_namespace_is_refused_before_any_change(
    tmp_path: Path, where: Lab, api: Api, vcenter: Simulator
) -> None:
    gone(api, NAMESPACE, "", TESTED)
    ended = Desk(tmp_path, where, api, vcenter).run()
    assert ended.code == Exit.NOT_FOUND
    assert ended.error.startswith(f"error: the cluster has no namespace {TESTED}; create it")
    assert str(PORT) not in ended.err
