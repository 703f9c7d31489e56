"""What an import left at its source is released later, also after the import was deleted (finding F8)."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta

import pytest

from controller.operator import orphans
from controller.operator.cache import StatusCache
from controller.operator.decide.leftovers import LIMIT
from controller.operator.metrics import Collector
from controller.operator.observe.facts import FINALIZER
from controller.operator.observe.request import CLEANUPS
from controller.operator.sweep import sweep
from controller.operator.uninstall import check
from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CONFIG_MAP, EVENT, SECRET, SOURCES, WORKFLOW
from steps.model.sources import SourceKind
from tests.unit.controller.operator.world import KEY, UID, World
from tests.unit.workflows.status.situations import Json, exited, failed, found, node, upto
from workflows import argo_names
from workflows.api.conditions import find
from workflows.api.status import Condition
from workflows.plan import run_name
from workflows.status.leftovers import SOURCE_LEFTOVERS
from workflows.status.restored import RESTORED

NOT_ASKED = "null"
LEFT = [
    "snapshot vmferry-vmi-web-0a1b2c3d-g1-disk-0 (s-1, error_deleting)",
    "volume vmferry-vmi-web-0a1b2c3d-g1-disk-0 (v-1, in-use)",
    "image vmferry-vmi-web-0a1b2c3d-g1-disk-0 (i-1, active)",
    "session 52a8f3d1… at vcenter: no permission",
]
HOUR = timedelta(hours=1)


def failing(left: str, *, source: str = "clusterReady") -> World:
    """An import whose export failed, and whose exit handler reports `left`."""
    world = World()
    world.look()
    world.set_source(source, "it is away")
    exporting = (found(), node("poweroff"), failed("export", 30, "no answer", "disk-0"))
    world.argo(*exporting, exited(left), phase="Failed")
    world.look(2)
    return world


def condition(world: World) -> Condition:
    made = find(world.status.import_conditions, SOURCE_LEFTOVERS)
    assert made is not None
    return made


def backs(world: World) -> list[str]:
    """The Workflows that run only the cleanup."""
    return [name for name in world.workflows() if argo_names.is_give_back(name, run_of(world))]


def run_of(world: World) -> str:
    (request,) = requests(world)
    return str(request["metadata"]["labels"][names.LABEL_RUN])


def requests(world: World) -> list[Json]:
    kept = world.cluster.all(CONFIG_MAP, "vmferry")
    return [one for one in kept if one["metadata"]["name"].endswith("-request")]


def later(world: World, by: timedelta) -> None:
    world.now += by
    world.look()


def released(world: World, left: str = "[]") -> None:
    """The repeated cleanup ends."""
    (name,) = backs(world)
    ended = (world.now).strftime("%Y-%m-%dT%H:%M:%SZ")
    world.argo(exited(left, finishedAt=ended), phase="Failed", name=name)


def away_at_deletion(left: str = NOT_ASKED) -> World:
    """A deleted import whose source did not answer until the deletion timed out."""
    world = failing(left, source="clusterNotReady")
    world.delete()
    for _ in itertools.takewhile(lambda _: world.raw is not None, range(200)):
        world.look()
    assert world.raw is None
    return world


# --- the import exists


def test_a_source_that_was_away_at_the_end_is_asked_again_when_it_answers() -> None:
    world = failing(NOT_ASKED, source="clusterNotReady")
    assert (condition(world).status, condition(world).reason) == ("Unknown", "SourceNotAsked")
    assert "VmwareSource default/vcenter may still hold" in condition(world).message
    later(world, 6 * HOUR)
    assert backs(world) == [], "a source that does not answer is not asked"
    world.set_source("clusterReady")
    world.look()
    released(world)
    world.look(2)
    assert (condition(world).status, condition(world).reason) == ("False", "Released")
    later(world, 48 * HOUR)
    assert len(backs(world)) == 1, "nothing is repeated once the source is clean"


@pytest.mark.parametrize("left", LEFT)
def test_each_kind_of_leftover_is_shown_and_released(left: str) -> None:
    world = failing(json.dumps([left]))
    assert (condition(world).status, condition(world).reason) == ("True", "Left")
    assert left in condition(world).message
    assert "SourceLeftovers" in world.warnings()
    later(world, HOUR)
    released(world)
    world.look(2)
    assert condition(world).status == "False"


def test_the_cleanup_is_repeated_with_growing_pauses() -> None:
    world = failing(json.dumps(LEFT))
    starts = []
    for _ in range(24 * 60):
        before = backs(world)
        later(world, timedelta(minutes=1))
        if backs(world) != before:
            starts.append(world.now)
            released(world, json.dumps(LEFT))
    pauses = [after - before for before, after in itertools.pairwise(starts)]
    assert len(starts) >= 5
    assert pauses == sorted(pauses)
    assert pauses[0] >= timedelta(minutes=5)
    assert len(backs(world)) == 1, "only the last Workflow is kept"


def keeps_off(world: World) -> str:
    """Whether the repeated cleanup may stop and start no VM."""
    (name,) = backs(world)
    workflow = world.cluster.peek(WORKFLOW, name, "vmferry")
    assert workflow is not None
    given = {one["name"]: one["value"] for one in workflow["spec"]["arguments"]["parameters"]}
    assert given["undo"] == "false"
    return str(given["keep-off"])


def test_a_repeated_cleanup_touches_no_vm_of_an_import_that_has_succeeded() -> None:
    """Its Workflow is stopped before it starts, so its own status is Failed: `halt` would stop the VM."""
    world = World(onFailure="restorePower")
    world.look()
    world.found()
    world.argo(*upto("end"), node("start"), exited(json.dumps(LEFT)), phase="Succeeded")
    world.look(2)
    later(world, HOUR)
    assert keeps_off(world) == "succeeded"


def test_a_repeated_cleanup_restores_the_power_that_the_first_one_could_not() -> None:
    world = failing(NOT_ASKED)
    later(world, HOUR)
    assert keeps_off(world) == "false"
    (name,) = backs(world)
    restored = json.dumps({"version": "1", "state": "started", "message": "web01 was started again"})
    parameters = [{"name": "left", "value": "[]"}, {"name": "restored", "value": restored}]
    world.argo(exited(outputs={"exitCode": "0", "parameters": parameters}), phase="Failed", name=name)
    world.look(2)
    made = find(world.status.import_conditions, RESTORED)
    assert made is not None
    assert made.status == "True"
    before = world.status
    world.look(3)
    assert world.status == before
    world.annotate(retry="true")
    world.look()
    assert world.run.endswith("-g2"), "what was copied is stale"


def test_a_repeated_cleanup_never_has_the_name_of_an_earlier_one() -> None:
    """Argo would take the pod of the earlier one for its own."""
    world, seen = failing(json.dumps(LEFT)), set()
    for _ in range(3):
        later(world, 13 * HOUR)
        (name,) = backs(world)
        assert name not in seen
        seen.add(name)
        released(world, json.dumps(LEFT))


def test_a_terminated_workflow_is_cleaned_up_without_a_deletion() -> None:
    world = World()
    world.look()
    world.argo(found(), node("poweroff"), node("export", "Failed", "disk-0"), phase="Error")
    world.look(2)
    assert condition(world).reason == "SourceNotAsked"
    later(world, HOUR)
    assert len(backs(world)) == 1


def test_a_source_that_refused_the_credentials_is_not_asked_again() -> None:
    """Each further attempt might lock the account; and preflight has changed nothing."""
    world = World()
    world.look()
    world.argo(failed("preflight", 11, "the password is wrong"), exited(NOT_ASKED), phase="Failed")
    world.look(2)
    later(world, 48 * HOUR)
    assert backs(world) == []
    assert find(world.status.import_conditions, SOURCE_LEFTOVERS) is None


def test_a_succeeded_import_keeps_its_credentials_until_its_source_is_clean() -> None:
    world = World()
    world.look()
    world.argo(*upto("end"), node("start"), exited(json.dumps(LEFT[:1])), phase="Succeeded")
    world.look(3)
    assert world.status.import_status == "virtualMachineRunning"
    assert world.secret(names.credentials(world.run)) is not None
    assert condition(world).status == "True"
    later(world, HOUR)
    released(world)
    world.look(4)
    assert world.cluster.all(SECRET, "vmferry") == []
    assert world.raw is not None
    assert FINALIZER not in (world.raw["metadata"].get("finalizers") or [])
    assert world.status.import_status == "virtualMachineRunning"


def test_a_succeeded_import_that_left_nothing_has_no_such_condition() -> None:
    world = World()
    world.look()
    world.argo(*upto("end"), node("start"), phase="Succeeded")
    world.look(3)
    assert find(world.status.import_conditions, SOURCE_LEFTOVERS) is None


def test_a_retry_does_not_run_beside_a_cleanup() -> None:
    """The cleanup ends the sessions of the run, those of the retried export too."""
    world = failing(json.dumps(LEFT))
    later(world, HOUR)
    assert len(backs(world)) == 1
    world.annotate(retry="true")
    world.look(2)
    assert backs(world) == []
    assert world.workflows() == [f"{world.run}-r1"]
    assert find(world.status.import_conditions, SOURCE_LEFTOVERS) is None
    (request,) = requests(world)
    assert CLEANUPS not in request["metadata"]["annotations"], "the pauses begin again"


def test_a_retry_in_argo_ends_a_running_cleanup() -> None:
    world = failing(json.dumps(LEFT))
    later(world, HOUR)
    world.argo(found(), node("poweroff"), node("export", "Running", "disk-0"), name=world.run)
    world.look()
    assert backs(world) == []


def test_vmferry_gives_up_after_the_limit_and_says_so() -> None:
    world = failing(NOT_ASKED, source="clusterNotReady")
    later(world, LIMIT - HOUR)
    assert condition(world).reason == "SourceNotAsked"
    later(world, 2 * HOUR)
    assert (condition(world).status, condition(world).reason) == ("Unknown", "GivenUp")
    assert "check it" in condition(world).message
    world.set_source("clusterReady")
    later(world, HOUR)
    assert backs(world) == []


def test_a_restart_of_the_controller_changes_nothing() -> None:
    """The pauses are in the cluster."""
    world = failing(json.dumps(LEFT))
    later(world, HOUR)
    released(world, json.dumps(LEFT))
    name = backs(world)
    world.ledger = StatusCache(lambda: None)
    world.look(3)
    assert backs(world) == name


def test_the_credentials_of_another_source_never_reach_this_one() -> None:
    """The spec was edited to another source, and the retry is held: only the old source is cleaned up."""
    world = failing(json.dumps(LEFT))
    other = {"name": "other", "namespace": "default", "generation": 1}
    known = world.cluster.peek(SOURCES[SourceKind.VMWARE], "vcenter", "default")
    assert known is not None
    spec = {
        "endpoint": "https://other/sdk",
        "dc": "DC0",
        "credentials": {"name": "others", "namespace": "default"},
    }
    world.cluster.put(known | {"metadata": other, "spec": spec})
    secret = world.cluster.peek(SECRET, "credentials", "default")
    assert secret is not None
    data = {"username": "b3RoZXI=", "password": "b3RoZXI="}
    world.cluster.put(secret | {"metadata": {"name": "others", "namespace": "default"}, "data": data})
    world.apply(sourceCluster={"kind": "VmwareSource", "name": "other", "namespace": "default"}, suspend=True)
    later(world, HOUR)
    assert len(backs(world)) == 1
    copy = world.secret(names.credentials(world.run))
    assert copy is not None
    assert copy["data"] != data


# --- the import was deleted


@pytest.mark.parametrize("left", [NOT_ASKED, *(json.dumps([text]) for text in LEFT)])
def test_the_source_is_released_after_the_import_was_deleted(left: str) -> None:
    """A step was killed, its source is away, the import is deleted, the source answers: nothing is left."""
    world = away_at_deletion(left)
    (gave_up,) = [one for one in world.cluster.all(EVENT, KEY[0]) if one["reason"] == "GaveUp"]
    assert "vmferry continues to release it while ConfigMap vmferry/" in gave_up["message"]
    (request,) = requests(world)
    assert request["metadata"]["labels"][names.LABEL_LEFTOVERS] == "true"
    assert sweep(world.cluster, "vmferry") == [], "the request stays, with its credentials"
    assert world.secret(names.credentials(run_of(world))) is not None
    first = backs(world)
    released(world, NOT_ASKED)
    world.now += 6 * HOUR
    assert orphans.clean_up(world.cluster, world.options, clock=lambda: world.now) == 1
    assert backs(world) == first, "a source that does not answer is not asked"
    world.set_source("clusterReady")
    assert orphans.clean_up(world.cluster, world.options, clock=lambda: world.now) == 1
    assert backs(world) != first
    assert keeps_off(world) == "true", "it is not known whether the import had succeeded"
    released(world)
    world.look()
    assert requests(world) == []
    assert world.workflows() == []
    assert world.cluster.all(SECRET, "vmferry") == []
    assert orphans.clean_up(world.cluster, world.options, clock=lambda: world.now) == 0


def test_a_source_that_was_deleted_too_is_released_with_the_copy_of_the_credentials() -> None:
    world = away_at_deletion()
    world.cluster.drop(SOURCES[SourceKind.VMWARE], "vcenter", "default")
    world.cluster.drop(SECRET, "credentials", "default")
    released(world, NOT_ASKED)
    world.now += HOUR
    orphans.clean_up(world.cluster, world.options, clock=lambda: world.now)
    released(world)
    orphans.clean_up(world.cluster, world.options, clock=lambda: world.now)
    assert requests(world) == []


def test_a_deleted_import_is_given_up_after_the_limit() -> None:
    world = away_at_deletion()
    world.now += LIMIT + HOUR
    released(world, NOT_ASKED)
    assert orphans.clean_up(world.cluster, world.options, clock=lambda: world.now) == 0
    assert requests(world) == []


def test_a_person_gives_up_by_deleting_the_request() -> None:
    world = away_at_deletion()
    world.cluster.drop(CONFIG_MAP, requests(world)[0]["metadata"]["name"], "vmferry")
    assert orphans.clean_up(world.cluster, world.options, clock=lambda: world.now) == 0
    assert world.workflows() == []
    assert world.cluster.all(SECRET, "vmferry") == []


def test_a_workflow_that_never_stops_does_not_keep_the_source_from_being_released() -> None:
    world = World()
    world.look()
    world.argo(found(), node("poweroff"), node("export", "Running", "disk-0"))
    world.look()
    world.delete()
    for _ in itertools.takewhile(lambda _: world.raw is not None, range(200)):
        world.look()
    assert world.workflow()["spec"]["shutdown"] == "Stop"
    run = run_of(world)
    world.now += 2 * HOUR
    orphans.clean_up(world.cluster, world.options, clock=lambda: world.now)
    assert world.cluster.peek(WORKFLOW, run, "vmferry") is None
    orphans.clean_up(world.cluster, world.options, clock=lambda: world.now)
    released(world)
    orphans.clean_up(world.cluster, world.options, clock=lambda: world.now)
    assert requests(world) == []


def test_an_import_that_still_exists_is_not_cleaned_up_as_a_deleted_one() -> None:
    world = failing(json.dumps(LEFT))
    (request,) = requests(world)
    request["metadata"]["labels"][names.LABEL_LEFTOVERS] = "true"
    assert orphans.clean_up(world.cluster, world.options, clock=lambda: world.now + 9 * HOUR) == 0
    assert requests(world) == [request]


def test_an_unreadable_request_is_deleted() -> None:
    world = away_at_deletion()
    requests(world)[0]["data"]["plan.json"] = '{"version": "2"}'
    orphans.clean_up(world.cluster, world.options, clock=lambda: world.now)
    assert requests(world) == []


def test_only_a_few_cleanups_start_at_once() -> None:
    """A source that answers again would be asked by all of them."""
    world = many_deleted(12)
    before = set(world.workflows())
    assert orphans.clean_up(world.cluster, world.options, clock=lambda: world.now) == 13
    assert len(set(world.workflows()) - before) == orphans.MOST_STARTS


def test_many_deleted_imports_of_one_namespace_do_not_delay_those_of_another() -> None:
    world = many_deleted(12)
    last = world.cluster.all(CONFIG_MAP, "vmferry")[-1]
    assert last["metadata"]["name"] != f"{run_name('web', UID, 1)}-request"
    last["metadata"]["labels"][names.LABEL_NAMESPACE] = "another"
    run = last["metadata"]["labels"][names.LABEL_RUN]
    orphans.clean_up(world.cluster, world.options, clock=lambda: world.now)
    assert [name for name in world.workflows() if argo_names.is_give_back(name, run)]


def many_deleted(count: int) -> World:
    """A deleted import whose source answers again, and copies of it."""
    world = away_at_deletion()
    released(world, NOT_ASKED)
    (request,) = requests(world)
    run = run_of(world)
    for number in range(count):
        uid = f"{number}0000000-0000-4000-8000-000000000001"
        text = json.dumps(request).replace(run, run_name("web", uid, 1))
        copy = json.loads(text.replace(UID, uid))
        world.cluster.put(copy | {"metadata": copy["metadata"] | {"uid": f"request-{number}"}})
    world.set_source("clusterReady")
    world.now += HOUR
    return world


# --- who sees it


def test_the_metric_counts_existing_and_deleted_imports() -> None:
    world = failing(json.dumps(LEFT))
    world.ledger.deleted_with_leftovers = 3
    collected = Collector(world.ledger, [], dict, world.checks).collect()
    (metric,) = [one for one in collected if one.name == "vmferry_imports_with_leftovers"]
    assert {sample.labels["import"]: sample.value for sample in metric.samples} == {"exists": 1, "deleted": 3}


def test_an_uninstall_is_refused_while_a_deleted_import_left_something() -> None:
    world = away_at_deletion()
    with pytest.raises(StepError, match=r"1 deleted import\(s\) may have left something") as caught:
        check(world.cluster, world.options)
    assert caught.value.code is Exit.BUSY
    assert "delete configmap --selector migration.harvesterhci.io/leftovers=true" in str(caught.value)
