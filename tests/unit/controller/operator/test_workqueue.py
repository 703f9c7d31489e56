"""The queue: only one worker per key, no key is lost, failures are requeued with backoff."""

from __future__ import annotations

import threading
import time

import pytest

from controller.operator.workers import Workers
from controller.operator.workqueue import CAP, Queue
from steps.model.contract import Exit, StepError
from steps.runtime.cluster import ChangedError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def drained(queue: Queue[str]) -> list[str]:
    """The keys that are due now, without waiting."""
    found = []
    while len(queue):
        key = queue.take()
        assert key is not None
        found.append(key)
    return found


def test_a_key_is_taken_once_however_often_it_was_added() -> None:
    queue: Queue[str] = Queue(Clock())
    for _ in range(3):
        queue.add("a")
    queue.add("b")
    assert drained(queue) == ["a", "b"]


def test_a_key_added_during_its_reconcile_is_due_again() -> None:
    queue: Queue[str] = Queue(Clock())
    queue.add("a")
    assert queue.take() == "a"
    queue.add("a")
    queue.done("a", 300)
    assert queue.take() == "a"


def test_an_earlier_due_time_has_precedence() -> None:
    clock = Clock()
    queue: Queue[str] = Queue(clock)
    queue.add("a", 60)
    assert len(queue) == 0
    queue.add("a", 10)
    clock.now += 11
    assert drained(queue) == ["a"]
    queue.done("a", 1000)
    clock.now += 60
    assert len(queue) == 0


def test_failures_are_requeued_with_capped_backoff() -> None:
    clock = Clock()
    queue: Queue[str] = Queue(clock)
    queue.add("a")
    waits = []
    for _ in range(9):
        assert queue.take() == "a"
        queue.done("a", None)
        waited = 0
        while not len(queue):
            clock.now += 1
            waited += 1
        waits.append(waited)
    assert waits[:3] == [1, 2, 4]
    assert waits[-1] == CAP


def test_a_key_is_never_processed_concurrently() -> None:
    queue: Queue[str] = Queue(Clock())
    queue.add("a")
    assert queue.take() == "a"
    queue.add("a")
    queue.add("b")
    assert queue.take() == "b"
    queue.done("a", 300)
    assert queue.take() == "a"


def test_workers_share_a_queue_and_process_no_key_concurrently() -> None:
    queue: Queue[str] = Queue()
    busy: set[str] = set()
    twice: list[str] = []
    processed = threading.Semaphore(0)

    def look(key: str) -> float:
        if key in busy:
            twice.append(key)
        busy.add(key)
        time.sleep(0.002)  # long enough for another worker to take the same key
        busy.discard(key)
        processed.release()
        return 60

    workers = Workers("test", queue, look, 8)
    workers.start()
    for number in range(200):
        queue.add(str(number % 5))
        if number % 7 == 0:
            assert processed.acquire(timeout=5)
    workers.close()
    assert workers.ended(time.monotonic() + 5)
    assert twice == []


class Recording(Queue[str]):
    """A queue that records when each key is to be processed again; None is a failure."""

    def __init__(self) -> None:
        super().__init__()
        self.again: list[float | None] = []

    def done(self, key: str, again: float | None) -> None:
        self.again.append(again)
        super().done(key, again)


def test_a_conflict_is_requeued_at_once_without_backoff() -> None:
    queue = Recording()
    conflicts = [ChangedError(Exit.BUSY, "the object was changed") for _ in range(3)]
    done = threading.Event()

    def look(_: str) -> float | None:
        if conflicts:
            raise conflicts.pop()
        done.set()
        return None

    workers = Workers("test", queue, look, 1)
    workers.start()
    queue.add("a")
    assert done.wait(30)
    workers.close()
    assert workers.ended(time.monotonic() + 5)
    assert len(queue.again) == 3
    assert all(again is not None and again < 1 for again in queue.again)


def test_a_hanging_reconcile_is_reported_as_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.operator.workers.STUCK", 0.0)
    queue: Queue[str] = Queue()
    began, end = threading.Event(), threading.Event()

    def look(_: str) -> None:
        began.set()
        assert end.wait(30)

    workers = Workers("test", queue, look, 1)
    workers.start()
    queue.add("web01")
    assert began.wait(5)
    (message,) = workers.stuck()
    assert message.startswith("test-0 has been reconciling web01 for")
    end.set()
    workers.close()
    assert workers.ended(time.monotonic() + 5)
    assert workers.stuck() == []


def test_a_failing_reconcile_does_not_end_its_worker() -> None:
    queue: Queue[str] = Queue()
    seen: list[str] = []
    over = threading.Event()

    def look(key: str) -> float | None:
        seen.append(key)
        if key == "step":
            raise StepError(Exit.UNREACHABLE, "the API is away")
        if key == "fault":
            raise RuntimeError("a fault")
        over.set()
        return None

    workers = Workers("test", queue, look, 1)
    workers.start()
    for key in ("step", "fault", "last"):
        queue.add(key)
    assert over.wait(5)
    assert workers.stuck() == []
    workers.close()
    assert workers.ended(time.monotonic() + 5)
    assert seen[:3] == ["step", "fault", "last"]
