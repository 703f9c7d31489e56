"""Results and status of imports: text for a person, documents for a program, the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controller.cli.app import INTERRUPTED, err, say_error
from controller.cli.view import INTERRUPTED as KILLED
from controller.local.imports import ImportResult
from controller.local.rundir import RunDir
from steps.model.contract import Exit
from workflows.stages import CHECKS
from workflows.status import poweredoff
from workflows.status.nodes import Leaf, Phase, leaves, phase_of


def exit_code(outcomes: Sequence[ImportResult]) -> int:
    """The exit code of the first failed import; INTERRUPTED if a person stopped one."""
    codes = [outcome.code for outcome in outcomes if outcome.phase is not Phase.SUCCEEDED]
    stopped = any(outcome.stopped for outcome in outcomes)
    return INTERRUPTED if stopped else (codes or [Exit.DONE])[0]


def document(outcome: ImportResult) -> dict[str, Any]:
    """How an import ended, for a program."""
    return {
        "import": outcome.name,
        "folder": str(outcome.folder),
        "phase": outcome.phase,
        "machine": outcome.machine or None,
        "exitCode": int(outcome.code),
        "failed": outcome.cause.title if outcome.cause else None,
        "message": poweredoff.with_note(outcome.cause.step_message, outcome.note)
        if outcome.cause
        else outcome.note,
    }


def tell(outcome: ImportResult) -> None:
    """Print the result of an import and what to do next."""
    if outcome.phase is Phase.SUCCEEDED:
        _tell_success(outcome)
        return
    folder, cause = outcome.folder, outcome.cause
    if outcome.stopped:
        _say(f"{outcome.name}: stopped; completed work is kept")
    elif cause is not None:
        say_error(f"{outcome.name}: {cause.title} failed: {cause.step_message}")
        _say(f"  log:      {RunDir(folder).log(cause.stage, cause.disk)}")
    if outcome.note:
        _say(f"  the VM:   {outcome.note}")
    if cause is not None and cause.stage in CHECKS and not outcome.stopped:
        _say("  Nothing was changed. Fix the problem and run the same command again.")
    else:
        _say(f"  resume:   vmferry retry {folder}")


def _tell_success(outcome: ImportResult) -> None:
    folder = outcome.folder
    if outcome.machine:
        namespace, _, name = outcome.machine.partition("/")
        _say(f"{outcome.name}: imported as VirtualMachine {outcome.machine}")
        _say(f"  show it:     kubectl get -n {namespace} vm {name}\n  its stages:  vmferry status {folder}")
    else:
        _say(f"{outcome.name}: imported into {folder}")
        _say(f"  show it:     vmferry status {folder}\n  try it:      vmferry boot {folder}")


def _say(text: str) -> None:
    err.print(text, soft_wrap=True, highlight=False, markup=False)


def state(name: str, rundir: RunDir, workflow: dict[str, Any], *, interrupted: bool) -> dict[str, Any]:
    """The status of an import, for a program. `goOn` is the command that resumes it, or null."""
    stages = [_stage(leaf, interrupted=interrupted) for leaf in leaves(workflow)]
    phase = phase_of(workflow)
    ended_ill = interrupted or phase.failed
    return {
        "import": name,
        "phase": KILLED if interrupted else phase,
        "goOn": f"vmferry retry {rundir.root}" if ended_ill else None,
        "stages": stages,
    }


def _stage(leaf: Leaf, *, interrupted: bool) -> dict[str, Any]:
    return {
        "stage": leaf.stage,
        "disk": leaf.disk,
        "phase": KILLED if interrupted and leaf.phase is Phase.RUNNING else leaf.phase,
        "attempts": leaf.attempts,
        "done": leaf.done,
        "total": leaf.total,
        "message": leaf.step_message,
    }


def tell_interrupted(name: str, rundir: RunDir) -> None:
    """Print how to resume an import whose runner was killed."""
    _say(f"{name}: the vmferry process that ran this import was killed; completed work is kept")
    _say(f"  resume:   vmferry retry {rundir.root}")
