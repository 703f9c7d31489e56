"""kill -9 at every call of an import to its source, and a retry: nothing is left, and the VM is stopped once.

The steps run in a process of their own. The stand-in kills it when a call arrives, before or after the call
has its effect. So no `finally` and no handler of a signal can help.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from steps.model.machine import Machine
from steps.providers import connect
from steps.providers.kubevirt import checks
from tests.unit.steps.providers.kubevirt.cluster import Cluster
from tests.unit.steps.providers.kubevirt.conftest import MakeAccess, access, standin, tls
from tests.unit.steps.providers.kubevirt.standin import Reply, StandIn
from tests.unit.steps.providers.kubevirt.test_provider import described, exported, shut_down

__all__ = ["access", "standin", "tls"]

FORK: Final = multiprocessing.get_context("fork")
DEADLINE: Final = 300.0
"""Seconds within which a process must end, on a computer that is busy."""
CASES: Final = pytest.mark.parametrize(
    ("strategy", "after"),
    [("Always", False), ("RerunOnFailure", True)],
    ids=["before each call, Always", "after each call, RerunOnFailure"],
)
# From Python 3.12 on, `fork` warns of the threads of the stand-in; the child uses none of them.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@dataclass
class Killer:
    """Kills the process of the steps at one of its calls."""

    standin: StandIn
    at: int = -1
    """The number of the call; -1: none."""
    after: bool = False
    """Whether the call has its effect before."""
    process: multiprocessing.process.BaseProcess | None = None
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.standin.hook = self._before
        self.standin.done = self._after

    def _before(self, method: str, path: str) -> Reply | None:
        self.calls.append(f"{method} {path.partition('?')[0]}")
        return self._kill() if len(self.calls) - 1 == self.at and not self.after else None

    def _after(self, method: str, path: str) -> Reply | None:
        return self._kill() if len(self.calls) - 1 == self.at and self.after else None

    def _kill(self) -> Reply:
        assert self.process is not None
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)
        return Reply(200, b"", cut=0)

    def run(self, steps: Callable[[], None], *, at: int = -1, after: bool = False) -> int:
        """Run the steps in a process; its exit code."""
        self.calls.clear()
        self.at, self.after = at, after
        self.process = FORK.Process(target=steps)
        with self.standin.lock:  # no call is answered before the process is known
            self.process.start()
        self.process.join(DEADLINE)
        assert self.process.exitcode is not None, "the steps do not end"
        return self.process.exitcode


@pytest.fixture(autouse=True)
def one_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """The questions for rights change nothing: one of them is enough here."""
    monkeypatch.setattr(checks, "RIGHTS", checks.RIGHTS[:1])


def places(calls: list[str]) -> Iterator[int]:
    """The numbers of the calls to kill at: every change, and each reading call the first two times."""
    seen: Counter[str] = Counter()
    for number, call in enumerate(calls):
        seen[call] += 1
        if not call.startswith("GET") or seen[call] <= 2:
            yield number


def begin(standin: StandIn, access: MakeAccess, strategy: str) -> Machine:
    """A new cluster with a VM that runs, and the VM as preflight describes it."""
    former = standin.cluster
    standin.cluster = Cluster(internal=former.internal, certificate=former.certificate)
    standin.cluster.vm["spec"]["runStrategy"] = strategy
    return described(access)


def the_import(access: MakeAccess, machine: Machine, into: Path) -> Callable[[], None]:
    """What an import of one disk does to its source after preflight."""

    def steps() -> None:
        shut_down(access, machine)
        exported(access, machine, into / "disk")
        with connect(access("release-source", machine=machine)) as source:
            assert source.release() == []

    return steps


def giving_back(access: MakeAccess, machine: Machine) -> Callable[[], None]:
    """What `onFailure: restorePower` does."""

    def steps() -> None:
        with connect(access("release-source", machine=machine)) as source:
            assert source.release() == []
            assert machine.mark is not None
            if source.was_shut_down_since(machine, machine.mark):
                source.power_on(machine)

    return steps


@CASES
def test_an_import_that_is_killed_at_any_call_leaves_nothing_after_a_retry(
    standin: StandIn, access: MakeAccess, tmp_path: Path, strategy: str, after: bool
) -> None:
    killer = Killer(standin)
    whole = tmp_path / "whole"
    whole.mkdir()
    assert killer.run(the_import(access, begin(standin, access, strategy), whole)) == 0
    chosen = list(places(killer.calls))
    assert len(chosen) > 15
    for number in chosen:
        machine = begin(standin, access, strategy)
        into = tmp_path / str(number)
        into.mkdir()
        steps = the_import(access, machine, into)
        call = killer.run(steps, at=number, after=after), number
        assert call == (-signal.SIGKILL, number)
        assert killer.run(steps) == 0, number
        assert standin.cluster.stops == 1, number
        assert standin.cluster.held() == 0, number
        assert not standin.cluster.has_instance, number
        assert (into / "disk").read_bytes() == standin.content[machine.disks[0].backing], number
        (into / "disk").unlink()


@CASES
def test_a_restored_vm_is_started_once_wherever_it_was_killed(
    standin: StandIn, access: MakeAccess, strategy: str, after: bool
) -> None:
    def stopped() -> Machine:
        machine = begin(standin, access, strategy)
        shut_down(access, machine)
        return machine

    killer = Killer(standin)
    assert killer.run(giving_back(access, stopped())) == 0
    for number in places(list(killer.calls)):
        steps = giving_back(access, stopped())
        assert killer.run(steps, at=number, after=after) == -signal.SIGKILL
        started = [one["metadata"]["uid"] for one in instances(standin)]
        assert killer.run(steps) == 0, number
        assert standin.cluster.instance["status"]["phase"] == "Running", number
        assert standin.cluster.run_strategy == strategy, number
        assert standin.cluster.starts <= 1, number
        if started:
            assert [one["metadata"]["uid"] for one in instances(standin)] == started, number


def instances(standin: StandIn) -> list[dict[str, dict[str, str]]]:
    """The instances of the VM: one or none."""
    return [
        one for (plural, _), one in standin.cluster.objects.items() if plural == "virtualmachineinstances"
    ]
