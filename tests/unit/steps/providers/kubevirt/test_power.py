"""Shutdown, start and power history of a VM on KubeVirt."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from steps.model.contract import Exit, NoAnswerError, StepError
from steps.model.machine import Power
from steps.model.plan import PowerPlan
from steps.providers import connect
from steps.providers.kubevirt import checks, history
from steps.providers.kubevirt.answers import Answer
from tests.unit.steps.providers.kubevirt.conftest import MakeAccess
from tests.unit.steps.providers.kubevirt.standin import Reply, StandIn
from tests.unit.steps.providers.kubevirt.test_provider import described, shut_down

STRATEGIES = ("Always", "RerunOnFailure", "Manual", "Once")


def use(standin: StandIn, strategy: str) -> None:
    standin.cluster.vm["spec"]["runStrategy"] = strategy
    standin.cluster.vm["status"]["runStrategy"] = strategy


def noted(standin: StandIn) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(standin.cluster.vm["metadata"]["annotations"][history.SHUTDOWN])
    return found


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_vm_runs_again_with_its_run_strategy(standin: StandIn, access: MakeAccess, strategy: str) -> None:
    use(standin, strategy)
    machine = described(access)
    shut_down(access, machine)
    assert not standin.cluster.has_instance
    assert noted(standin)["run_strategy"] == strategy
    with connect(access("release-source", machine=machine)) as source:
        assert machine.mark is not None
        assert source.was_shut_down_since(machine, machine.mark)
        source.power_on(machine)
        assert source.is_on(machine)
        assert not source.was_shut_down_since(machine, machine.mark)
        source.power_on(machine)
    assert standin.cluster.run_strategy == strategy
    assert history.SHUTDOWN not in standin.cluster.vm["metadata"]["annotations"]
    assert standin.cluster.starts <= 1


def test_a_vm_with_the_old_field_running_runs_again(standin: StandIn, access: MakeAccess) -> None:
    del standin.cluster.vm["spec"]["runStrategy"]
    standin.cluster.vm["spec"]["running"] = True
    machine = described(access)
    shut_down(access, machine)
    assert standin.cluster.vm["spec"]["running"] is False
    with connect(access("release-source", machine=machine)) as source:
        source.power_on(machine)
    assert standin.cluster.vm["spec"]["running"] is True
    assert "runStrategy" not in standin.cluster.vm["spec"]


def test_the_grace_period_of_the_import_is_asked_for(standin: StandIn, access: MakeAccess) -> None:
    use(standin, "Manual")
    machine = described(access)
    standin.hook = lambda method, path: (
        Reply(500, b"{}") if path.endswith("/stop") else None  # nothing is stopped
    )
    with pytest.raises(StepError) as caught:
        shut_down(access, machine, PowerPlan(grace_seconds=77))
    assert caught.value.code is Exit.UNREACHABLE
    standin.hook = lambda method, path: None
    shut_down(access, machine, PowerPlan(grace_seconds=77))
    assert standin.cluster.grace == 77


def test_a_forced_shutdown_does_not_wait_for_the_guest(standin: StandIn, access: MakeAccess) -> None:
    standin.cluster.stop_ticks = 10**9
    machine = described(access)
    shut_down(access, machine, PowerPlan(force=True))
    assert not standin.cluster.has_instance


def test_a_policy_that_forbids_a_hard_stop_is_refused(standin: StandIn, access: MakeAccess) -> None:
    machine = described(access)
    with pytest.raises(StepError) as caught:
        shut_down(access, machine, PowerPlan(never_force=True))
    assert caught.value.code is Exit.POWER
    assert standin.changes() == []


@pytest.mark.parametrize("call", ["PATCH", "PUT"])
def test_a_vm_that_is_changed_without_an_end_is_reported(
    standin: StandIn, access: MakeAccess, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(checks, "RIGHTS", checks.RIGHTS[:1])
    ticks = iter(range(1000))
    monkeypatch.setattr("steps.providers.kubevirt.power.CLOCK", lambda: 60.0 * next(ticks))
    machine = described(access)
    standin.hook = lambda method, path: Reply(409, b"{}") if method == call else None
    with pytest.raises(StepError) as caught:
        shut_down(access, machine)
    assert caught.value.code is Exit.UNREACHABLE
    assert "still Running after 360 s" in str(caught.value)
    assert standin.cluster.stops == 0


def test_a_guest_that_does_not_end_is_reported(
    standin: StandIn, access: MakeAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(10**6))
    monkeypatch.setattr("steps.providers.kubevirt.power.CLOCK", lambda: 30.0 * next(ticks))
    standin.cluster.stop_ticks = 10**9
    machine = described(access)
    with pytest.raises(StepError) as caught:
        shut_down(access, machine)
    assert caught.value.code is Exit.UNREACHABLE
    assert "still Stopping after 360 s" in str(caught.value)
    assert standin.cluster.stops == 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_shutdown_that_is_killed_anywhere_happens_once(
    standin: StandIn, access: MakeAccess, strategy: str
) -> None:
    """Killed before each of its changes, then tried again."""
    use(standin, strategy)
    machine = described(access)
    for _ in range(8):
        changes = len(standin.changes())

        def kill(method: str, path: str, before: int = changes) -> Reply | None:
            if method in ("PATCH", "PUT") and len(standin.changes()) > before + 1:
                return Reply(200, b"{}", cut=0)  # the answer, and the change, are lost
            return None

        standin.hook = kill
        with suppress(NoAnswerError):
            shut_down(access, machine)
            break
    standin.hook = lambda method, path: None
    shut_down(access, machine)
    assert standin.cluster.stops == 1
    assert noted(standin)["run_strategy"] == strategy
    assert noted(standin)["position"].startswith("off ")


def test_a_lost_answer_to_the_stop_does_not_ask_again(standin: StandIn, access: MakeAccess) -> None:
    machine = described(access)
    lost = iter([True])

    def lose(method: str, path: str) -> Reply | None:
        if path.endswith("/stop") and next(lost, False):
            standin.cluster.stop(60)
            return Reply(200, b"{}", cut=0)
        return None

    standin.hook = lose
    with pytest.raises(StepError):
        shut_down(access, machine)
    shut_down(access, machine)
    assert standin.cluster.stops == 1


def test_a_start_is_noticed_also_when_the_vm_is_off_again(standin: StandIn, access: MakeAccess) -> None:
    machine = described(access)
    shut_down(access, machine)
    with connect(access("poweroff", machine=machine)) as source:
        mark = source.power_mark(machine)
        assert source.was_started_since(machine, mark) is None
        standin.cluster.start()
        assert source.was_started_since(machine, mark)
    standin.cluster.halt()
    with connect(access("unchanged", machine=machine)) as source:
        why = source.was_started_since(machine, mark)
        assert why is not None
        assert why.startswith("it stopped again at 2026-")
        assert not source.was_shut_down_since(machine, machine.mark)  # type: ignore[arg-type]


def test_a_change_that_is_no_start_leaves_the_copies_valid(standin: StandIn, access: MakeAccess) -> None:
    machine = described(access)
    shut_down(access, machine)
    with connect(access("unchanged", machine=machine)) as source:
        mark = source.power_mark(machine)
        standin.cluster.patch("virtualmachines", "web", {"metadata": {"annotations": {"note": "x"}}})
        assert source.was_started_since(machine, mark) is None


def test_a_shutdown_by_somebody_else_is_not_ours(standin: StandIn, access: MakeAccess) -> None:
    machine = described(access)
    standin.cluster.halt()
    shut_down(access, machine)
    with connect(access("release-source", machine=machine)) as source:
        assert machine.mark is not None
        assert not source.was_shut_down_since(machine, machine.mark)
    assert standin.cluster.stops == 0


def test_a_shutdown_of_another_run_is_not_ours(standin: StandIn, access: MakeAccess) -> None:
    machine = described(access)
    shut_down(access, machine, run="run-2")
    with connect(access("release-source", machine=machine)) as source:
        assert machine.mark is not None
        assert not source.was_shut_down_since(machine, machine.mark)


def test_a_shutdown_under_way_is_ours(standin: StandIn, access: MakeAccess) -> None:
    standin.cluster.stop_ticks = 3
    machine = described(access)
    assert machine.mark is not None
    with connect(access("poweroff", machine=machine)) as source:
        standin.cluster.patch(
            "virtualmachines",
            "web",
            {
                "metadata": {
                    "annotations": history.Shutdown(
                        "run-1", standin.cluster.instance["metadata"]["uid"], "Always"
                    ).annotation()
                }
            },
        )
        assert not source.was_shut_down_since(machine, machine.mark)  # noted, but not asked for
        standin.cluster.stop(60)
        assert source.was_shut_down_since(machine, machine.mark)


def test_another_vm_of_that_name_is_not_touched(standin: StandIn, access: MakeAccess) -> None:
    machine = described(access)
    standin.cluster.vm["metadata"]["uid"] = "another"
    with pytest.raises(StepError) as caught:
        shut_down(access, machine)
    assert caught.value.code is Exit.NOT_FOUND
    assert "another one has its name" in str(caught.value)
    assert standin.cluster.stops == 0


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"run": "x"}', '{"run": 1, "other": {}}', "null"])
def test_an_annotation_that_a_person_wrote_is_ignored(text: str) -> None:
    assert history.Shutdown.of(Answer({"metadata": {"annotations": {history.SHUTDOWN: text}}})) is None


def test_missing_rights_are_noticed_before_the_vm_is_stopped(standin: StandIn, access: MakeAccess) -> None:
    machine = described(access)
    standin.cluster.denied = {("create", "secrets"), ("update", "virtualmachines/start")}
    with pytest.raises(StepError) as caught:
        shut_down(access, machine)
    assert caught.value.code is Exit.DENIED
    assert "update virtualmachines/start.subresources.kubevirt.io, create secrets" in str(caught.value)
    assert standin.cluster.stops == 0


def test_exports_that_are_off_are_noticed_before_the_vm_is_stopped(
    standin: StandIn, access: MakeAccess
) -> None:
    machine = described(access)
    standin.cluster.gate = False
    with pytest.raises(StepError) as caught:
        shut_down(access, machine)
    assert caught.value.code is Exit.UNSUPPORTED
    assert standin.cluster.stops == 0


@pytest.mark.parametrize("strategy", ["Manual", "Once", "RerunOnFailure"])
@pytest.mark.parametrize("keeps_ended", [True, False])
def test_a_guest_that_ended_by_itself_is_off(
    standin: StandIn,
    access: MakeAccess,
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
    keeps_ended: bool,
) -> None:
    monkeypatch.setattr("steps.providers.kubevirt.power.REST_SECONDS", 0.05)
    use(standin, strategy)
    standin.cluster.keeps_ended = keeps_ended
    standin.cluster.end_guest()
    machine = described(access)
    assert machine.power is Power.OFF
    shut_down(access, machine)
    assert standin.cluster.stops == 0
    with connect(access("unchanged", machine=machine)) as source:
        mark = source.power_mark(machine)
        assert mark.position
        assert source.was_started_since(machine, mark) is None


@pytest.mark.parametrize(("strategy", "phase"), [("Always", "Succeeded"), ("RerunOnFailure", "Failed")])
def test_a_vm_that_kubevirt_starts_again_is_on(strategy: str, phase: str) -> None:
    vm = Answer({"spec": {"runStrategy": strategy}})
    ended = history.State(vm, Answer({"metadata": {"uid": "i"}, "status": {"phase": phase}}))
    assert ended.is_on
    assert not ended.is_settled
    gone = {"uid": "i", "deletionTimestamp": "2026-11-30T00:00:00Z"}
    stopped = history.State(vm, Answer({"metadata": gone, "status": {"phase": phase}}))
    assert stopped.is_on is (strategy == "Always")
