"""`vmferry retry`, `approve`, `suspend`, `resume`, `cancel` for an import in a cluster, here in memory."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.cli import main
from controller.client import ask
from steps.model.contract import Exit
from steps.model.kinds import IMPORT
from steps.runtime import kubeapi
from tests.unit.controller.operator.plan_world import PlanWorld
from tests.unit.controller.operator.world import KEY, World
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster
from tests.unit.workflows.status.situations import failed, found, node, upto
from workflows.api.annotations import APPROVE, RETRY, UNDO
from workflows.status.watchdog import PATIENCE

DONE = (*upto("end"), node("start"))
GATE = node("approve-poweroff", "Running", kind="Suspend", templateName="approve-poweroff")


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


Vmferry = Callable[..., Ended]


@pytest.fixture
def vmferry(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Vmferry:
    """The command line with a world whose controller reconciles before each read, if it `attends`."""
    monkeypatch.chdir(tmp_path)

    def call(world: World, *argv: str, attends: bool = True) -> Ended:
        if attends:
            world.cluster.reconcilers.append(Attending(world))
        monkeypatch.setattr(kubeapi, "connect", lambda *_, **__: world.cluster)
        monkeypatch.setattr(kubeapi, "context_namespace", lambda: "default")
        capsys.readouterr()
        code = main.attempt(argv)
        output = capsys.readouterr()
        return Ended(code, output.out, "".join(_own(output.err)))

    return call


class Attending:
    """The controller: it reconciles once before each read that is not its own."""

    def __init__(self, world: World | PlanWorld) -> None:
        self._world = world
        self._busy = False

    def __call__(self, _: FakeCluster) -> None:
        if not self._busy:
            self._busy = True
            self._world.look()
            self._busy = False


def standing(*nodes: dict[str, object], phase: str = "Running", **spec: object) -> World:
    """An import whose Workflow has this state."""
    world = World(**spec)
    world.look()
    world.argo(*nodes, phase=phase)
    world.look(2)
    return world


def failing(**spec: object) -> World:
    full = failed("export", 13, "scratch is full", "disk-0")
    return standing(found(), node("poweroff"), full, phase="Failed", **spec)


def refused(ended: Ended, code: Exit, *words: str) -> None:
    assert ended.code == code
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert all(word in line for word in words), line
    assert ended.out == ""


def _own(text: str) -> Iterator[str]:
    """The command's lines, without those that the controller in this process logs."""
    controllers = f"name {KEY[1]}, namespace {KEY[0]}"
    return (line for line in text.splitlines(keepends=True) if controllers not in line)


# --- retry


def test_a_retry_starts_and_the_next_step_is_shown(vmferry: Vmferry) -> None:
    world = failing()
    run = world.workflows()[0]
    ended = vmferry(world, "retry", "web", "-n", "default")
    assert ended.code == Exit.DONE, ended.err
    assert world.workflows() == [f"{run}-r1"]
    asked, state, watch = ended.err.splitlines()
    assert asked == "default/web: retry requested"
    assert state == f"default/web: not started: Workflow {run}-r1 will be created"
    assert "kubectl get -n default virtualmachineimport.migration web" in watch
    assert ended.out == ""


def test_the_reason_why_a_retry_waits_is_shown(vmferry: Vmferry) -> None:
    world = failing()
    world.set_source("clusterNotReady", "the password is wrong")
    ended = vmferry(world, "retry", "web", "-n", "default")
    assert ended.code == Exit.DONE
    assert "a retry waits" in ended.err
    assert "the password is wrong" in ended.err
    assert RETRY in world.notes()


def test_json_output_is_a_document(vmferry: Vmferry) -> None:
    world = failing()
    output = json.loads(vmferry(world, "retry", "web", "-n", "default", "-o", "json").out)
    assert (output["namespace"], output["import"], output["reason"]) == ("default", "web", "Announced")
    assert output["workflow"].endswith("-r1")


