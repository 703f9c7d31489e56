"""Checks of sources: when they are due, how a result changes the status, and what is notified."""

from __future__ import annotations

import pytest

from controller.operator.checkpods.check import Ended, Owner
from controller.operator.options import Options
from controller.operator.sources import check
from controller.operator.sources.attempts import FIRST_PAUSE
from steps.model.kinds import EVENT, SECRET, SOURCES, Object
from steps.model.sources import SourceKind
from tests.unit.controller.operator.kubelet import Exited, check_pods
from tests.unit.controller.operator.sources.place import DENIED, KEY, READY, UNREACHABLE, Place
from workflows.api.conditions import find
from workflows.api.sources import OvaSource
from workflows.plan import source_reasons


def test_a_source_is_verified_again_after_its_time() -> None:
    place = Place()
    assert place.look() == Options().recheck_seconds
    assert (place.status.status, place.status.observed_generation) == ("clusterReady", 1)
    ready = find(place.status.conditions, "ClusterReady")
    assert ready is not None
    assert (ready.status, ready.reason) == ("True", "Verified")
    place.look(10)
    assert len(place.attempts) == 1
    assert place.reconciler.count_by_status() == {"clusterReady": 1}
    place.look(300)
    assert len(place.attempts) == 2


def test_a_changed_password_is_detected_at_the_next_reconcile() -> None:
    place = Place()
    place.look()
    place.world.set_password("changed")
    place.look(1)
    assert [password for _, password in place.attempts] == [b"secret", b"changed"]


def test_a_changed_spec_is_detected() -> None:
    place = Place()
    place.look()
    found = place.world.cluster.peek(SOURCES[SourceKind.VMWARE], "vcenter", "default")
    assert found is not None
    found["metadata"]["generation"] = 2
    place.look(1)
    assert len(place.attempts) == 2
    assert place.status.observed_generation == 2


def test_a_source_that_is_not_ready_has_a_reason_and_is_retried_soon() -> None:
    place = Place()
    place.answer = UNREACHABLE
    assert place.look() == FIRST_PAUSE
    assert (place.status.status, place.status.message) == ("clusterNotReady", "nobody answers")
    error = find(place.status.conditions, "ClusterError")
    assert error is not None
    assert (error.status, error.reason) == ("True", "Unreachable")
    place.answer = READY
    place.look(FIRST_PAUSE)
    assert place.status.status == "clusterReady"
    assert place.status.message == ""
    assert [one["reason"] for one in place.world.cluster.all(EVENT)] == ["SourceNotReady", "SourceReady"] or {
        one["reason"] for one in place.world.cluster.all(EVENT)
    } == {"SourceNotReady", "SourceReady"}


def test_a_source_without_its_secret_is_not_ready() -> None:
    place = Place()
    place.world.cluster.drop(SECRET, "credentials", "default")
    place.look()
    assert place.status.status == "clusterNotReady"
    assert "Secret default/credentials" in place.status.message
    assert place.attempts == []
    place.world.set_password("secret")
    place.look(1)
    assert place.status.status == "clusterReady"


def test_a_deleted_source_is_forgotten() -> None:
    place = Place()
    place.world.cluster.drop(SOURCES[SourceKind.VMWARE], "vcenter", "default")
    assert place.look() is None
    assert place.reconciler.count_by_status() == {}


@pytest.mark.parametrize("url", ["/etc/passwd", "file:///srv/appliance.ova", "ftp://files/x.ova"])
def test_local_files_are_refused_in_a_cluster(url: str) -> None:
    ova = OvaSource.model_validate(
        {
            "apiVersion": "migration.harvesterhci.io/v1beta1",
            "kind": "OvaSource",
            "metadata": {"name": "ova"},
            "spec": {"url": url},
        }
    )
    (reason,) = [one for one in source_reasons(ova) if "serve the file over HTTP" in one]
    assert url in reason


def test_a_check_leaves_nothing_behind() -> None:
    place = Place()
    place.look()
    assert place.status.status == "clusterReady"
    assert check_pods(place.cluster) == []


def test_a_ready_source_stays_ready_while_it_is_checked_again() -> None:
    place = Place()
    place.look()
    place.answer = None
    place.look(Options().recheck_seconds)
    assert len(place.attempts) == 2
    assert place.status.status == "clusterReady"


def test_a_restart_does_not_verify_a_ready_source_again() -> None:
    place = Place()
    place.look()
    for _ in range(5):
        place.restart()
        place.look(10)
    assert len(place.attempts) == 1


def test_a_result_without_a_message_names_the_exit_code() -> None:
    assert "exit code 7" in check.verdict_of(Ended("uid", "1/", code=7)).message


def test_a_source_that_was_deleted_while_it_is_checked_leaves_nothing() -> None:
    place = Place(answer=None)
    place.look()
    assert check_pods(place.cluster) != []
    place.cluster.drop(KEY.kind, "vcenter", "default")
    place.look()
    assert check_pods(place.cluster) == []
    assert place.checks.running() == 0


def ending(place: Place) -> None:
    place.cluster.put(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": "default",
                "deletionTimestamp": "2026-07-29T10:00:00Z",
                "finalizers": ["example.com/slow"],
            },
            "status": {"phase": "Terminating"},
        }
    )


@pytest.mark.parametrize("answer", [READY, UNREACHABLE, DENIED])
def test_a_source_is_not_checked_while_its_namespace_is_deleted(answer: Exited) -> None:
    place = Place(answer)
    place.look()
    attempts = len(place.attempts)
    ending(place)
    place.wait(4 * 3600.0)
    assert len(place.attempts) == attempts
    assert place.status.status == check.NOT_READY
    assert place.status.message == ("namespace default is being deleted: this source is not checked any more")
    assert {one.reason for one in place.status.conditions} == {"NamespaceTerminating"}
    assert place.look() == place.options.recheck_seconds
    version = place.raw["metadata"].get("resourceVersion")
    place.wait(3600.0)
    assert place.raw["metadata"].get("resourceVersion") == version, "nothing is written again"


def test_a_check_that_runs_when_its_namespace_is_deleted_leaves_nothing() -> None:
    place = Place(None)
    place.look()
    assert place.checks.running() == 1
    ending(place)
    place.answer = READY
    place.wait(3 * 3600.0)
    assert len(place.attempts) == 1
    assert place.checks.running() == 0
    assert check_pods(place.cluster) == []


@pytest.mark.parametrize("answer", [READY, DENIED])
def test_a_schema_without_our_fields_causes_no_more_attempts(answer: Exited) -> None:
    """The CRDs of vm-import-controller: the API server drops the record of the attempts."""
    place = Place(answer)

    def drop(_verb: str, thing: Object) -> None:
        if thing["kind"] == KEY.kind.kind:
            thing.get("status", {}).pop("verification", None)

    place.cluster.admission.append(drop)
    place.wait(3600)
    assert "verification" not in place.raw["status"]
    assert len(place.attempts) == (2 if answer is DENIED else 13)


def test_the_owner_of_a_check_is_read_back() -> None:
    owner = Owner(SOURCES[SourceKind.OVA], "team", "a.b")
    assert Owner.parse(str(owner)) == owner
    for text in ("", "OvaSource", "OvaSource/team", "OvaSource//x", "Pod/team/x"):
        assert Owner.parse(text) is None
