"""Hostile sources against the real programs in check pods (findings F4 and F6), and kills at each request.

The controller reads only an exit code and a short message, whatever a source answers.
"""

from __future__ import annotations

import contextlib
import gc
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

import pytest

from controller.operator.checkpods import objects
from controller.operator.checkpods.check import Owner
from controller.operator.observe.fields import labels_of
from controller.operator.options import CheckOptions, Options
from controller.operator.routing import SourceKey
from steps.model.contract import Exit, StepError
from steps.model.kinds import EVENT, POD, SECRET, SOURCES, Object
from steps.model.sources import SourceKind
from steps.runtime.cluster import ChangedError
from tests.unit.controller.operator import programs
from tests.unit.controller.operator.kubelet import Exited, check_pods
from tests.unit.controller.operator.sources.place import DENIED, KEY, READY, VMWARE, Place
from tests.unit.steps.targets.harvester.fake_cluster import Fault, KilledError
from workflows.api.status import SourceStatus

SECONDS: Final = 5.0
"""How long a source may take to answer here."""
PATIENCE: Final = 240.0
"""Seconds that a busy machine may need for a check."""
STATUS_BYTES: Final = 20_000
Answer = Callable[[socket.socket], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], int]]:
    """Start a TCP server that gives one answer to every connection; returns its port."""
    with contextlib.ExitStack() as stack:

        def start(answer: Answer) -> int:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            stack.callback(listening.shutdown, socket.SHUT_RDWR)  # to close it would not end `accept`
            threading.Thread(target=_accept, args=(listening, answer), daemon=True).start()
            return int(listening.getsockname()[1])

        yield start


def _accept(listening: socket.socket, answer: Answer) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_give, args=(connection, answer), daemon=True).start()


def _give(connection: socket.socket, answer: Answer) -> None:
    with contextlib.suppress(OSError), connection:
        answer(connection)


def silence(connection: socket.socket) -> None:
    connection.settimeout(PATIENCE)
    while connection.recv(1 << 16):
        pass


def slow_drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.2)


def endless_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        connection.sendall(b" " * (1 << 16))


