from __future__ import annotations

import pytest

from controller.cli.rates import WINDOW, Rates
from tests.unit.controller.cli.test_view import a_leaf
from tests.unit.steps.runtime.test_progress import Clock


class Measured:
    """Rates with a clock of the test."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.rates = Rates(self.clock)

    def note(self, at: float, done: int, disk: str = "disk-0") -> float:
        """Note bytes at a time; returns the rate at that time."""
        self.clock.now = at
        leaf = a_leaf(done=done, disk=disk)
        self.rates.note(leaf)
        return self.rates.of(leaf)


def test_a_rate_needs_two_measurements() -> None:
    it = Measured()
    assert it.rates.of(a_leaf()) == 0
    assert it.note(0, 0) == 0
    assert it.note(2, 100) == 50


def test_without_time_there_is_no_rate() -> None:
    it = Measured()
    it.note(1, 0)
    assert it.note(1, 100) == 0


def test_only_the_last_seconds_count() -> None:
    it = Measured()
    for second in range(20):
        it.note(second, second * 1000)
    for second in range(20, 40):
        it.note(second, 19000 + (second - 19))
    assert it.note(40, 19021) == pytest.approx(1, abs=0.2)


def test_a_new_attempt_resets_the_rate() -> None:
    it = Measured()
    it.note(0, 0)
    it.note(1, 1000)
    assert it.note(2, 10) == 0
    assert it.note(3, 30) == 20


def test_disks_have_their_own_rates() -> None:
    it = Measured()
    it.note(0, 0)
    it.note(0, 0, "disk-1")
    assert it.note(1, 10) == 10
    assert it.note(1, 99, "disk-1") == 99


def test_a_stall_is_detected() -> None:
    it = Measured()
    it.note(0, 0)
    it.note(1, 1000)
    it.clock.now = 100 * WINDOW
    assert it.rates.of(a_leaf(done=1000)) < 10
