"""Results and status of imports: text for a person, documents for a program, the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controller.cli.app import INTERRUPTED, err, print_error
from controller.cli.view import INTERRUPTED as KILLED
from controller.local.imports import ImportResult
from controller.local.rundir import RunDir
from steps.model.contract import Exit
from workflows.stages import CHECKS
from workflows.status import poweredoff
from workflows.status.nodes import Leaf, Phase, leaves, phase_of


def exit_code(results: Sequence[ImportResult]) -> int:
    """The exit code of the first failed import; INTERRUPTED if a person stopped one."""
    codes = [result.code for result in results if result.phase is not Phase.SUCCEEDED]
    stopped = any(result.stopped for result in results)
    return INTERRUPTED if stopped else (codes or [Exit.DONE])[0]


def document(result: ImportResult) -> dict[str, Any]:
    """How an import ended, for a program."""
    return {
        "import": result.name,
        "folder": str(result.folder),
        "phase": result.phase,
        "machine": result.machine or None,
        "exitCode": int(result.code),
        "failed": result.cause.title if result.cause else None,
        "message": poweredoff.with_note(result.cause.step_message, result.note)
        if result.cause
        else result.note,
    }


def print_result(result: ImportResult) -> None:
    """Print the result of an import and what to do next."""
    if result.phase is Phase.SUCCEEDED:
        _print_success(result)
        return
    folder, cause = result.folder, result.cause
    if result.stopped:
        _print(f"{result.name}: stopped; completed work is kept")
    elif cause is not None:
        print_error(f"{result.name}: {cause.title} failed: {cause.step_message}")
        _print(f"  log:      {RunDir(folder).log(cause.stage, cause.disk)}")
    if result.note:
        _print(f"  the VM:   {result.note}")
    if cause is not None and cause.stage in CHECKS and not result.stopped:
        _print("  Nothing was changed. Fix the problem and run the same command again.")
    else:
        _print(f"  resume:   vmferry retry {folder}")


def _print_success(result: ImportResult) -> None:
    folder = result.folder
    if result.machine:
        namespace, _, name = result.machine.partition("/")
        _print(f"{result.name}: imported as VirtualMachine {result.machine}")
        _print(f"  show it:     kubectl get -n {namespace} vm {name}\n  its stages:  vmferry status {folder}")
    else:
        _print(f"{result.name}: imported into {folder}")
        _print(f"  show it:     vmferry status {folder}\n  try it:      vmferry boot {folder}")


def _print(text: str) -> None:
    err.print(text, soft_wrap=True, highlight=False, markup=False)


def state(name: str, rundir: RunDir, workflow: dict[str, Any], *, interrupted: bool) -> dict[str, Any]:
    """The status of an import, for a program. `goOn` is the command that resumes it, or null."""
    stages = [_stage(leaf, interrupted=interrupted) for leaf in leaves(workflow)]
    phase = phase_of(workflow)
    can_resume = interrupted or phase.failed
    return {
        "import": name,
        "phase": KILLED if interrupted else phase,
        "goOn": f"vmferry retry {rundir.root}" if can_resume else None,
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


def print_interrupted(name: str, rundir: RunDir) -> None:
    """Print how to resume an import whose runner was killed."""
    _print(f"{name}: the vmferry process that ran this import was killed; completed work is kept")
    _print(f"  resume:   vmferry retry {rundir.root}")