def test_a_retry_without_a_failure_is_refused(vmferry: Vmferry) -> None:
    running = standing(found(), node("poweroff", "Running"))
    refused(vmferry(running, "retry", "web", "-n", "default"), Exit.INVALID, "it has not failed", "failed")
    done = standing(*DONE, phase="Succeeded")
    refused(vmferry(done, "retry", "web", "-n", "default"), Exit.INVALID, "is imported and runs")
    for world in (running, done):
        assert RETRY not in world.notes()


def test_a_retry_of_a_cancelled_import_suggests_resume(vmferry: Vmferry) -> None:
    world = failing()
    world.apply(cancel=True)
    refused(
        vmferry(world, "retry", "web", "-n", "default"), Exit.INVALID, "spec.cancel is set", "vmferry resume"
    )


@pytest.mark.parametrize("nodes", [[found()], [*DONE]], ids=["under way", "done"])
def test_a_retry_stops_a_workflow_that_does_not_move(
    vmferry: Vmferry, monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, object]]
) -> None:
    monkeypatch.setattr(ask, "PATIENCE", 0.1)
    world = standing(*nodes)
    world.now += PATIENCE
    world.look()
    vmferry(world, "retry", "web", "-n", "default")
    assert world.workflow()["spec"]["shutdown"] == "Stop"


@pytest.mark.parametrize("verb", ["retry", "undo"])
def test_a_missing_folder_suggests_the_option_for_a_cluster(vmferry: Vmferry, verb: str) -> None:
    ended = vmferry(failing(), verb, "web")
    refused(ended, Exit.NOT_FOUND, "folder web does not exist", f"vmferry {verb} web -n NAMESPACE")


def test_manifests_are_refused_for_a_cluster(vmferry: Vmferry) -> None:
    ended = vmferry(failing(), "retry", "web", "-n", "default", "-f", "vm.yaml")
    refused(ended, Exit.INVALID, "-f and -n cannot be combined")


# --- approve


def test_approve_opens_the_waiting_gate(vmferry: Vmferry) -> None:
    world = standing(found(), GATE, approvals=["poweroff"])
    assert world.summary.reason == "WaitingForApproval"
    ended = vmferry(world, "approve", "web")
    assert ended.code == Exit.DONE, ended.err
    (gate,) = [one for one in world.workflow()["status"]["nodes"].values() if one["type"] == "Suspend"]
    assert gate["phase"] == "Succeeded"
    assert "default/web: approved poweroff" in ended.err
    assert APPROVE not in world.notes()


def test_a_later_gate_can_be_approved_in_advance(vmferry: Vmferry) -> None:
    world = standing(found(), node("poweroff", "Running"), approvals=["poweroff", "start"])
    world.annotate(approve="poweroff")
    ended = vmferry(world, "approve", "web", "start", attends=False)
    assert ended.code == Exit.DONE
    assert world.notes()[APPROVE] == "poweroff,start"
    assert "has not reached" in ended.err


def test_an_approval_without_a_gate_is_refused(vmferry: Vmferry) -> None:
    world = standing(found(), node("poweroff", "Running"), approvals=["start"])
    refused(
        vmferry(world, "approve", "web"), Exit.INVALID, "does not wait for an approval", "poweroff or start"
    )
    refused(vmferry(world, "approve", "web", "poweroff"), Exit.INVALID, "does not contain poweroff")
    assert APPROVE not in world.notes()


# --- suspend, resume, cancel


def test_an_import_is_suspended_and_resumed(vmferry: Vmferry) -> None:
    world = standing(found(), node("poweroff", "Running"))
    ended = vmferry(world, "suspend", "web")
    assert ended.code == Exit.DONE, ended.err
    assert world.workflow()["spec"]["suspend"] is True
    assert "Paused: no new step starts" in ended.err
    ended = vmferry(world, "resume", "web")
    assert ended.code == Exit.DONE, ended.err
    assert "suspend" not in world.workflow()["spec"]
    assert world.raw is not None
    assert world.raw["spec"]["suspend"] is False


