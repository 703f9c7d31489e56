"""A wrong password locks no account, and a source that fails costs less and less (findings F6 and F10)."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest

from controller.operator.reconcile import reconcile
from controller.operator.routing import SourceKey
from controller.operator.sources.accounts import MOST_ACCOUNTS, MOST_OF_ALL, MOST_OF_NAMESPACE, WINDOW
from controller.operator.sources.attempts import LONGEST_PAUSE, MOST_REFUSALS
from steps.model.kinds import SECRET, WORKFLOW
from tests.unit.controller.operator.kubelet import check_pods
from tests.unit.controller.operator.sources.place import DENIED, KEY, READY, UNREACHABLE, VMWARE, Place
from tests.unit.controller.operator.world import KEY as IMPORT_KEY
from tests.unit.controller.operator.world import World


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
    place.answer = READY
    place.wait(60)
    assert place.attempts[MOST_REFUSALS:] == [("vcenter", b"right")]
    assert place.status.status == "clusterReady"
    assert place.status.verification.failures == 0


def test_a_person_may_ask_for_another_attempt() -> None:
    place = Place(DENIED)
    place.wait(3600)
    note = {"metadata": {"annotations": {"migration.harvesterhci.io/retry": "true"}}}
    place.world.cluster.patch(VMWARE, "vcenter", note, "default")
    place.answer = READY
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
    place.answer = READY
    place.wait(LONGEST_PAUSE + 30)
    assert place.status.status == "clusterReady"


def test_a_ready_source_is_checked_again_after_the_clock_was_set_back() -> None:
    place = Place(READY)
    place.wait(1)
    place.world.now -= timedelta(hours=5)
    assert len(place.attempts) == 1
    place.wait(1)
    assert len(place.attempts) == 2


def test_a_clock_that_was_set_back_delays_nothing() -> None:
    place = Place(UNREACHABLE)
    place.wait(3600)
    place.world.now -= timedelta(hours=5)
    place.answer = READY
    place.wait(60)
    assert place.status.status == "clusterReady"


@pytest.mark.parametrize("record", [None, "x", {"time": "now"}, {"time": 7, "failures": "many"}, []])
def test_a_record_that_somebody_else_wrote_stops_nothing(record: object) -> None:
    place = Place(READY)
    found = place.world.cluster.peek(VMWARE, "vcenter", "default")
    assert found is not None
    found["status"] = {"status": "clusterNotReady", "observedGeneration": 1, "verification": record}
    place.wait(60)
    assert place.status.status == "clusterReady"


def test_a_secret_that_cannot_be_decoded_is_reported_once() -> None:
    place = Place(READY)
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
        place.look(WINDOW.total_seconds())
    assert len(place.attempts) == MOST_ACCOUNTS + 50
    assert len(place.reconciler._accounts._refusals) == MOST_ACCOUNTS
    place.look(key=place.another_source("copy"))
    place.look(key=place.another_source("copy-2"))
    assert len(place.attempts) == MOST_ACCOUNTS + 51, "the latest ones are known"


def guesses(place: Place, count: int, *namespaces: str, user: str = "ferry") -> list[SourceKey]:
    """Sources with one account and a new password each, in turn in these namespaces."""
    keys = []
    for number in range(count):
        space, name = namespaces[number % len(namespaces)], f"guess-{number}"
        values = {"username": user, "password": f"guess-{number}"}
        data = {key: base64.b64encode(text.encode()).decode() for key, text in values.items()}
        metadata = {"name": name, "namespace": space}
        place.cluster.put({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
        keys.append(place.another_source(name, namespace=space, credentials={"name": name}))
    return keys


@pytest.mark.parametrize("user", ["ferry", "FERRY", " ferry"])
def test_new_passwords_all_the_time_do_not_lock_an_account(user: str) -> None:
    """A tenant guesses, or wants to lock the account of somebody else."""
    place = Place(DENIED)
    keys = [KEY, *guesses(place, 12, "tenant", user=user)]
    place.wait(WINDOW.total_seconds() - 1, *keys)
    assert len(place.attempts) <= MOST_OF_ALL
    place.wait(7200, *keys)
    passwords = {password for _, password in place.attempts}
    assert len(passwords) == 13, "each one is tried in its time"


def test_guesses_in_one_namespace_do_not_delay_another_one() -> None:
    place = Place(DENIED)
    keys = guesses(place, 12, "tenant")
    place.wait(60, *keys)
    assert len(place.attempts) == MOST_OF_NAMESPACE
    place.answer = READY
    place.look()
    assert place.status.status == "clusterReady"


def test_guesses_in_many_namespaces_stop_before_the_lock() -> None:
    place = Place(DENIED)
    place.wait(WINDOW.total_seconds() - 1, *guesses(place, 12, "one", "two", "three", "four"))
    assert len(place.attempts) == MOST_OF_ALL
    source = place.cluster.peek(VMWARE, "guess-11", "four")
    assert source is not None
    assert source["status"]["conditions"][1]["reason"] == "CheckNotStarted"
    assert "the account is not locked" in source["status"]["message"]


def test_credentials_that_were_accepted_are_checked_meanwhile() -> None:
    place = Place(READY)
    place.look()
    place.answer = DENIED
    place.wait(60, *guesses(place, 12, "one", "two", "three"))
    before = len(place.attempts)
    place.answer = READY
    place.look(place.options.recheck_seconds)
    assert len(place.attempts) == before + 1
    assert place.status.status == "clusterReady"


@pytest.mark.parametrize(
    "endpoint",
    ["https://vcenter:99999/sdk", "https://vcenter:x/sdk", "https://[::1/sdk", "https://\u2100/sdk"],
)
def test_an_address_that_cannot_be_read_is_reported(endpoint: str) -> None:
    place = Place(DENIED)
    place.look(key=place.another_source("typo", endpoint=endpoint))
    found = place.world.cluster.peek(VMWARE, "typo", "default")
    assert found is not None
    assert "is not an address; write https://" in found["status"]["message"]
    assert place.attempts == []


def test_checks_with_one_account_never_run_at_the_same_time() -> None:
    """Otherwise all of them would try the wrong password before the first refusal is known."""
    place = Place(answer=None)
    keys = [place.another_source(f"copy-{number}", namespace=f"team-{number}") for number in range(6)]
    consent = ",".join(f"team-{number}/VmwareSource/copy-{number}" for number in range(6))
    secret = place.cluster.peek(SECRET, "credentials", "default")
    assert secret is not None
    secret["metadata"]["annotations"] = {"migration.harvesterhci.io/used-by": consent}
    for key in (KEY, *keys):
        place.look(key=key)
    assert len(place.attempts) == 1
    place.answer = DENIED
    place.wait(3600, KEY, *keys)
    assert len(place.attempts) == MOST_REFUSALS
    assert check_pods(place.cluster) == []


def test_a_password_that_changes_while_it_is_tried_is_counted_as_it_was() -> None:
    """Somebody who touches the Secret all the time must not cause more attempts."""
    place = Place(answer=None)
    for _ in range(5):
        place.look(60)
        place.world.set_password("secret")  # the same text in a new version
        place.answer = DENIED
        place.wait(30)
        place.answer = None
    assert len(place.attempts) == MOST_REFUSALS


def test_a_secret_that_comes_and_goes_causes_no_more_attempts() -> None:
    place = Place(answer=None)
    for _ in range(5):
        place.world.set_password("secret")
        place.look(60)
        place.cluster.drop(SECRET, "credentials", "default")
        place.look(31)
        place.answer = DENIED
        place.kubelet.sync()
        place.look(1)
        place.answer = None
    assert len(place.attempts) == MOST_REFUSALS
    assert check_pods(place.cluster) == []


def test_a_changed_secret_is_checked_before_an_import_uses_it() -> None:
    """Otherwise each import with a new wrong password is a guess that nobody counts."""
    world, asked = World(), list[SourceKey]()

    def look() -> list[dict[str, Any]]:
        reconcile(
            world.cluster,
            world.options,
            IMPORT_KEY,
            world.ledger,
            lambda: world.now,
            world.checks,
            asked.append,
        )
        return world.cluster.find(WORKFLOW, "vmferry")

    def checked() -> None:
        secret = world.cluster.get(SECRET, "credentials", "default")
        assert secret is not None
        metadata = secret["metadata"]
        version = f"{metadata['uid']}/{metadata['resourceVersion']}"
        world.cluster.patch_status(VMWARE, "vcenter", {"verification": {"credentials": version}}, "default")

    checked()
    world.set_password("a guess")
    assert look() == []
    assert asked == [SourceKey(VMWARE, "default", "vcenter")]
    assert "The credentials of VmwareSource default/vcenter have changed" in str(world.status)
    checked()
    assert len(look()) == 1
    assert len(asked) == 1
