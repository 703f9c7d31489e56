"""A wrong password locks no account, and a source that fails costs less and less (findings F6 and F10)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import pytest

from controller.operator.options import Options
from controller.operator.routing import SourceKey
from controller.operator.sources.attempts import LONGEST_PAUSE, MOST_REFUSALS
from controller.operator.sources.check import SourceVerdict
from controller.operator.sources.reconcile import MOST_ACCOUNTS, SourceReconciler
from steps.model.kinds import SECRET, SOURCES
from steps.model.sources import SourceKind
from tests.unit.controller.operator.world import World
from workflows.api.sources import Source
from workflows.api.status import SourceStatus

VMWARE: Final = SOURCES[SourceKind.VMWARE]
KEY: Final = SourceKey(VMWARE, "default", "vcenter")
DENIED: Final = SourceVerdict(ready=False, reason="Denied", message="the password is wrong")
UNREACHABLE: Final = SourceVerdict(ready=False, reason="Unreachable", message="nobody answers")


class Place:
    """A source, the controller that checks it, and a clock."""

    def __init__(self, verdict: SourceVerdict) -> None:
        self.world, self.verdict = World(), verdict
        self.world.set_source("")
        self.attempts: list[tuple[str, bytes]] = []
        self.restart()

    def restart(self) -> None:
        """A new process: it knows only what is in the cluster."""
        self.reconciler = SourceReconciler(
            self.world.cluster, Options(), self._verify, lambda: self.world.now
        )

    def _verify(self, source: Source, credentials: Mapping[str, bytes], _options: Options) -> SourceVerdict:
        self.attempts.append((source.metadata.name, credentials["password"]))
        return self.verdict

    def wait(self, seconds: float, *keys: SourceKey) -> None:
        """Reconcile the sources whenever they ask for it."""
        end = self.world.now + timedelta(seconds=seconds)
        due = dict.fromkeys(keys or (KEY,), self.world.now)
        while (key := min(due, key=lambda one: due[one])) and due[key] <= end:
            self.world.now = max(self.world.now, due[key])
            again = self.reconciler.reconcile(key)
            due[key] = self.world.now + timedelta(seconds=again or 1)
        self.world.now = end

    @property
    def status(self) -> SourceStatus:
        found = self.world.cluster.peek(VMWARE, "vcenter", "default")
        assert found is not None
        return SourceStatus.read(found["status"])

    def another_source(self, name: str, **spec: Any) -> SourceKey:
        """One more source with the same Secret."""
        found = self.world.cluster.peek(VMWARE, "vcenter", "default")
        assert found is not None
        metadata = {"name": name, "namespace": "default", "generation": 1}
        self.world.cluster.put(
            {**found, "metadata": metadata, "spec": {**found["spec"], **spec}, "status": {}}
        )
        return SourceKey(VMWARE, "default", name)


def test_a_wrong_password_is_tried_twice() -> None:
    place = Place(DENIED)
    place.wait(86_400)
    assert len(place.attempts) == MOST_REFUSALS
    assert "the password is wrong" in place.status.message
    assert "retry=true" in place.status.message


def test_also_when_the_controller_starts_again_and_again() -> None:
    place = Place(DENIED)
    for _ in range(20):
        place.restart()
        place.wait(10)
    assert len(place.attempts) == MOST_REFUSALS


def test_a_changed_password_is_tried() -> None:
    place = Place(DENIED)
    place.wait(3600)
    place.world.set_password("right")
    place.verdict = SourceVerdict(ready=True)
    place.wait(60)
    assert place.attempts[MOST_REFUSALS:] == [("vcenter", b"right")]
    assert place.status.status == "clusterReady"
    assert place.status.verification.failures == 0


def test_a_person_may_ask_for_another_attempt() -> None:
    place = Place(DENIED)
    place.wait(3600)
    note = {"metadata": {"annotations": {"migration.harvesterhci.io/retry": "true"}}}
    place.world.cluster.patch(VMWARE, "vcenter", note, "default")
    place.verdict = SourceVerdict(ready=True)
    place.wait(300)
    assert place.status.status == "clusterReady"
    found = place.world.cluster.peek(VMWARE, "vcenter", "default")
    assert found is not None
    assert not found["metadata"].get("annotations")


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://vcenter/sdk",
        "https://VCENTER/sdk/",
        "https://vcenter/other",
        "https://vcenter:443",
        "https://vcenter./",
    ],
)
def test_sources_with_one_account_share_the_attempts(endpoint: str) -> None:
    place = Place(DENIED)
    keys = [place.another_source(f"copy-{number}", endpoint=endpoint) for number in range(5)]
    place.wait(3600, KEY, *keys)
    assert len(place.attempts) == MOST_REFUSALS


def test_another_vcenter_has_attempts_of_its_own() -> None:
    place = Place(DENIED)
    other = place.another_source("other", endpoint="https://other/sdk")
    place.wait(3600, KEY, other)
    assert len(place.attempts) == 2 * MOST_REFUSALS


def test_a_source_that_does_not_answer_is_asked_less_and_less() -> None:
    place = Place(UNREACHABLE)
    place.wait(3600)
    hour = len(place.attempts)
    place.wait(3600)
    assert hour <= 12
    assert len(place.attempts) - hour <= 3600 / LONGEST_PAUSE + 1
    place.restart()
    before = len(place.attempts)
    place.wait(30)
    assert len(place.attempts) <= before + 1, "a restart forgets nothing"


def test_a_source_that_answers_again_is_ready_within_ten_minutes() -> None:
    place = Place(UNREACHABLE)
    place.wait(7200)
    place.verdict = SourceVerdict(ready=True)
    place.wait(LONGEST_PAUSE + 30)
    assert place.status.status == "clusterReady"


def test_a_ready_source_is_checked_again_after_the_clock_was_set_back() -> None:
    place = Place(SourceVerdict(ready=True))
    place.wait(1)
    place.world.now -= timedelta(hours=5)
    assert len(place.attempts) == 1
    place.wait(1)
    assert len(place.attempts) == 2


def test_a_clock_that_was_set_back_delays_nothing() -> None:
    place = Place(UNREACHABLE)
    place.wait(3600)
    place.world.now -= timedelta(hours=5)
    place.verdict = SourceVerdict(ready=True)
    place.wait(60)
    assert place.status.status == "clusterReady"


@pytest.mark.parametrize("record", [None, "x", {"time": "now"}, {"time": 7, "failures": "many"}, []])
def test_a_record_that_somebody_else_wrote_stops_nothing(record: object) -> None:
    place = Place(SourceVerdict(ready=True))
    found = place.world.cluster.peek(VMWARE, "vcenter", "default")
    assert found is not None
    found["status"] = {"status": "clusterNotReady", "observedGeneration": 1, "verification": record}
    place.wait(60)
    assert place.status.status == "clusterReady"


def test_a_secret_that_cannot_be_decoded_is_reported_once() -> None:
    place = Place(SourceVerdict(ready=True))
    found = place.world.cluster.peek(SECRET, "credentials", "default")
    assert found is not None
    found["data"]["password"] = base64.b64encode(b"x").decode()[:-1]
    place.wait(600)
    assert place.attempts == []
    assert "not base64" in place.status.message


def test_passwords_that_change_all_the_time_use_no_memory() -> None:
    place = Place(DENIED)
    for number in range(MOST_ACCOUNTS + 50):
        place.world.set_password(f"wrong-{number}")
        place.reconciler.reconcile(KEY)
    assert len(place.attempts) == MOST_ACCOUNTS + 50
    assert len(place.reconciler._accounts._refusals) == MOST_ACCOUNTS
    place.reconciler.reconcile(place.another_source("copy"))
    place.reconciler.reconcile(place.another_source("copy-2"))
    assert len(place.attempts) == MOST_ACCOUNTS + 51, "the latest ones are known"


@pytest.mark.parametrize(
    "endpoint",
    ["https://vcenter:99999/sdk", "https://vcenter:x/sdk", "https://[::1/sdk", "https://\u2100/sdk"],
)
def test_an_address_that_cannot_be_read_is_reported(endpoint: str) -> None:
    place = Place(DENIED)
    place.reconciler.reconcile(place.another_source("typo", endpoint=endpoint))
    found = place.world.cluster.peek(VMWARE, "typo", "default")
    assert found is not None
    assert "is not an address; write https://" in found["status"]["message"]
    assert place.attempts == []
