"""What a failed import keeps, it keeps for `keepFailed` only (F13); its finalizer too (F23)."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from controller.operator.decide.leftovers import LIMIT
from controller.operator.observe.facts import FINALIZER
from steps.model import names
from steps.model.kinds import CLAIM, CONFIG_MAP, SECRET, SERVICE, SOURCES, WORKFLOW
from steps.model.sources import SourceKind
from tests.unit.controller.operator.world import World
from tests.unit.steps.targets.harvester.fake_cluster import Fault, KilledError
from tests.unit.workflows.status.situations import Json, exited, failed, found, node
from workflows import argo_names

KEPT = timedelta(days=30)
EXPORTING = (found(), node("poweroff"), failed("export", 13, "scratch is full", "disk-0"))
ENDS = {
    "failed": (EXPORTING, {}),
    "refused by preflight": ((failed("preflight", 14, "there is no VM web01"),), {}),
    "refused by admit": ((found(), failed("admit", 19, "duplicate mac address")), {}),
    "cancelled": (
        (found(), failed("poweroff", None, "workflow shutdown with strategy:  Stop")),
        {"message": "Stopped with strategy 'Stop'"},
    ),
}


def ended(how: str = "failed") -> World:
    """An import that has ended, with a scratch claim and a Service."""
    world = World()
    world.look()
    (request,) = requests(world)
    owner = {"apiVersion": "v1", "kind": "ConfigMap"} | {
        key: request["metadata"][key] for key in ("name", "uid")
    }
    for kind in (CLAIM, SERVICE):
        metadata = {"name": f"{world.run}-disk-0", "namespace": "vmferry", "ownerReferences": [owner]}
        world.cluster.put({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata})
    nodes, more = ENDS[how]
    world.argo(*nodes, phase="Failed", **more)
    world.look(2)
    return world


def requests(world: World) -> list[Json]:
    kept = world.cluster.all(CONFIG_MAP, "vmferry")
    return [one for one in kept if one["metadata"]["name"] != argo_names.LIMITS]


def left(world: World) -> list[str]:
    """Everything of runs in the release namespace."""
    kinds = (CLAIM, SERVICE, SECRET, WORKFLOW)
    kept = [*requests(world), *(one for kind in kinds for one in world.cluster.all(kind, "vmferry"))]
    return [f"{one['kind']} {one['metadata']['name']}" for one in kept]


def expired(how: str = "failed") -> World:
    """The TTL of the Workflow is over: Argo deletes it."""
    world = ended(how)
    world.now += KEPT
    world.cluster.drop(WORKFLOW, world.workflows()[0], "vmferry")
    world.look(3)
    return world


@pytest.mark.parametrize("how", ENDS)
def test_an_import_whose_workflow_has_expired_keeps_nothing(how: str) -> None:
    world = expired(how)
    assert left(world) == []
    assert world.raw is not None
    assert FINALIZER not in (world.raw["metadata"].get("finalizers") or [])
    assert (world.summary.status, world.summary.reason) == ("False", "Expired")
    assert world.status.workflow is None
    before = world.cluster.writes()
    world.look(3)
    assert world.cluster.writes() == before
    world.delete()
    assert world.raw is None


def test_the_status_says_what_was_deleted_and_what_a_retry_does() -> None:
    world = expired()
    assert world.status.import_status == "VMMigrationFailed"
    assert world.status.message == (
        "scratch is full (its scratch was deleted 30 days after the failure; a retry starts again from "
        "preflight)"
    )
    assert "Expired" in world.warnings()


@pytest.mark.parametrize("how", ["failed", "refused by preflight", "refused by admit"])
def test_a_workflow_that_a_person_deletes_early_takes_no_scratch(how: str) -> None:
    world = ended(how)
    world.now += KEPT - timedelta(days=1)
    world.cluster.drop(WORKFLOW, world.workflows()[0], "vmferry")
    world.look(3)
    assert f"PersistentVolumeClaim {world.run}-disk-0" in left(world)
    world.now += timedelta(days=1)
    world.look(2)
    assert left(world) == []


def test_a_workflow_that_argo_does_not_delete_keeps_its_scratch() -> None:
    """Argo can retry it in place."""
    world = ended()
    world.now += KEPT + KEPT
    world.look(3)
    assert f"PersistentVolumeClaim {world.run}-disk-0" in left(world)
    assert world.secret(names.credentials(world.run)) is not None


def test_a_retry_after_that_is_a_new_run_and_says_nothing_of_completed_work() -> None:
    world = expired()
    fresh = len(world.cluster.all(CONFIG_MAP))
    world.annotate(retry="true")
    world.look(2)
    (workflow,) = world.workflows()
    assert workflow.endswith("-g1"), "no number of a retry"
    assert len(world.cluster.all(CONFIG_MAP)) > fresh
    assert world.status.disk_import_status == ()
    assert world.status.percent == 0
    assert FINALIZER in (world.raw or {})["metadata"]["finalizers"]
    world.argo(found(), node("poweroff", "Running"))
    world.look()
    assert (world.status.import_status, world.summary.status) == ("sourceReady", "Unknown")


def test_nothing_starts_by_itself_after_that() -> None:
    """The VM may be in use again: it must not be powered off because a manifest was applied again."""
    world = expired("refused by preflight")
    world.apply(storageClass="fast")
    world.set_password("changed")
    world.look(4)
    assert world.workflows() == []
    world.annotate(retry="true")
    world.look(2)
    assert len(world.workflows()) == 1


def test_a_retry_that_cannot_start_says_why() -> None:
    world = expired()
    world.set_source("clusterNotReady", "it is away")
    world.annotate(retry="true")
    world.look(2)
    assert "(a retry waits: " in world.status.message
    world.set_source("clusterReady")
    world.look(2)
    assert len(world.workflows()) == 1


def test_the_source_is_released_before_the_run_expires() -> None:
    world = World()
    world.look()
    world.set_source("clusterNotReady", "it is away")
    world.argo(*EXPORTING, exited("null"), phase="Failed")
    world.look(2)
    world.now += KEPT - timedelta(days=2)
    world.look()
    world.options = world.options.model_copy(update={"keep_failed": 60})
    world.cluster.drop(WORKFLOW, world.workflows()[0], "vmferry")
    world.look(2)
    assert requests(world) != [], "the source may hold something"
    world.set_source("clusterReady")
    world.look()
    (back,) = world.workflows()
    ended_at = world.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    world.argo(exited(finishedAt=ended_at), phase="Failed", name=back)
    world.look(3)
    assert left(world) == []


def test_a_source_that_is_never_released_does_not_keep_the_scratch_for_ever() -> None:
    world = World()
    world.look()
    world.set_source("clusterNotReady", "it is away")
    world.argo(*EXPORTING, exited("null"), phase="Failed")
    world.look(2)
    world.cluster.drop(WORKFLOW, world.workflows()[0], "vmferry")
    world.now += LIMIT + timedelta(hours=1)
    world.look(3)
    assert left(world) == []


@pytest.mark.parametrize("answer_only", [False, True])
def test_a_kill_at_any_request_has_the_same_result(answer_only: bool) -> None:
    def nearly() -> World:
        world = ended()
        world.now += KEPT
        world.cluster.drop(WORKFLOW, world.workflows()[0], "vmferry")
        return world

    whole = nearly()
    start = len(whole.cluster.calls)
    whole.look(3)
    for number in range(start, len(whole.cluster.calls)):
        world = nearly()
        world.cluster.fault = Fault(number, answer_only=answer_only)
        with pytest.raises(KilledError):
            world.look(3)
        world.cluster.fault = None
        world.look(3)
        assert left(world) == [], number
        assert world.summary.reason == "Expired"


# --- the copy of the credentials


def test_a_deleted_secret_takes_the_copy_along() -> None:
    world = ended()
    world.cluster.drop(SECRET, "credentials", "default")
    world.look(2)
    assert world.secret(names.credentials(world.run)) is None
    world.set_password("secret")
    world.look(2)
    assert world.secret(names.credentials(world.run)) is not None, "for a retry in Argo"


def test_a_deleted_secret_takes_the_copy_along_also_when_its_source_was_checked_first() -> None:
    world = ended()
    world.cluster.drop(SECRET, "credentials", "default")
    world.set_source("clusterNotReady", "Secret default/credentials of VmwareSource vcenter does not exist")
    world.look(2)
    assert world.secret(names.credentials(world.run)) is None


def test_a_deleted_source_takes_the_copy_along() -> None:
    world = ended()
    world.cluster.drop(SOURCES[SourceKind.VMWARE], "vcenter", "default")
    world.look(2)
    assert world.secret(names.credentials(world.run)) is None


@pytest.mark.parametrize("how", ["refused by preflight", "refused by admit"])
def test_a_refused_import_too(how: str) -> None:
    world = ended(how)
    world.cluster.drop(SECRET, "credentials", "default")
    world.look(2)
    assert world.secret(names.credentials(world.run)) is None
    world.cluster.drop(WORKFLOW, world.workflows()[0], "vmferry")
    world.look(2)
    assert world.secret(names.credentials(world.run)) is None


def test_a_deleted_workflow_takes_the_copy_along_and_a_retry_makes_another() -> None:
    world = ended()
    run = world.workflows()[0]
    world.cluster.drop(WORKFLOW, run, "vmferry")
    world.look(2)
    assert world.secret(names.credentials(run)) is None
    world.annotate(retry="true")
    world.look(2)
    assert world.secret(names.credentials(run)) is not None


def test_a_running_import_keeps_the_copy_for_its_exit_handler() -> None:
    world = World()
    world.look()
    world.argo(found(), node("poweroff", "Running"))
    world.cluster.drop(SECRET, "credentials", "default")
    world.look(3)
    assert world.secret(names.credentials(world.run)) is not None


def test_an_import_that_left_something_at_its_source_keeps_the_copy() -> None:
    world = World()
    world.look()
    world.argo(*EXPORTING, exited("null"), phase="Failed")
    world.cluster.drop(SECRET, "credentials", "default")
    world.look(3)
    assert world.secret(names.credentials(world.run)) is not None


def test_a_secret_that_was_created_again_counts_as_changed() -> None:
    world = World()
    world.look()
    world.argo(failed("preflight", 11, "the password is wrong"), phase="Failed")
    world.look(2)
    world.cluster.drop(SECRET, "credentials", "default")
    world.look(2)
    world.set_password("right")
    world.look(2)
    assert world.workflows()[0].endswith("-r1")


def test_an_import_without_an_end_never_expires() -> None:
    world = World()
    world.set_source("clusterNotReady")
    world.look()
    for _ in itertools.repeat(None, 3):
        world.now += KEPT
        world.look()
    assert world.summary.reason == "SourceNotReady"