def test_an_import_is_cancelled_and_resumed(vmferry: Vmferry) -> None:
    world = standing(found(), node("poweroff", "Running"))
    ended = vmferry(world, "cancel", "web")
    assert ended.code == Exit.DONE, ended.err
    assert world.workflow()["spec"]["shutdown"] == "Stop"
    assert "Cancelling: " in ended.err
    stopped = failed("poweroff", None, "workflow shutdown with strategy:  Stop")
    world.argo(found(), stopped, phase="Failed", message="Stopped with strategy 'Stop'")
    world.look(2)
    assert vmferry(world, "resume", "web").code == Exit.DONE
    world.look()
    assert world.workflows()[0].endswith("-r1")


def test_invalid_requests_change_nothing(vmferry: Vmferry) -> None:
    done = standing(*DONE, phase="Succeeded")
    for verb in ("suspend", "cancel", "approve"):
        refused(vmferry(done, verb, "web"), Exit.INVALID, "is imported and runs")
    running = standing(found(), node("poweroff", "Running"))
    refused(vmferry(running, "resume", "web"), Exit.INVALID, "neither spec.suspend nor spec.cancel is set")
    assert done.raw is not None
    assert "cancel" not in done.raw["spec"]


# --- undo


def test_an_undo_is_asked_for_and_its_state_shown(vmferry: Vmferry) -> None:
    world = standing(*DONE, phase="Succeeded")
    world.found()
    ended = vmferry(world, "undo", "web", "-n", "default", "--yes")
    assert ended.code == Exit.DONE, ended.err
    assert ended.err.splitlines()[0] == "default/web: undo requested"
    assert "Undoing: " in ended.err
    assert any(name.endswith("-undo") for name in world.workflows())


def test_an_undo_needs_a_confirmation(vmferry: Vmferry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    world = standing(*DONE, phase="Succeeded")
    refused(vmferry(world, "undo", "web", "-n", "default"), Exit.INVALID, "add --yes")
    assert UNDO not in world.notes()


def test_a_running_import_is_cancelled_before_it_is_undone(vmferry: Vmferry) -> None:
    world = standing(found(), node("poweroff", "Running"))
    refused(vmferry(world, "undo", "web", "-n", "default", "--yes"), Exit.INVALID, "vmferry cancel")
    assert UNDO not in world.notes()


def test_an_import_that_has_not_begun_is_not_undone(vmferry: Vmferry) -> None:
    world = World()
    world.set_source("clusterNotReady")
    world.look()
    refused(vmferry(world, "undo", "web", "-n", "default", "--yes"), Exit.INVALID, "nothing to undo")


# --- errors


def test_an_unknown_import_is_refused_with_a_list(vmferry: Vmferry) -> None:
    for verb in ("retry", "approve", "suspend", "resume", "cancel"):
        ended = vmferry(failing(), verb, "wbe", "-n", "default")
        refused(ended, Exit.NOT_FOUND, "default/wbe", "imports in that namespace: web", "-n")


def test_a_controller_that_does_not_react_is_reported(
    vmferry: Vmferry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "PATIENCE", 0.1)
    world = failing()
    ended = vmferry(world, "retry", "web", "-n", "default", attends=False)
    assert ended.code == Exit.UNREACHABLE
    assert "has not reacted for 0.1 s" in ended.err
    assert RETRY in world.notes()


def test_a_missing_right_to_change_imports_is_reported(vmferry: Vmferry) -> None:
    world = failing()
    world.cluster.denied.add(("patch", IMPORT))
    ended = vmferry(world, "retry", "web", "-n", "default", attends=False)
    refused(ended, Exit.DENIED, "the right to patch on virtualmachineimports")
