"""The hooks of a running import: start what a pod waits for, answer it, end the others. Pure.

A pod of the Workflow waits at each point (`steps.hook`). A controller that was killed finds the Pod or
Workflow of a hook by its name, which depends only on the uid of that pod. A veto is a step that has failed,
so everything that follows a failure follows: the exit handler, the restore of power, a retry.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from controller.operator.decide.actions import Action, AnswerHooks, EndHook, StartHook
from controller.operator.observe.facts import Facts
from controller.operator.observe.fields import annotations_of
from controller.operator.observe.hooks import DEADLINE, HookRun, ResolvedHook, Waiter
from steps.model.contract import StepError
from steps.model.hook_verdict import PREFIX, HookVerdict, verdict_for
from steps.model.machine import Machine
from steps.model.machine_output import MACHINE_OUTPUT, from_output
from steps.model.plan import Plan
from workflows.api.import_hook import OnHookFailure
from workflows.hooks import CONTINUED, HookDocument, at, point_of
from workflows.status.hooks import object_name
from workflows.status.nodes import Phase
from workflows.status.observed import Observed

HOOK_SECONDS: Final = 5.0
"""Seconds until a pod that waits, or the end of its hook, is noticed: pods are not watched."""
AT_ONCE: Final = 8
"""Hooks of an import that run at the same time: it may have one for each disk."""
LATE_SECONDS: Final = 30.0
"""Kubernetes and Argo end a hook at its deadline; after so many seconds more the controller does."""
_UNKNOWN: Final = "the import has no hook here; somebody has changed its Workflow"


def is_waiting(facts: Facts) -> bool:
    """Whether a hook runs or may begin soon."""
    seen = facts.seen
    if seen is None or not seen.points or (seen.paused and not facts.hook_runs):
        return False
    return bool(facts.waiters) or any(point_of(leaf.stage) for leaf in seen.leaves if _is_busy(leaf.phase))


def run_hooks(facts: Facts, now: datetime) -> Iterator[Action]:
    """The actions for the hooks of a Workflow."""
    seen, plan = facts.seen, facts.request.plan if facts.request is not None else None
    if seen is None or plan is None or not plan.hooks:
        return
    waiters = _waiters(facts, seen)
    # One with an annotation has not read it yet.
    unanswered = [one for one in waiters if verdict_for(facts.workflow, one.uid) is None]
    yield from _start(facts, seen, plan, unanswered)
    runs = {run.name: run for run in facts.hook_runs}
    found = {
        one.uid: _verdict_for(facts, plan, one, runs.get(object_name(one.uid)), now) for one in unanswered
    }
    verdicts = {uid: verdict for uid, verdict in found.items() if verdict is not None}
    if outdated := _outdated(facts, waiters):
        yield AnswerHooks(seen.name, dict.fromkeys(outdated))
    if verdicts:
        yield AnswerHooks(seen.name, verdicts)
    # After the answer: a controller that is killed must not run the hook once more.
    yield from _end_others(facts, {object_name(one.uid) for one in unanswered if one.uid not in verdicts})


def _start(facts: Facts, seen: Observed, plan: Plan, unanswered: list[Waiter]) -> Iterator[StartHook]:
    """Start the hooks that nobody has started, unless too many run or the import is suspended."""
    existing = {run.name for run in facts.hook_runs}
    room = 0 if seen.paused else AT_ONCE - sum(not run.ended for run in facts.hook_runs)
    for one in unanswered:
        hook = at(plan, one.point)
        found = facts.hooks.get(hook.name, ResolvedHook()) if hook is not None else ResolvedHook()
        if hook is None or found.hook is None or object_name(one.uid) in existing or room < 1:
            continue
        room -= 1
        name = facts.status.imported_virtual_machine_name
        document = HookDocument.of(plan, hook, one.disk or None, _machine(facts, seen), name)
        yield StartHook(found.hook, object_name(one.uid), seen.name, one.uid, document)


def _verdict_for(
    facts: Facts, plan: Plan, one: Waiter, run: HookRun | None, now: datetime
) -> HookVerdict | None:
    """What a pod that waits is answered; None while its hook runs or begins."""
    hook = at(plan, one.point)
    if hook is None:
        return HookVerdict(passed=False, message=_UNKNOWN)
    if run is not None:
        return _verdict(hook.name, run, now)
    fault = facts.hooks[hook.name].fault if hook.name in facts.hooks else ""
    if not fault:
        return None
    return HookVerdict(passed=False, message=f"the hook {hook.name} was not run: {fault}; then retry")


def end_hooks(facts: Facts) -> Iterator[Action]:
    """End all hooks of an import that is being deleted."""
    yield from _end_others(facts, set())


def _end_others(facts: Facts, wanted: set[str]) -> Iterator[Action]:
    for run in facts.hook_runs:
        if not run.ended and run.name not in wanted:
            yield EndHook(run.kind, run.name)


def _waiters(facts: Facts, seen: Observed) -> list[Waiter]:
    """The pods that wait for a hook. None where the Workflow is stopped: Argo ends them."""
    if seen.stopped or seen.phase.fulfilled:
        return []
    disks = {"", *(disk.id for disk in facts.machine.disks)} if facts.machine is not None else {""}
    return [one for one in facts.waiters if point_of(one.point) is not None and one.disk in disks]


def _outdated(facts: Facts, waiters: list[Waiter]) -> list[str]:
    """The uids of pods that have read their answer and ended: an object has room for few annotations."""
    keys = [key for key in annotations_of(facts.workflow) if key.startswith(PREFIX)]
    return sorted({key.removeprefix(PREFIX) for key in keys} - {one.uid for one in waiters})


def _verdict(name: str, run: HookRun, now: datetime) -> HookVerdict | None:
    """How the hook has ended; None while it runs."""
    age = (now - run.created).total_seconds() if run.created else 0.0
    is_late = age > run.seconds + LATE_SECONDS
    if not run.ended and not is_late:
        return None
    if run.succeeded:
        words = f": {run.message}" if run.message else ""
        return HookVerdict(passed=True, message=f"hook {name} succeeded{words}")
    why = run.message or "no reason is given"
    if is_late or run.message == DEADLINE:
        waits = f" ({run.message})" if run.message and run.message != DEADLINE else ""
        why = f"it did not end within {run.seconds} s{waits}"
    where = f"see the log of {run.kind.kind} {run.name}"
    if run.on_failure is OnHookFailure.CONTINUE:
        return HookVerdict(passed=True, message=f"hook {name} {CONTINUED}{why}; {where}")
    return HookVerdict(passed=False, message=f"hook {name} failed: {why}; {where}, then retry")


def _machine(facts: Facts, seen: Observed) -> Machine | None:
    """The VM: as `admit` has published it, or as `preflight` reports it."""
    output = seen.output("preflight", None, MACHINE_OUTPUT)
    if facts.machine is not None or not output:
        return facts.machine
    try:
        return from_output(output)
    except StepError:  # `admit` refuses it
        return None


def _is_busy(phase: Phase) -> bool:
    return phase in (Phase.PENDING, Phase.RUNNING)
