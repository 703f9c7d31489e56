"""Slow sources and dry runs of one namespace do not hold up the others (finding F6)."""

from __future__ import annotations

import heapq
from typing import Final

import pytest

from controller.operator.workqueue import Queue

Key = tuple[str, str]
WORKERS: Final = 2


class Simulation:
    """Workers that take keys from a queue; a key of a slow namespace takes 60 seconds, any other 1 second."""

    def __init__(self, workers: int = WORKERS, at_once: int | None = 1) -> None:
        self.now = 0.0
        self.queue: Queue[Key] = Queue(lambda: self.now, group=lambda key: key[0], at_once=at_once)
        self.idle = workers
        self.running: list[tuple[float, Key]] = []
        self.started: dict[Key, float] = {}

    def run(self, until: float) -> None:
        while self.now <= until:
            self._start()
            if not self.running:
                return
            self.now, key = heapq.heappop(self.running)
            self.idle += 1
            self.queue.done(key, 15.0)

    def _start(self) -> None:
        while self.idle:
            self.queue.add(("-", "-"))  # so that `take` never waits
            key = self.queue.take()
            assert key is not None
            if key[0] == "-":
                self.queue.forget(key)
                if not self._another():
                    return
                continue
            self.idle -= 1
            self.started.setdefault(key, self.now)
            heapq.heappush(self.running, (self.now + (60.0 if key[0].startswith("slow") else 1.0), key))

    def _another(self) -> bool:
        """Whether a key is due that may start now."""
        busy = {key[0] for _, key in self.running}
        return any(when <= self.now and key[0] not in busy for key, when in self.queue._due.items())


@pytest.mark.parametrize("count", [2, 10, 50, 200])
def test_many_slow_sources_of_one_namespace_delay_nobody_else(count: int) -> None:
    simulation = Simulation()
    for number in range(count):
        simulation.queue.add(("slow", str(number)))
    simulation.queue.add(("honest", "vcenter"))
    simulation.run(600)
    assert simulation.started["honest", "vcenter"] <= 1


@pytest.mark.parametrize("count", [3, 10])
def test_slow_sources_of_several_namespaces_cost_one_turn_each(count: int) -> None:
    simulation = Simulation()
    for namespace in range(count):
        for number in range(50):
            simulation.queue.add((f"slow-{namespace}", str(number)))
    simulation.queue.add(("honest", "vcenter"))
    simulation.run(3600)
    assert simulation.started["honest", "vcenter"] <= 60 * count / WORKERS + 1


def test_without_turns_the_last_one_waits_for_all() -> None:
    """What the groups are for."""
    simulation = Simulation()
    simulation.queue = Queue(lambda: simulation.now)
    for number in range(50):
        simulation.queue.add(("slow", str(number)))
    simulation.queue.add(("honest", "vcenter"))
    simulation.run(3600)
    assert simulation.started["honest", "vcenter"] >= 60 * 50 / WORKERS - 60


def test_no_namespace_has_all_workers() -> None:
    queue: Queue[Key] = Queue(lambda: 0.0, group=lambda key: key[0], at_once=3)
    for number in range(10):
        queue.add(("a", str(number)))
    queue.add(("b", "0"))
    taken = [queue.take() for _ in range(4)]
    assert sorted(key[0] for key in taken if key) == ["a", "a", "a", "b"]


def test_a_finished_key_makes_room_for_the_next_of_its_namespace() -> None:
    queue: Queue[Key] = Queue(lambda: 0.0, group=lambda key: key[0], at_once=1)
    queue.add(("a", "0"))
    queue.add(("a", "1"))
    first = queue.take()
    assert first == ("a", "0")
    queue.done(first, 300)
    assert queue.take() == ("a", "1")


def test_namespaces_take_turns_in_their_order() -> None:
    queue: Queue[Key] = Queue(lambda: 0.0, group=lambda key: key[0])
    for key in [("a", "0"), ("a", "1"), ("a", "2"), ("b", "0"), ("b", "1"), ("c", "0")]:
        queue.add(key)
    taken = [queue.take() for _ in range(6)]
    assert taken == [("a", "0"), ("b", "0"), ("c", "0"), ("a", "1"), ("b", "1"), ("a", "2")]
