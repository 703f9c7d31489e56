"""After any kill the import ends correctly: one shutdown, one image per disk, and no leftovers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from steps.model.kinds import API_VERSION, IMPORT, POD, WORKFLOW, Object
from tests.real.argo.ground import RELEASE, Ground, eventually
from tests.real.argo.world import FAILED, RUNNING, Imported, World, a_vm, images_of

pytestmark = [pytest.mark.argo, pytest.mark.alone]
Make = Callable[..., World]

PHASES: Final = ("preflight", "poweroff", "export", "convert", "image", "build", "start")


def kill_controller(ground: Ground) -> None:
    """Kill the controller as a lost node does: without a grace period."""
    for pod in ground.controller_pods():
        name = pod["metadata"]["name"]
        ground.kubectl("delete", "pod", "-n", RELEASE, name, "--grace-period=0", "--force", "--wait=false")


def assert_done_once(made: World, imported: Imported, disks: int = 1) -> None:
    vm = made.simulator.vm(imported.name)
    assert (vm["shutdowns"], vm["powerOffs"], vm["power"]) == (1, 0, "off")
    assert [task for task in made.simulator.tasks() if task["error"]] == []
    assert len(images_of(made)) == disks
    workflows = made.ground.cluster.find(WORKFLOW, RELEASE, {"migration.harvesterhci.io/run": imported.run})
    assert len(workflows) == 1


def test_controller_is_killed_at_every_phase(ground: Ground, make: Make, tmp_path: Path) -> None:
    """One import per phase, started together; the controller is killed when one reaches its phase."""
    names = [f"at-{phase}" for phase in PHASES]
    made = make([a_vm(tmp_path, name) for name in names])
    key: dict[str, str | None] = {f"vmwaresource.{made.namespace}.vcenter.machines": "7"}
    ground.limits(key)
    ground.apply(*made.source(), *(made.manifest(name) for name in names))
    every = [made.imported(name) for name in names]
    for phase, one in zip(PHASES, every, strict=True):
        reached(one, phase)
        kill_controller(ground)
    for one in every:
        one.until(RUNNING, seconds=900)
    for one in every:
        vm = made.simulator.vm(one.name)
        assert (vm["shutdowns"], vm["powerOffs"]) == (1, 0), one.name
    assert len(images_of(made)) == len(names)
    assert [task for task in made.simulator.tasks() if task["error"]] == []
    ground.limits(dict.fromkeys(key))


def test_argo_controller_is_killed(ground: Ground, make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "argo-dies")])
    imported = made.begin("argo-dies")
    imported.at("export")
    ground.service("kill", "argo-controller")
    try:
        eventually(
            lambda: all(_ended(pod) for pod in imported.pods("export")), "export to end without Argo", 120
        )
    finally:
        ground.service("start", "argo-controller")
    imported.until(RUNNING)
    assert_done_once(made, imported)


def test_pod_of_a_step_is_killed(ground: Ground, make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "pod-dies")])
    made.simulator.faults(pauseAt=65536)
    imported = made.begin("pod-dies")
    eventually(lambda: made.simulator.held(0), imported.describe)
    (pod,) = [pod for pod in imported.pods("export") if not _ended(pod)]
    name = pod["metadata"]["name"]
    ground.kubectl("delete", "pod", "-n", RELEASE, name, "--grace-period=0", "--force", "--wait=false")
    made.simulator.release()
    imported.until(RUNNING)
    vm = made.simulator.vm("pod-dies")
    assert (vm["shutdowns"], vm["powerOffs"]) == (1, 0)
    assert len(images_of(made)) == 1


def test_api_server_is_killed(ground: Ground, make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "api-dies")])
    imported = made.begin("api-dies")
    imported.at("export")
    ground.service("kill", "kube-apiserver")
    ground.service("start", "kube-apiserver")
    eventually(lambda: _answers(ground), "the API server to answer", 90)
    imported.until(RUNNING, seconds=600)
    vm = made.simulator.vm("api-dies")
    assert (vm["shutdowns"], vm["powerOffs"]) == (1, 0)
    assert len(images_of(made)) == 1


def test_finished_workflow_is_deleted_by_its_ttl(ground: Ground, make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "old")])
    imported = made.begin("old")
    imported.until(RUNNING)
    workflow = imported.workflow
    assert workflow
    # Argo's garbage collection deletes the Workflow in this way when ttlStrategy's time is over.
    ground.cluster.delete(WORKFLOW, workflow["metadata"]["name"], RELEASE)
    eventually(lambda: imported.workflow is None, "the Workflow to go", 30)
    with still(imported):
        restart_and_wait(ground)
    assert imported.status.import_status == RUNNING
    assert made.simulator.vm("old")["shutdowns"] == 1


def test_finished_imports_of_vm_import_controller_stay_unchanged(
    ground: Ground, make: Make, tmp_path: Path
) -> None:
    made = make([a_vm(tmp_path, "yesterday")])
    ground.apply(*made.source())
    statuses = {
        "done": RUNNING,
        "bad": "virtualMachineImportInvalid",
        "broken": FAILED,
        "half": "sourceReady",
    }
    every = {}
    with no_controller(ground):
        for name, wanted in statuses.items():
            document = made.manifest("yesterday", name=name)
            ground.cluster.create({**document, "apiVersion": API_VERSION})
            ground.cluster.patch_status(IMPORT, name, {"importStatus": wanted}, made.namespace)
            every[name] = made.imported(name)
    wait_for_controller(ground)
    eventually(lambda: "ForeignStatus" in every["half"].events(), every["half"].describe, 60)
    for name, wanted in statuses.items():
        assert every[name].status.import_status == wanted
        assert every[name].status.workflow is None
    assert made.simulator.vm("yesterday")["power"] == "on"


def reached(imported: Imported, phase: str) -> None:
    """Wait until a stage has started, however short it is."""
    eventually(
        lambda: imported.leaf(phase, "Running") or imported.leaf(phase, "Succeeded"), imported.describe, 600
    )


@contextlib.contextmanager
def no_controller(ground: Ground) -> Iterator[None]:
    """No controller runs in the meantime, however long that takes."""
    scale = ("scale", "-n", RELEASE, "deployment/vmferry-controller")
    ground.kubectl(*scale, "--replicas=0")
    try:
        eventually(lambda: not ground.controller_pods(), "the controller's pod to end", 120)
        yield
    finally:
        ground.kubectl(*scale, "--replicas=1")


def restart_and_wait(ground: Ground) -> None:
    kill_controller(ground)
    wait_for_controller(ground)


def wait_for_controller(ground: Ground) -> None:
    ground.kubectl("rollout", "status", "-n", RELEASE, "deployment/vmferry-controller", "--timeout=120s")
    eventually(lambda: "is at work" in ground.controller_log(), "the Lease to be acquired", 60)


@contextlib.contextmanager
def still(imported: Imported) -> Iterator[None]:
    """Nothing about the import changes in the meantime."""
    before = (imported.raw or {}).get("status")
    yield
    assert (imported.raw or {}).get("status") == before


def _ended(pod: Object) -> bool:
    return pod["status"]["phase"] in ("Succeeded", "Failed")


def _answers(ground: Ground) -> bool:
    try:
        return ground.cluster.find(POD, RELEASE) is not None
    except Exception:
        return False
