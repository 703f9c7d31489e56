"""Which check has a pod: limits, turns of namespaces, and what a failure costs."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from controller.operator.checkpods.check import Owner
from controller.operator.checkpods.slots import MOST_NAMESPACES, SUSPECT, Slots, Wish
from steps.model.kinds import SOURCES
from steps.model.sources import SourceKind

KIND = SOURCES[SourceKind.OVA]


def source(namespace: str, name: object = 0) -> Owner:
    return Owner(KIND, namespace, str(name))


def slots(at_once: int = 8, per_namespace: int = 2) -> Slots:
    return Slots(at_once, per_namespace, lambda: 0.0)


def test_an_installation_has_a_limit() -> None:
    found = slots(at_once=3)
    for number in range(5):
        found.request(Wish(source(f"team-{number}"), has_failed=number == 4))
    assert len(found.held()) == 3
    assert found.holds(source("team-4")), "one slot is kept for those that have failed"
    assert found.waiting == 2


def test_a_namespace_has_a_limit() -> None:
    found = slots()
    for number in range(5):
        found.request(Wish(source("team", number)))
    assert set(found.held()) == {source("team", 0), source("team", 1)}
    assert found.release(source("team", 0)) == [source("team", 2)]


def test_namespaces_take_turns() -> None:
    found = slots(at_once=2, per_namespace=1)
    found.request(Wish(source("z")))
    for name in ("a", "a2", "b", "b2"):
        found.request(Wish(source(name[0], name)))
    order = []
    holder = source("z")
    for _ in range(4):
        (holder,) = found.release(holder)
        order.append(holder.name)
    assert order == ["a", "b", "a2", "b2"]


def test_a_source_that_has_failed_waits_behind_one_that_has_not() -> None:
    found = slots(at_once=2, per_namespace=2)
    found.request(Wish(source("a", "runs")))
    found.request(Wish(source("a", "failed-runs"), has_failed=True))
    found.request(Wish(source("a", "failed"), has_failed=True))
    found.request(Wish(source("a", "new")))
    assert found.release(source("a", "runs")) == [source("a", "new")]


def test_checks_that_have_failed_hold_at_most_half_of_the_slots() -> None:
    found = slots()
    for number in range(20):
        found.request(Wish(source(f"team-{number}"), has_failed=True))
    assert len(found.held()) == 4
    found.request(Wish(source("new")))
    assert found.holds(source("new"))


def test_an_account_has_one_check_at_a_time() -> None:
    found = slots()
    found.request(Wish(source("a"), account="ferry"))
    found.request(Wish(source("b"), account="ferry"))
    found.request(Wish(source("c"), account="other"))
    found.request(Wish(source("d")))
    assert set(found.held()) == {source("a"), source("c"), source("d")}
    assert found.release(source("a")) == [source("b")]


def test_a_check_that_runs_already_counts() -> None:
    found = slots(at_once=2)
    found.adopt(Wish(source("a")))
    found.adopt(Wish(source("b")))
    assert found.request(Wish(source("c"))) == []
    assert not found.holds(source("c"))


def test_the_oldest_check_that_waits_is_known() -> None:
    clock = itertools.count(100.0, 10.0)
    found = Slots(1, 1, lambda: next(clock))
    found.request(Wish(source("a")))
    assert found.oldest_seconds() == 0
    found.request(Wish(source("b")))
    before = found.oldest_seconds()
    found.request(Wish(source("b")))
    assert found.oldest_seconds() > before, "asking again does not make it younger"


@dataclass
class Simulation:
    """Sources that are checked again and again; a check of a slow namespace takes 60 s, any other 2 s."""

    found: Slots = field(default_factory=slots)
    now: float = 0.0
    running: list[tuple[float, Owner]] = field(default_factory=list)
    due: list[tuple[float, int, Wish]] = field(default_factory=list)
    started: dict[Owner, float] = field(default_factory=dict)
    order: Iterator[int] = field(default_factory=itertools.count)

    def add(self, owner: Owner, after: float = 0.0, *, has_failed: bool = False) -> None:
        heapq.heappush(self.due, (self.now + after, next(self.order), Wish(owner, "", has_failed)))

    def run(self, until: float) -> None:
        while self.due or self.running:
            granted: list[Owner] = []
            while self.due and self.due[0][0] <= self.now:
                granted += self.found.request(heapq.heappop(self.due)[2])
            while self.running and self.running[0][0] <= self.now:
                _, owner = heapq.heappop(self.running)
                slow = owner.namespace.startswith("slow")
                self.found.note(owner.namespace, failed=slow)
                granted += self.found.release(owner)
                self.add(owner, 15.0 if slow else 300.0, has_failed=slow)
            for owner in granted:
                self.started.setdefault(owner, self.now)
                seconds = 60.0 if owner.namespace.startswith("slow") else 2.0
                heapq.heappush(self.running, (self.now + seconds, owner))
            first = min(row[0][0] for row in (self.due, self.running) if row)
            if first > until:
                break
            self.now = max(self.now, first)
        self.now = until


@pytest.mark.parametrize("count", [2, 50, 400])
def test_many_slow_sources_of_two_namespaces_delay_nobody_else(count: int) -> None:
    simulation = Simulation()
    for number in range(count):
        simulation.add(source(f"slow-{number % 2}", number))
    simulation.run(30)
    honest = [source(f"honest-{number}") for number in range(3)]
    for owner in honest:
        simulation.add(owner)
    simulation.run(40)
    assert [simulation.started[owner] for owner in honest] == [30, 30, 30]


def test_many_slow_sources_of_many_namespaces_delay_nobody_else_as_soon_as_some_have_failed() -> None:
    """Most of the sources have not been checked yet: their namespaces are known."""
    simulation = Simulation()
    for number in range(1000):
        simulation.add(source(f"slow-{number % 4}", number))
    simulation.run(300)
    honest = [source(f"honest-{number}") for number in range(4)]
    for owner in honest:
        simulation.add(owner)
    simulation.run(310)
    assert [simulation.started[owner] for owner in honest] == [300] * 4


def test_a_check_that_succeeds_restores_the_turn_of_its_namespace() -> None:
    found = slots(at_once=4, per_namespace=4)
    for _ in range(SUSPECT):
        found.note("team", failed=True)
    for name in ("a", "b", "c"):
        found.request(Wish(source("team", name)))
    assert set(found.held()) == {source("team", "a"), source("team", "b")}, "half of the slots"
    found.note("team", failed=False)
    assert found.request(Wish(source("team", "c"))) == [source("team", "c")]


def test_namespaces_that_fail_use_no_memory() -> None:
    found = slots()
    for number in range(MOST_NAMESPACES + 50):
        found.note(f"team-{number}", failed=True)
    assert len(found._failures) == MOST_NAMESPACES


def test_slow_sources_of_many_namespaces_delay_a_new_one_once() -> None:
    """As soon as they have failed, they hold at most half of the slots."""
    simulation = Simulation()
    for number in range(12):
        simulation.add(source(f"slow-{number}"))
    simulation.run(200)
    late = source("honest")
    at = simulation.now
    simulation.add(late)
    simulation.run(at + 120)
    assert simulation.started[late] - at < 1
