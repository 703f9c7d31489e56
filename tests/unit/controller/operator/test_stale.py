"""An import whose VM was started at its source: everything that was copied is stale."""

from __future__ import annotations

import json

import pytest

from steps.model import names
from steps.model.contract import Exit
from steps.model.kinds import CONFIG_MAP, Object
from tests.unit.controller.operator.world import World
from tests.unit.workflows.status.situations import failed, found, node, upto
from workflows.api.conditions import find
from workflows.status.restored import RESTORED

WORDS = "the copies of web01 are stale: alice started it at 2026-11-29T10:00:00+00:00 (VmPoweredOnEvent)"


def begun(**spec: object) -> World:
    world = World(**spec)
    world.look()
    world.found()
    return world


def unchanged_failed(stage: str, code: int = Exit.STALE) -> Object:
    """A failed init container: Argo reports no exit code, and puts container and code into the message."""
    return node(stage, "Failed", message=f"unchanged: Error (exit code {code}): {WORDS}")


def cleanup(state: str, message: str) -> Object:
    text = json.dumps({"version": "1", "state": state, "message": message})
    parameters = [{"name": "restored", "value": text}]
    return node("onExit.release-source", templateName="release-source", outputs={"parameters": parameters})


def stale(stage: str = "build") -> World:
    world = begun()
    world.argo(*upto(stage), unchanged_failed(stage), cleanup("nothing", ""), phase="Failed")
    world.look()
    return world


@pytest.mark.parametrize("stage", ["build", "start"])
def test_the_status_says_who_started_it(stage: str) -> None:
    world = stale(stage)
    assert (world.status.import_status, world.summary.reason) == ("VMMigrationFailed", "Stale")
    assert "alice started it" in world.status.message
    assert "unchanged" not in world.status.message


def test_a_retry_begins_a_new_run_and_releases_the_old_one() -> None:
    world = stale()
    old = world.run
    world.annotate(retry="true")
    world.look()
    new = world.run
    assert new != old
    assert new.endswith("-g2")
    assert world.workflows() == [new]
    assert world.cluster.peek(CONFIG_MAP, names.request(old), "vmferry") is None
    request = world.cluster.peek(CONFIG_MAP, names.request(new), "vmferry")
    assert request is not None
    assert json.loads(request["data"]["plan.json"])["run"] == new
    assert "migration.harvesterhci.io/retry" not in world.notes()


def test_the_new_run_is_not_begun_again() -> None:
    world = stale()
    world.annotate(retry="true")
    world.look()
    run = world.run
    world.argo(found(), failed("poweroff", Exit.POWER, "it has no tools"), phase="Failed")
    world.look()
    world.annotate(retry="true")
    world.look()
    assert world.run == run
    assert world.workflows() == [f"{run}-r1"]


def test_a_later_edit_gets_a_run_of_its_own() -> None:
    world = stale()
    world.annotate(retry="true")
    world.look()
    second = world.run
    world.argo(found(), failed("poweroff", Exit.POWER, "it has no tools"), phase="Failed")
    world.look()
    world.apply(virtualMachineName="web02")  # generation 2, which the last run used
    world.look()
    assert world.run != second
    assert world.run.endswith("-g3")
    assert world.cluster.peek(CONFIG_MAP, names.request(second), "vmferry") is None


def test_a_check_that_got_no_answer_is_a_retry_as_usual() -> None:
    world = begun()
    world.argo(*upto("build"), unchanged_failed("build", Exit.UNREACHABLE), phase="Failed")
    world.look()
    run = world.run
    world.annotate(retry="true")
    world.look()
    assert world.workflows() == [f"{run}-r1"]


class TestRestored:
    def ended(self, state: str = "started", message: str = "web01 was started again") -> World:
        world = begun(onFailure="restorePower")
        world.argo(
            *upto("export"),
            failed("export", Exit.NO_SPACE, "no space", "disk-0"),
            cleanup(state, message),
            phase="Failed",
        )
        world.look()
        return world

    def test_the_plan_has_the_wish(self) -> None:
        world = begun(onFailure="restorePower")
        request = world.cluster.peek(CONFIG_MAP, names.request(world.run), "vmferry")
        assert request is not None
        assert json.loads(request["data"]["plan.json"])["onFailure"] == "restorePower"

    def test_it_is_an_event_and_a_condition(self) -> None:
        world = self.ended()
        assert "SourcePowerRestored" in world.events()
        condition = find(world.status.import_conditions, RESTORED)
        assert condition is not None
        assert (condition.status, condition.message) == ("True", "web01 was started again")
        assert world.status.powered_off == ""
        assert "starts from preflight" in world.status.message
        world.look(3)
        assert world.events().count("SourcePowerRestored") == 1

    def test_a_failure_to_restore_is_a_warning(self) -> None:
        world = self.ended("failed", "web01 is not started again: no host has room")
        assert "SourcePowerNotRestored" in world.warnings()
        assert "no host has room" in world.status.message

    def test_a_retry_begins_a_new_run(self) -> None:
        world = self.ended()
        world.annotate(retry="true")
        world.look()
        assert world.run.endswith("-g2")
        condition = find(world.status.import_conditions, RESTORED)
        assert condition is not None
        assert (condition.status, condition.reason) == ("False", "NewRun")

    def test_a_retry_in_argo_does_not_make_it_fresh(self) -> None:
        world = self.ended()
        world.argo(*upto("export"), node("export", "Running", "disk-0"))  # RETRY deletes the exit handler
        world.look()
        world.argo(*upto("build"), unchanged_failed("build"), cleanup("nothing", ""), phase="Failed")
        world.look()
        assert world.summary.reason == "Stale"
        world.annotate(retry="true")
        world.look()
        assert world.run.endswith("-g2")

    def test_a_wish_that_changes_during_the_run_reaches_the_exit_handler(self) -> None:
        world = begun()
        world.argo(*upto("export"), node("export", "Running", "disk-0"))
        world.look()
        world.apply(onFailure="restorePower")
        world.look()
        request = world.cluster.peek(CONFIG_MAP, names.request(world.run), "vmferry")
        assert request is not None
        assert json.loads(request["data"]["plan.json"])["onFailure"] == "restorePower"

    def test_a_wish_that_changes_after_the_failure_retries_nothing(self) -> None:
        world = begun()
        world.argo(found(), failed("poweroff", Exit.POWER, "no tools"), phase="Failed")
        world.look()
        before = world.workflows()
        world.apply(onFailure="restorePower")
        world.look(2)
        assert world.workflows() == before


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"state": "other"}', '{"state": "started", "more": 1}', "\x00"]
)
def test_a_malformed_result_changes_nothing(text: str) -> None:
    world = begun()
    parameters = [{"name": "restored", "value": text}]
    end = node("onExit.release-source", templateName="release-source", outputs={"parameters": parameters})
    world.argo(found(), failed("poweroff", Exit.POWER, "no tools"), end, phase="Failed")
    world.look()
    assert find(world.status.import_conditions, RESTORED) is None
    assert world.summary.reason == "Power"
