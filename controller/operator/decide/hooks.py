"""The hooks of a running import: start what a node waits for, answer the node, end the others. Pure.

A controller that was killed finds the Pod or Workflow of a hook by its name, which depends only on the node
and its start. A veto is a failed node, so everything that follows a failure follows: the exit handler, the
restore of power, a retry.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final, NamedTuple

from controller.operator.decide.actions import Action, AnswerHooks, EndHook, HookAnswer, StartHook
from controller.operator.observe.facts import Facts
from controller.operator.observe.hooks import DEADLINE, HookRun, ResolvedHook
from steps.model.contract import StepError
from steps.model.machine import Machine
from steps.model.machine_output import MACHINE_OUTPUT, from_output
from workflows.api.import_hook import OnHookFailure
from workflows.hooks import CONTINUED, HookDocument, at, point_of
from workflows.status.hooks import object_name
from workflows.status.observed import Observed

HOOK_SECONDS: Final = 5.0
"""Seconds until the end of a hook is noticed: pods are not watched."""
AT_ONCE: Final = 8
"""Hooks of an import that run at the same time: it may have one for each disk."""
LATE_SECONDS: Final = 30.0
"""Kubernetes and Argo end a hook at its deadline; after so many seconds more the controller does."""


class _Open(NamedTuple):
    """A node that waits for its hook."""

    node: str
    point: str
    disk: str | None
    object_name: str


def is_waiting(facts: Facts) -> bool:
    """Whether a hook runs, or waits to be started."""
    return facts.seen is not None and any(_open_nodes(facts, facts.seen))


def run_hooks(facts: Facts, now: datetime) -> Iterator[Action]:
    """The actions for the hooks of a Workflow."""
    seen, plan = facts.seen, facts.request.plan if facts.request is not None else None
    if seen is None or plan is None or not plan.hooks:
        return
    open_nodes = list(_open_nodes(facts, seen))
    yield from _end_others(facts, {one.object_name for one in open_nodes})
    runs = {run.name: run for run in facts.hook_runs}
    running = sum(not runs[one.object_name].ended for one in open_nodes if one.object_name in runs)
    answers: list[HookAnswer] = []
    late: list[Action] = []
    for one in open_nodes:
        hook = at(plan, one.point)
        definition = facts.hooks.get(hook.name, ResolvedHook(fault=_UNKNOWN)) if hook else None
        if hook is None or definition is None:
            answers.append(HookAnswer(one.node, succeeded=False, message=_UNKNOWN))
        elif run := runs.get(one.object_name):
            if answer := _answer(one, hook.name, run, now):
                answers.append(answer)
                if not run.ended:
                    late.append(EndHook(run.kind, run.name))
        elif definition.hook is None:
            message = f"the hook {hook.name} was not run: {definition.fault}; then retry"
            answers.append(HookAnswer(one.node, succeeded=False, message=message))
        elif running < AT_ONCE and not seen.paused:
            running += 1
            name = facts.status.imported_virtual_machine_name
            document = HookDocument.of(plan, hook, one.disk, _machine(facts, seen), name)
            yield StartHook(definition.hook, one.object_name, seen.name, one.node, document)
    if answers:
        yield AnswerHooks(seen.name, tuple(answers))
    yield from late  # after the answer: a controller that is killed must not run the hook once more


_UNKNOWN: Final = "the import has no hook here; somebody has changed its Workflow"


def end_hooks(facts: Facts) -> Iterator[Action]:
    """End all hooks of an import that is being deleted, or whose Workflow has ended."""
    yield from _end_others(facts, set())


def _end_others(facts: Facts, wanted: set[str]) -> Iterator[Action]:
    for run in facts.hook_runs:
        if not run.ended and run.name not in wanted:
            yield EndHook(run.kind, run.name)


def _open_nodes(facts: Facts, seen: Observed) -> Iterator[_Open]:
    """The nodes that wait for a hook. None where the Workflow is stopped: Argo ends them."""
    if seen.stopped or seen.phase.fulfilled:
        return
    disks = {disk.id for disk in facts.machine.disks} if facts.machine is not None else set()
    for (point, disk), node in seen.suspended.items():
        leaf = seen.leaf(point, disk)
        if point_of(point) is None or leaf is None or (disk is not None and disk not in disks):
            continue
        yield _Open(node, point, disk, object_name(seen.name, point, disk, leaf.started))


def _answer(one: _Open, name: str, run: HookRun, now: datetime) -> HookAnswer | None:
    """How the hook has ended; None while it runs."""
    age = (now - run.created).total_seconds() if run.created else 0.0
    is_late = age > run.seconds + LATE_SECONDS
    if not run.ended and not is_late:
        return None
    if run.succeeded:
        words = f": {run.message}" if run.message else ""
        return HookAnswer(one.node, succeeded=True, message=f"hook {name} succeeded{words}")
    why = run.message or "no reason is given"
    if is_late or run.message == DEADLINE:
        waits = f" ({run.message})" if run.message and run.message != DEADLINE else ""
        why = f"it did not end within {run.seconds} s{waits}"
    where = f"see the log of {run.kind.kind} {run.name}"
    if run.on_failure is OnHookFailure.CONTINUE:
        return HookAnswer(one.node, succeeded=True, message=f"hook {name} {CONTINUED}{why}; {where}")
    return HookAnswer(one.node, succeeded=False, message=f"hook {name} failed: {why}; {where}, then retry")


def _machine(facts: Facts, seen: Observed) -> Machine | None:
    """The VM: as `admit` has published it, or as `preflight` reports it."""
    output = seen.output("preflight", None, MACHINE_OUTPUT)
    if facts.machine is not None or not output:
        return facts.machine
    try:
        return from_output(output)
    except StepError:  # `admit` refuses it
        return None