def endless_header(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Header: ")
    while True:
        connection.sendall(b"x" * (1 << 16))


def garbage(connection: socket.socket) -> None:
    connection.recv(1 << 16)
    connection.sendall(bytes(range(256)) * 64)


def secrets_of_somebody(connection: socket.socket) -> None:
    body = b"root:x:0:0:TOP-SECRET:/root:/bin/bash\x1b[2J\n" * 100
    connection.recv(1 << 16)
    connection.sendall(b"HTTP/1.1 500 TOP-SECRET\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


class Hostile(Place):
    """A cloud at an address, checked by the real program."""

    def __init__(self, port: int, memory: str = "160Mi", seconds: float = SECONDS) -> None:
        resources = {"limits": {"cpu": "1", "memory": memory}}
        checks = CheckOptions(resources=resources)
        self.containers: list[programs.Process] = []
        super().__init__(verify_seconds=seconds, checks=checks)
        self.kubelet.runtime = self._run
        self.kubelet.clock = time.monotonic
        cloud = {"endpoint": f"http://127.0.0.1:{port}/v3", "credentials": {"name": "cloud"}}
        keys = ("username", "password", "project_name", "domain_name")
        metadata = {"name": "cloud", "namespace": "default"}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "data": dict.fromkeys(keys, "dQ=="),
        }
        self.cluster.put(secret)
        source = {"apiVersion": CLOUD.kind.api_version, "kind": CLOUD.kind.kind, "spec": cloud}
        self.cluster.put({**source, "metadata": {**metadata, "generation": 1}})

    def _run(self, pod: Object, files: Any) -> programs.Process:
        process = programs.run(pod, files)
        self.containers.append(process)
        return process

    def checked(self) -> SourceStatus:
        """Reconcile until there is a status; no reconcile may take long."""
        end = time.monotonic() + PATIENCE
        while not (status := self.cloud_status).status:
            began = time.monotonic()
            self.step(CLOUD)
            assert time.monotonic() - began < 10, "a reconcile waited for the source"
            assert time.monotonic() < end
            time.sleep(0.05)
        self.kubelet.close()
        return status

    @property
    def cloud_status(self) -> SourceStatus:
        found = self.cluster.peek(CLOUD.kind, "cloud", "default")
        assert found is not None
        return SourceStatus.read(found.get("status"))


CLOUD: Final = SourceKey(SOURCES[SourceKind.OPENSTACK], "default", "cloud")


@pytest.mark.parametrize(
    "answer", [silence, slow_drip, endless_body, endless_header, garbage, secrets_of_somebody]
)
def test_no_answer_reaches_the_controller(serve: Callable[[Answer], int], answer: Answer) -> None:
    place = Hostile(serve(answer))
    status = place.checked()
    assert status.status == "clusterNotReady"
    reasons = {one.reason for one in status.conditions if one.status == "True"}
    assert reasons <= {"Unreachable", "AnswerTooLarge", "Invalid", "Internal", "NotFound"}, status.message
    assert "TOP-SECRET" not in str(status)
    assert status.message.isprintable()
    assert len(json.dumps(status.to_document())) < STATUS_BYTES
    assert check_pods(place.cluster) == []


def test_silence_ends_at_the_deadline_of_the_source(serve: Callable[[Answer], int]) -> None:
    status = Hostile(serve(silence)).checked()
    assert "did not answer within 5 s" in status.message


def test_an_endless_answer_ends_with_the_memory_of_its_pod(serve: Callable[[Answer], int]) -> None:
    place = Hostile(serve(endless_body), memory="100Mi", seconds=PATIENCE)
    tracemalloc.start()
    try:
        status = place.checked()
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.collect()
    assert most < 32 << 20, "the controller itself needs no memory for it"
    assert "checks.resources.limits.memory" in status.message


def test_a_source_that_answers_is_asked_by_the_real_program(serve: Callable[[Answer], int]) -> None:
    """The stand-in would also fail for a pod without its plan or its password."""
    asked: list[bytes] = []

    def denied(connection: socket.socket) -> None:
        asked.append(connection.recv(1 << 16))
        body = b'{"error": {"code": 401, "message": "The request requires authentication."}}'
        head = b"HTTP/1.1 401 X\r\nContent-Type: application/json\r\nConnection: close\r\n"
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    place = Hostile(serve(denied), seconds=PATIENCE)
    status = place.checked()
    assert {one.reason for one in status.conditions} == {"Denied"}, status.message
    assert any(b"/v3" in one for one in asked)


# --- kills


def whole() -> Place:
    place = Place()
    place.look()
    return place


@pytest.mark.parametrize("answer_only", [False, True])
@pytest.mark.parametrize("answer", [READY, DENIED])
def test_a_kill_at_any_request_makes_no_second_attempt_and_leaves_nothing(
    answer: Exited, answer_only: bool
) -> None:
    for number in range(len(whole().cluster.calls)):
        place = Place(answer)
        place.cluster.fault = Fault(number, answer_only=answer_only)
        with contextlib.suppress(KilledError):
            place.look()
        place.cluster.fault = None
        place.restart()
        place.checks.poll()
        place.look(1)
        place.look(1)
        assert len(place.attempts) == 1, number
        assert place.status.status == ("clusterReady" if answer is READY else "clusterNotReady"), number
        assert place.status.verification.refusals == (0 if answer is READY else 1), number
        assert check_pods(place.cluster) == [], number


def test_two_controllers_make_one_attempt() -> None:
    """The Lease may be lost while a request is on its way."""
    place = Place(answer=None)
    place.look()
    first = place.reconciler
    place.restart()
    place.look()
    place.answer = DENIED
    place.kubelet.sync()
    for reconciler in (first, place.reconciler, first):
        with contextlib.suppress(ChangedError):
            reconciler.reconcile(KEY)
    assert len(place.attempts) == 1
    assert place.status.verification.refusals == 1


def test_a_kill_before_the_secret_exists_is_repaired() -> None:
    place = Place()
    place.cluster.fault = Fault(_number_of(place, "create", SECRET))
    with pytest.raises(KilledError):
        place.look()
    place.cluster.fault = None
    assert [labels_of(one)["migration.harvesterhci.io/stage"] for one in check_pods(place.cluster)] == [
        "verify"
    ]
    place.restart()
    place.look()
    assert (len(place.attempts), place.status.status) == (1, "clusterReady")


def _number_of(place: Place, verb: str, kind: Any) -> int:
    """The number of the first such request of a whole check."""
    calls = whole().cluster.calls
    return next(number for number, call in enumerate(calls) if (call.verb, call.kind) == (verb, kind))


# --- pods that do not run, or not to their end


def test_a_pod_that_somebody_deletes_is_a_failed_attempt_and_no_refusal() -> None:
    place = Place(answer=None)
    place.look()
    place.cluster.drop(POD, objects.name_of(Owner(*KEY)), "vmferry")
    place.checks.poll()
    place.look()
    assert "was deleted before it had ended" in place.status.message
    assert (place.status.verification.failures, place.status.verification.refusals) == (1, 0)
    assert check_pods(place.cluster) == []
    place.answer = READY
    place.wait(60)
    assert place.status.status == "clusterReady"


def test_an_evicted_pod_is_repeated() -> None:
    place = Place(answer=None)
    place.look()
    (pod,) = [one for one in check_pods(place.cluster) if one["kind"] == "Pod"]
    place.kubelet.evict(pod)
    place.checks.poll()
    place.look()
    assert "interrupted: Evicted: The node was low on resource" in place.status.message
    place.answer = READY
    place.wait(60)
    assert place.status.status == "clusterReady"


def test_an_interrupted_check_does_not_make_a_ready_source_unready() -> None:
    place = Place()
    place.look()
    place.answer = None
    place.look(Options().recheck_seconds)
    place.cluster.drop(POD, objects.name_of(Owner(*KEY)), "vmferry")
    place.checks.poll()
    place.look()
    assert place.status.status == "clusterReady"
    assert "CheckInterrupted" in [one["reason"] for one in place.cluster.all(EVENT)]
    place.answer = READY
    place.wait(60)
    assert place.status.verification.failures == 0
    assert len(place.attempts) == 3


def test_an_image_that_cannot_be_pulled_is_named() -> None:
    place = Place()
    place.kubelet.images = set()
    place.look()
    assert place.status.status == ""
    place.wait(90)
    assert "the check could not start: ImagePullBackOff" in place.status.message
    assert place.attempts == []
    assert place.status.verification.refusals == 0
    place.kubelet.images = None
    place.wait(300)
    assert place.status.status == "clusterReady"


def test_a_pod_that_no_node_can_take_is_reported() -> None:
    place = Place()
    place.kubelet.unschedulable = "0/3 nodes are available: 3 Insufficient memory."
    place.wait(90)
    assert "the check could not start: Unschedulable: 0/3 nodes are available" in place.status.message
    assert place.attempts == []


@pytest.mark.parametrize("kind", ["pods", "secrets"])
def test_a_refusal_by_the_cluster_is_reported(kind: str) -> None:
    place = Place()
    words = f'pods "x" is forbidden: violates PodSecurity "restricted:latest": {kind}'

    def refuse(verb: str, thing: Object) -> None:
        if (
            verb == "create"
            and f"{thing['kind'].lower()}s" == kind
            and thing["metadata"]["namespace"] == "vmferry"
        ):
            raise StepError(Exit.DENIED, "cannot create Pod", words)

    place.cluster.admission.append(refuse)
    place.look()
    assert "the check could not start: cannot create Pod" in place.status.message
    assert "violates PodSecurity" in place.status.message
    assert check_pods(place.cluster) == []
    assert place.attempts == []


def test_a_quota_that_is_used_up_is_reported() -> None:
    place = Place()
    place.cluster.quota["vmferry", POD] = 0
    place.look()
    assert "exceeded quota" in place.status.message
    del place.cluster.quota["vmferry", POD]
    place.wait(60)
    assert place.status.status == "clusterReady"


def test_an_api_server_that_is_away_is_no_verdict() -> None:
    place = Place()

    def away(verb: str, thing: Object) -> None:
        if thing["kind"] == "Pod":
            raise StepError(Exit.UNREACHABLE, "no answer")

    place.cluster.admission.append(away)
    with pytest.raises(StepError):
        place.look()
    assert place.status.status == ""


# --- objects of somebody else


def test_a_source_that_was_created_again_has_nothing_of_the_earlier_one() -> None:
    place = Place(DENIED)
    place.step()
    spec = place.raw["spec"]
    place.cluster.drop(VMWARE, "vcenter", "default")
    metadata = {"name": "vcenter", "namespace": "default", "generation": 1}
    place.cluster.put(
        {"apiVersion": VMWARE.api_version, "kind": VMWARE.kind, "metadata": metadata, "spec": spec}
    )
    place.answer = READY
    place.wait(60)
    assert place.status.status == "clusterReady"
    assert place.status.verification.refusals == 0


def test_sources_with_one_uid_do_not_share_a_check() -> None:
    """A uid cannot be chosen, but the names of the pods do not depend on that."""
    place = Place()
    key = place.another_source("copy")
    found = place.cluster.peek(VMWARE, "copy", "default")
    assert found is not None
    found["metadata"]["uid"] = place.raw["metadata"]["uid"]
    place.wait(60, KEY, key)
    assert [name for name, _ in place.attempts] in (["vcenter", "copy"], ["copy", "vcenter"])


def test_a_pod_that_is_not_ours_is_left_alone() -> None:
    place = Place()
    labels = {objects.LABEL_CHECK: "true"}
    for number, notes in enumerate([{}, {objects.OWNER: "Pod/a/b"}, {objects.OWNER: "x"}]):
        metadata = {"name": f"x-{number}", "namespace": "vmferry", "labels": labels, "annotations": notes}
        place.cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}})
    place.kubelet.sync = lambda: None  # type: ignore[method-assign]
    place.checks.poll()
    assert place.due == {}
    assert len(place.cluster.all(POD)) == 3


