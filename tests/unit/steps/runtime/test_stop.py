from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from steps.model.contract import Stopped
from steps.runtime.stop import Stop


@pytest.fixture
def handlers() -> Iterator[None]:
    """The process's own handlers, restored afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_nothing_happens_without_a_stop() -> None:
    stop = Stop()
    stop.check()
    stop.sleep(0)
    assert not stop.is_set()


def test_a_stop_ends_loops_and_sleeps() -> None:
    stop = Stop()
    stop.set()
    assert stop.is_set()
    with pytest.raises(Stopped):
        stop.check()
    with pytest.raises(Stopped):
        stop.sleep(3600)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_and_the_next_ends_the_process(number: signal.Signals) -> None:
    stop = Stop()
    stop.on_signals()
    os.kill(os.getpid(), number)
    assert stop.is_set()
    assert stop.signal == number
    assert signal.getsignal(number) is signal.SIG_DFL


def test_the_first_signal_is_kept() -> None:
    stop = Stop()
    stop.set(signal.SIGTERM)
    stop.set(signal.SIGINT)
    assert stop.signal == signal.SIGTERM
