"""`vmferry retry`, `approve`, `suspend`, `resume` for a MigrationPlan in a cluster, here in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.cli import main
from controller.client import ask
from steps.model.contract import Exit
from steps.runtime import kubeapi
from tests.unit.controller.client.test_ask import Attending, Ended, refused
from tests.unit.controller.operator.plan_world import DONE, FAILED, RUNNING, PlanWorld
from workflows.api.annotations import APPROVE, RETRY

CANCELLED = ("VMMigrationFailed", "False", "Cancelled")
Vmferry = Callable[..., Ended]


@pytest.fixture
def vmferry(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Vmferry:
    """The command line with a world whose controller reconciles before each read, if it `attends`."""
    monkeypatch.chdir(tmp_path)

    def call(world: PlanWorld, *argv: str, attends: bool = True) -> Ended:
        before = list(world.cluster.reconcilers)
        if attends:
            world.cluster.reconcilers.append(Attending(world))
        monkeypatch.setattr(kubeapi, "connect", lambda *_, **__: world.cluster)
        monkeypatch.setattr(kubeapi, "context_namespace", lambda: "default")
        capsys.readouterr()
        code = main.attempt(argv)
        world.cluster.reconcilers[:] = before  # a reconcile by the test itself holds the lock of the plan
        output = capsys.readouterr()
        return Ended(code, output.out, "".join(_own(output.err)))

    return call


def _own(text: str) -> Iterator[str]:
    """The command's lines, without those that the controller in this process logs."""
    return (line for line in text.splitlines(keepends=True) if "(plan default/prod)" not in line)


def stopped() -> PlanWorld:
    """A plan of two waves; an import of the first one has failed."""
    world = PlanWorld(waves={"size": 2}).begin()
    world.end(1)
    world.end(2, state=FAILED)
    world.look(2)
    assert world.state.phase == "Stopped"
    return world


def notes(world: PlanWorld) -> dict[str, str]:
    found: dict[str, str] = world.plan["metadata"].get("annotations") or {}
    return found


@pytest.mark.parametrize("word", ["plan", "migrationplan", "MigrationPlans"])
def test_a_plan_retries_what_failed(vmferry: Vmferry, word: str) -> None:
    world = stopped()
    ended = vmferry(world, "retry", f"{word}/prod", "-n", "default")
    assert ended.code == Exit.DONE, ended.err
    asked, state, watch = ended.err.splitlines()
    assert asked == "default/prod: retry requested for 1 of 4 VMs"
    assert state.startswith("default/prod: Running, wave 1/2: wave 1: 1 of 2 VMs are imported")
    assert watch == "to watch it:  kubectl get -n default migrationplan prod --watch"
    assert RETRY not in notes(world)
    assert world.import_of(2)["metadata"]["annotations"][RETRY] == "true"
    assert RETRY not in world.import_of(1)["metadata"]["annotations"]


def test_json_output_is_a_document(vmferry: Vmferry) -> None:
    ended = vmferry(stopped(), "retry", "plan/prod", "-n", "default", "-o", "json")
    document = json.loads(ended.out)
    assert (document["namespace"], document["plan"], document["phase"]) == ("default", "prod", "Running")
    assert (document["wave"], document["waves"], document["counts"]["total"]) == (1, 2, 4)


def test_a_retry_without_a_failure_is_refused(vmferry: Vmferry) -> None:
    world = PlanWorld().begin()
    refused(
        vmferry(world, "retry", "plan/prod", "-n", "default"), Exit.INVALID, "none of its imports has failed"
    )
    world.end(1, 2, 3)
    world.end(4, state=CANCELLED)
    world.look()
    ended = vmferry(world, "retry", "plan/prod", "-n", "default")
    refused(ended, Exit.INVALID, "resume a cancelled import with `vmferry resume NAME`")
    assert RETRY not in notes(world)


