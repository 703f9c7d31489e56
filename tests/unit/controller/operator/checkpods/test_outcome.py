"""How the status of a pod becomes a result, as the kubelet, the scheduler and the kernel write it."""

from __future__ import annotations

from typing import Any

import pytest

from controller.operator.checkpods import objects, outcome
from controller.operator.checkpods.check import Ended, Problem
from steps.model.kinds import Object


def pod(state: dict[str, Any] | None = None, **status: Any) -> Object:
    if state is not None:
        status["containerStatuses"] = [{"name": "main", "state": state}]
    return {"metadata": {"uid": "u", "annotations": {objects.VERSION: "1/v"}}, "status": status}


def read(found: Object, age: float = 0.0) -> Ended | None:
    return outcome.read(found, age, seconds=60, start_seconds=30)


def terminated(code: int, **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, **more}}


def test_an_exit_code_and_a_message() -> None:
    ended = read(pod(terminated(11, message="wrong\n", reason="Error"), phase="Failed"))
    assert ended == Ended("u", "1/v", 11, "wrong")
    assert read(pod(terminated(0, reason="Completed"), phase="Succeeded")) == Ended("u", "1/v", 0, "")


@pytest.mark.parametrize(
    ("found", "problem", "words"),
    [
        (
            pod(terminated(137, reason="OOMKilled"), phase="Failed"),
            Problem.OUT_OF_MEMORY,
            "checks.resources.limits.memory",
        ),
        (
            pod(
                terminated(137, reason="Error"),
                phase="Failed",
                reason="DeadlineExceeded",
                message="Pod was active",
            ),
            Problem.TIMEOUT,
            "did not answer within 60 s",
        ),
        (pod(phase="Failed", reason="DeadlineExceeded"), Problem.NOT_STARTED, "DeadlineExceeded"),
        (
            pod(terminated(137), phase="Failed", reason="Evicted", message="low on memory"),
            Problem.INTERRUPTED,
            "Evicted: low on memory",
        ),
        (pod(phase="Failed", reason="OutOfcpu", message="no cpu"), Problem.NOT_STARTED, "OutOfcpu: no cpu"),
        (pod(terminated(137, reason="Error"), phase="Failed"), Problem.INTERRUPTED, "exit code 137"),
        (pod(terminated(143, reason="Error"), phase="Failed"), Problem.INTERRUPTED, "exit code 143"),
        (
            pod(terminated(128, reason="StartError", message="exec failed"), phase="Failed"),
            Problem.NOT_STARTED,
            "StartError: exec failed",
        ),
        (
            pod({"waiting": {"reason": "InvalidImageName", "message": "no"}}, phase="Pending"),
            Problem.NOT_STARTED,
            "InvalidImageName",
        ),
    ],
)
def test_a_pod_that_did_not_end_by_itself(found: Object, problem: Problem, words: str) -> None:
    ended = read(found)
    assert ended is not None
    assert ended.problem is problem
    assert words in ended.message


WAITING = [
    pod({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}, phase="Pending"),
    pod(phase="Pending", conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]),
    pod(phase="Pending"),
    pod(),
]


@pytest.mark.parametrize("found", WAITING)
def test_a_pod_that_waits_has_time_to_start(found: Object) -> None:
    assert read(found, age=29) is None
    ended = read(found, age=31)
    assert ended is not None
    assert ended.problem is Problem.NOT_STARTED
    assert ended.message


def test_a_program_that_ignores_its_deadline_is_ended() -> None:
    running = pod({"running": {"startedAt": "2026-01-01T00:00:00Z"}}, phase="Running")
    assert read(running, age=100) is None
    ended = read(running, age=111)
    assert ended is not None
    assert ended.problem is Problem.TIMEOUT


@pytest.mark.parametrize("text", ["\x1b[2J", "a\u202eb", "x" * 100_000, "\n\n", "\ud800"])
def test_a_message_is_bounded_and_printable(text: str) -> None:
    ended = read(pod(terminated(70, message=text), phase="Failed"))
    assert ended is not None
    assert len(ended.message) < 5000
    assert ended.message.isprintable()


@pytest.mark.parametrize(
    "status",
    [
        None,
        "x",
        {"phase": "Failed", "containerStatuses": "x"},
        {"phase": "Failed", "containerStatuses": [None]},
        {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": "0"}}}]},
        {"phase": ["Failed"]},
        {"phase": "Running", "containerStatuses": [{"state": 7}], "conditions": {}},
    ],
)
def test_a_status_of_another_shape_is_no_success(status: Any) -> None:
    found = {"metadata": {"uid": "u"}, "status": status}
    for age in (0, 1000):
        ended = outcome.read(found, age, 60, 30)
        assert ended is None or ended.problem is not None
