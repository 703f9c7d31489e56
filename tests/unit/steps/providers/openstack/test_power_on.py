"""Starts a server once, and waits until it is ACTIVE."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from steps.model.contract import Exit, StepError
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from steps.providers.openstack import power
from steps.providers.openstack.cloud import Cloud
from steps.runtime.stop import Stop
from tests.unit.builders import a_machine

MACHINE = a_machine(source_id="server-1")
STARTING = ("SHUTOFF", "powering-on")


class Nova:
    """A server that shows these states, one for each read; the last one stays."""

    def __init__(self, *states: tuple[str, str], locked: bool = False) -> None:
        self.states = list(states)
        self.started = 0
        self.locked = locked

    def get_server(self, _server: str) -> Any:
        status, task = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return SimpleNamespace(
            id="server-1", name="web", status=status, task_state=task or None, is_locked=self.locked
        )

    def start_server(self, _server: str) -> None:
        if self.locked:
            raise ConnectionError("409")
        self.started += 1


class Impatient(Stop):
    """No sleep takes time."""

    def sleep(self, seconds: float) -> None:
        self.check()


def cloud(nova: Nova) -> Cloud:
    plan = SourcePlan(kind=SourceKind.OPENSTACK, name="cloud", endpoint="https://keystone.example/v3")
    return Cloud(plan=plan, connection=SimpleNamespace(compute=nova), tls=None, stop=Impatient())


def test_a_stopped_server_is_started_once() -> None:
    nova = Nova(("SHUTOFF", ""), STARTING, STARTING, ("ACTIVE", ""))
    power.power_on(cloud(nova), MACHINE)
    assert nova.started == 1


def test_a_server_that_runs_is_not_touched() -> None:
    nova = Nova(("ACTIVE", ""))
    power.power_on(cloud(nova), MACHINE)
    assert nova.started == 0
    assert power.is_on(cloud(nova), MACHINE)


@pytest.mark.parametrize(
    ("nova", "words"),
    [
        (Nova(("ERROR", "")), "it is ERROR"),
        (Nova(("SHUTOFF", ""), STARTING, ("SHUTOFF", "")), "although Nova was asked"),
        (Nova(("SHUTOFF", ""), locked=True), "it is locked"),
    ],
    ids=["error", "stays off", "locked"],
)
def test_a_server_that_does_not_start_is_an_error(nova: Nova, words: str) -> None:
    with pytest.raises(StepError, match=words) as caught:
        power.power_on(cloud(nova), MACHINE)
    assert caught.value.code is Exit.POWER
