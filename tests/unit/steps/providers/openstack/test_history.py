"""Whether Nova's actions prove that a server was not started."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from openstack import exceptions as sdk

from steps.model.contract import Exit, StepError
from steps.model.plan import SourcePlan
from steps.model.power import PowerMark
from steps.model.sources import SourceKind
from steps.providers.openstack import history
from steps.providers.openstack.cloud import Cloud
from steps.runtime.stop import Stop
from tests.unit.builders import a_machine

US = "user-1"
MACHINE = a_machine(source_id="server-1")


class Nova:
    """One server with its actions, the newest first; the clocks of Nova's hosts do not agree."""

    def __init__(self) -> None:
        self.status = "ACTIVE"
        self.actions: list[Any] = []
        self.denied = False
        self.do("create", "admin")

    def do(self, action: str, user: str = US, status: str = "") -> None:
        number = len(self.actions)
        when = f"2026-11-29T10:{(number * 17) % 60:02}:00.000000"
        entry = SimpleNamespace(action=action, user_id=user, request_id=f"req-{number}", start_time=when)
        self.actions.insert(0, entry)
        self.status = status or self.status

    def server_actions(self, _server: str) -> list[Any]:
        if self.denied:
            answer = SimpleNamespace(status_code=403, headers={}, request=None)
            raise sdk.ForbiddenException("no", response=cast("Any", answer))
        return list(self.actions)

    def get_server(self, _server: str) -> Any:
        return SimpleNamespace(status=self.status, task_state=None)


@pytest.fixture
def nova() -> Nova:
    return Nova()


def cloud(nova: Nova) -> Cloud:
    plan = SourcePlan(kind=SourceKind.OPENSTACK, name="cloud", endpoint="https://keystone.example/v3")
    session = SimpleNamespace(get_user_id=lambda: US)
    return Cloud(plan=plan, connection=SimpleNamespace(compute=nova, session=session), tls=None, stop=Stop())


def off(nova: Nova) -> PowerMark:
    """The mark after our own stop."""
    nova.do("stop", US, "SHUTOFF")
    return history.mark(cloud(nova), MACHINE)


def test_a_server_that_stays_off_was_not_started(nova: Nova) -> None:
    mark = off(nova)
    nova.do("createImage")
    nova.do("lock", "admin")
    assert history.started_since(cloud(nova), MACHINE, mark) is None


@pytest.mark.parametrize("action", ["start", "reboot", "resume", "rebuild", "resize", "unshelve", "new-one"])
def test_an_action_that_may_start_it_counts_also_when_it_is_off_again(nova: Nova, action: str) -> None:
    mark = off(nova)
    nova.do(action, "alice")
    nova.do("stop", "alice", "SHUTOFF")
    reason = history.started_since(cloud(nova), MACHINE, mark)
    assert reason is not None
    assert "alice" in reason
    assert repr(action) in reason


def test_a_stop_proves_that_it_ran_behind_novas_back(nova: Nova) -> None:
    mark = off(nova)
    nova.do("stop", "nova", "SHUTOFF")
    assert history.started_since(cloud(nova), MACHINE, mark) is not None


def test_a_server_that_runs_without_an_action_was_started(nova: Nova) -> None:
    mark = off(nova)
    nova.status = "ACTIVE"
    assert history.started_since(cloud(nova), MACHINE, mark) == "it is ACTIVE"


def test_a_log_without_the_marks_action_proves_nothing(nova: Nova) -> None:
    mark = off(nova)
    nova.actions.clear()
    nova.do("create", "admin", "SHUTOFF")
    reason = history.started_since(cloud(nova), MACHINE, mark)
    assert reason is not None
    assert "database was replaced" in reason


def test_without_the_right_to_see_actions_nothing_is_exported(nova: Nova) -> None:
    nova.denied = True
    with pytest.raises(StepError) as caught:
        history.mark(cloud(nova), MACHINE)
    assert caught.value.code is Exit.DENIED
    assert "os-instance-actions" in str(caught.value)


def test_a_server_without_actions_cannot_be_compared(nova: Nova) -> None:
    nova.actions.clear()
    with pytest.raises(StepError) as caught:
        history.mark(cloud(nova), MACHINE)
    assert caught.value.code is Exit.DENIED


def test_our_own_stop_is_known(nova: Nova) -> None:
    mark = history.mark(cloud(nova), MACHINE)
    assert not history.shut_down_since(cloud(nova), MACHINE, mark)
    nova.do("stop", US, "SHUTOFF")
    nova.do("createImage")
    assert history.shut_down_since(cloud(nova), MACHINE, mark)
    nova.do("start", US, "ACTIVE")
    assert not history.shut_down_since(cloud(nova), MACHINE, mark)


def test_the_stop_of_another_user_is_not_ours(nova: Nova) -> None:
    mark = history.mark(cloud(nova), MACHINE)
    nova.do("stop", "alice", "SHUTOFF")
    assert not history.shut_down_since(cloud(nova), MACHINE, mark)