def test_pods_of_deleted_sources_are_deleted_after_a_restart() -> None:
    place = Place(answer=None)
    place.look()
    place.cluster.drop(VMWARE, "vcenter", "default")
    place.restart()
    place.checks.poll()
    assert KEY in place.due
    place.look()
    assert check_pods(place.cluster) == []


# --- fairness


def test_a_slot_that_nobody_uses_is_freed() -> None:
    place = Place(answer=None, checks=CheckOptions(at_once=1))
    keys = [place.another_source(f"s-{number}", endpoint=f"https://v{number}/sdk") for number in range(2)]
    place.look(key=keys[0])
    place.look(key=keys[1])
    assert (place.checks.running(), place.checks.waiting()) == (1, 1)
    place.cluster.drop(VMWARE, "s-1", "default")  # without an event
    place.cluster.drop(VMWARE, "s-0", "default")
    place.look(key=keys[0])
    assert place.checks.running() == 1, "the slot of the second one"
    place.world.now += timedelta(seconds=121)
    place.checks.poll()
    assert place.checks.running() == 0


def test_honest_sources_are_checked_among_many_that_hang() -> None:
    place = Place(answer=None)
    hanging = [
        place.another_source(
            f"slow-{number}", namespace=f"slow-{number % 2}", endpoint=f"https://s{number}/sdk"
        )
        for number in range(100)
    ]
    for number in range(100):
        secret = place.cluster.peek(SECRET, "credentials", "default")
        assert secret is not None
        notes = secret["metadata"].setdefault("annotations", {})
        used_by = notes.get("migration.harvesterhci.io/used-by", "")
        notes["migration.harvesterhci.io/used-by"] = f"{used_by},slow-{number % 2}/VmwareSource/slow-{number}"
    place.wait(5, *hanging)
    assert len(place.attempts) == 4
    place.answer = READY
    place.look()
    assert place.status.status == "clusterReady"
    assert place.checks.oldest_seconds() > 0
