"""What a check pod's status says: whether it has ended, and how. Pure.

The exit code and the message come from a program that has parsed foreign bytes, so they are only shown: the
code as a reason, the message as bounded text without control characters.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from controller.operator.checkpods import objects
from controller.operator.checkpods.check import Check, Ended, Problem
from controller.operator.observe import fields
from steps.model.kinds import Object
from steps.runtime.deadline import message as timeout_message
from workflows import texts

ENDED: Final = ("Succeeded", "Failed")
DEADLINE: Final = "DeadlineExceeded"
KILLED: Final = (137, 143)
"""Exit codes after SIGKILL and SIGTERM: somebody ended the program."""
NEVER_RAN: Final = ("StartError", "ContainerCannotRun")
"""Reasons of a container whose program was not started (kubelet, container runtimes)."""
HOPELESS: Final = ("InvalidImageName", "ErrImageNeverPull")
"""Reasons for which waiting longer is useless."""
LATE_SECONDS: Final = 20.0
"""A program ends itself at its deadline; after so many seconds more it is ended."""
OUT_OF_MEMORY: Final = (
    "the answer of the source needs more memory than the check has; if the source is right, raise "
    "checks.resources.limits.memory of the chart"
)


def read(found: Object, age: float, seconds: float, start_seconds: float) -> Ended | None:
    """How a pod has ended, or that it must be ended; None while it may go on.

    `age` is for how many seconds the pod is known, `seconds` how long the source may take to answer,
    `start_seconds` how long the container may take to start.
    """
    status = fields.mapping(found.get("status"))
    if status.get("phase") in ENDED:
        return _ended(found, status, seconds)
    state = _state(status)
    if fields.mapping(state.get("running")):
        late = age > start_seconds + seconds + LATE_SECONDS
        return _with(found, Problem.TIMEOUT, timeout_message(seconds)) if late else None
    why = _why_not_started(status, state)
    reason = fields.text(fields.mapping(state.get("waiting")).get("reason"))
    if age > start_seconds or reason in HOPELESS:
        return _with(found, Problem.NOT_STARTED, why)
    return None


def not_created(check: Check, why: str) -> Ended:
    """The API server has refused the pod or its Secret."""
    return Ended("", check.version, message=_clean(why), problem=Problem.NOT_STARTED)


def deleted(pod: str, version: str) -> Ended:
    """Somebody has deleted the pod before it had ended."""
    return Ended(pod, version, message="its pod was deleted before it had ended", problem=Problem.INTERRUPTED)


def _ended(found: Object, status: Any, seconds: float) -> Ended:
    terminated = fields.mapping(_state(status).get("terminated"))
    reason, why = fields.text(status.get("reason")), fields.text(status.get("message"))
    started = bool(terminated) and terminated.get("reason") not in NEVER_RAN
    if not started:
        return _with(found, Problem.NOT_STARTED, _because(reason, why) or _terminated_text(terminated))
    if reason == DEADLINE:
        return _with(found, Problem.TIMEOUT, timeout_message(seconds))
    if terminated.get("reason") == "OOMKilled":
        return _with(found, Problem.OUT_OF_MEMORY, OUT_OF_MEMORY)
    code, words = terminated.get("exitCode"), fields.text(terminated.get("message"))
    if reason or code in KILLED or not isinstance(code, int):
        return _with(found, Problem.INTERRUPTED, _because(reason, why) or f"it was ended (exit code {code})")
    uid, version = str(found["metadata"]["uid"]), objects.annotation(found, objects.VERSION)
    return Ended(uid, version, code, _clean(words), seconds=_seconds(terminated))


def _seconds(terminated: Any) -> float:
    """How long the container ran, in whole seconds."""
    try:
        started, finished = (
            datetime.fromisoformat(fields.text(terminated.get(key))) for key in ("startedAt", "finishedAt")
        )
        return max((finished - started).total_seconds(), 0.0)
    except (ValueError, TypeError):  # one without a time zone cannot be compared
        return 0.0


def _why_not_started(status: Any, state: Any) -> str:
    waiting = fields.mapping(state.get("waiting"))
    if waiting:
        return _because(fields.text(waiting.get("reason")), fields.text(waiting.get("message")))
    scheduled = next(
        (row for row in fields.rows(status.get("conditions")) if row.get("type") == "PodScheduled"), {}
    )
    if scheduled.get("status") == "False":
        return _because(fields.text(scheduled.get("reason")), fields.text(scheduled.get("message")))
    return "no node has started it"


def _terminated_text(terminated: Any) -> str:
    return _because(fields.text(terminated.get("reason")), fields.text(terminated.get("message")))


def _state(status: Any) -> Any:
    """The state of the one container."""
    first = next(fields.rows(status.get("containerStatuses")), {})
    return fields.mapping(first.get("state"))


def _because(reason: str, message: str) -> str:
    return ": ".join(part for part in (reason, message) if part)


def _with(found: Object, problem: Problem, message: str) -> Ended:
    uid, version = str(found["metadata"]["uid"]), objects.annotation(found, objects.VERSION)
    return Ended(uid, version, message=_clean(message), problem=problem)


def _clean(text: str) -> str:
    return texts.message((" ".join(text.split()),))