def test_the_next_wave_is_approved(vmferry: Vmferry) -> None:
    world = stopped()
    ended = vmferry(world, "approve", "plan/prod")
    assert ended.code == Exit.DONE, ended.err
    assert "default/prod: approved wave 2" in ended.err
    world.look()
    assert (world.state.approved_wave, APPROVE in notes(world)) == (2, False)
    assert len(world.imports()) == 4


def test_a_later_wave_is_approved_in_advance(vmferry: Vmferry) -> None:
    world = PlanWorld(waves={"size": 1, "approval": True}).begin()
    refused(
        vmferry(world, "approve", "plan/prod"), Exit.INVALID, "does not wait for an approval now", "number"
    )
    assert vmferry(world, "approve", "plan/prod", "3").code == Exit.DONE
    assert world.state.approved_wave == 3
    refused(vmferry(world, "approve", "plan/prod", "2"), Exit.INVALID, "wave 2 is approved already")
    refused(vmferry(world, "approve", "plan/prod", "5"), Exit.INVALID, "no wave 5", "from 1 to 4")


@pytest.mark.parametrize(
    "words", [("plan/prod", "poweroff"), ("plan/prod", "0"), ("web", "2"), ("web", "stop")]
)
def test_a_gate_is_for_an_import_and_a_wave_for_a_plan(vmferry: Vmferry, words: tuple[str, str]) -> None:
    world = PlanWorld().begin()
    assert vmferry(world, "approve", *words).code == 2
    assert APPROVE not in notes(world)


def test_a_plan_is_suspended_and_resumed(vmferry: Vmferry) -> None:
    world = PlanWorld(waves={"size": 2}).begin()
    world.end(1, 2, state=RUNNING)
    ended = vmferry(world, "suspend", "plan/prod")
    assert ended.code == Exit.DONE, ended.err
    assert world.plan["spec"]["suspend"] is True
    assert "imports that have started continue" in ended.err
    refused(vmferry(world, "suspend", "plan/prod"), Exit.INVALID, "spec.suspend is true already")
    world.end(1, 2)
    world.look(2)
    assert (world.state.phase, len(world.imports())) == ("Suspended", 2)
    assert vmferry(world, "resume", "plan/prod").code == Exit.DONE
    world.look(2)
    assert len(world.imports()) == 4


def test_what_a_plan_cannot_do_is_refused(vmferry: Vmferry) -> None:
    world = PlanWorld().begin()
    refused(
        vmferry(world, "cancel", "plan/prod"), Exit.INVALID, "a plan cannot be cancelled", "single imports"
    )
    ended = vmferry(world, "undo", "plan/prod", "-n", "default", "--yes")
    refused(ended, Exit.INVALID, "a plan cannot be undone")
    refused(vmferry(world, "resume", "plan/prod"), Exit.INVALID, "spec.suspend is not set")
    world.end(1, 2, 3, 4, state=DONE)
    world.look()
    refused(vmferry(world, "suspend", "plan/prod"), Exit.INVALID, "All 4 VMs are imported")
    assert not world.plan["spec"].get("suspend")


def test_an_unknown_plan_is_refused_with_a_list(vmferry: Vmferry) -> None:
    for verb in ("retry", "approve", "suspend", "resume", "cancel"):
        ended = vmferry(stopped(), verb, "plan/prdo", "-n", "default")
        refused(ended, Exit.NOT_FOUND, "MigrationPlan default/prdo", "plans in that namespace: prod")


def test_a_plan_without_a_namespace_suggests_the_option(vmferry: Vmferry) -> None:
    ended = vmferry(stopped(), "retry", "plan/prod")
    refused(ended, Exit.NOT_FOUND, "vmferry retry plan/prod -n NAMESPACE")


def test_a_controller_that_does_not_react_is_reported(
    vmferry: Vmferry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "PATIENCE", 0.1)
    world = stopped()
    ended = vmferry(world, "retry", "plan/prod", "-n", "default", attends=False)
    assert ended.code == Exit.UNREACHABLE
    assert "the request stays on the plan" in ended.err
    assert notes(world)[RETRY] == "true"
