"""`vmferry undo`: stops the VM at the target, then starts the VM at its source again. Deletes nothing.

The order never changes: the VM at the source is started only after the one at the target has stopped. Both
are step programs that may run twice, so an interrupted undo is completed by the same command.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controller.local.cluster_target import TARGET, ClusterArguments, PortAllocator
from controller.local.imports import take_lock
from controller.local.process import Launcher, StepResult
from controller.local.record import Record
from controller.local.rundir import RunDir
from steps.model.contract import Exit, StepError, Stopped
from steps.model.machine import Machine
from steps.model.plan import Plan, TargetKind
from steps.model.restore import Restored, RestoreState
from steps.runtime.program import MACHINE, PLAN
from workflows.stages import HALT, RELEASE_SOURCE, stage_named, stages_for
from workflows.status.nodes import Phase

_UNDO: Final = ("--undo", "true")


@dataclass(frozen=True)
class Undone:
    """What an undo did, and what it left."""

    name: str
    folder: Path
    source: Restored
    remaining: tuple[str, ...]
    """The objects or files that the import made, in the order in which a person deletes them."""
    delete: tuple[str, ...]
    """The commands that delete them."""


def undo(rundir: RunDir, credentials: Mapping[str, bytes] | None = None) -> Undone:
    """Undo the import in a folder; `credentials` replace those of its source.

    Raises:
        StepError: BUSY, if a process works on it; INVALID, if there is nothing to undo, or the credentials
            are missing; the error of the step that failed.
        Stopped: the person stopped it; the same command completes it.
    """
    lock = take_lock(rundir)
    try:
        plan = Plan.load(rundir.request / PLAN)
        machine = _found(rundir)
        had_credentials = rundir.credentials.exists()
        if credentials is not None:
            rundir.write_credentials(credentials)
        elif not had_credentials:
            raise StepError(
                Exit.INVALID,
                f"the credentials of {plan.source.name} are missing in {rundir.root}",
                remedy="give the manifests again: vmferry undo DIR -f MANIFESTS",
            )
        undone = asyncio.run(_carry_out(rundir, lock, plan, machine))
        if not had_credentials:
            rundir.delete_credentials()  # of an import that has succeeded
        return undone
    finally:
        os.close(lock)


def _found(rundir: RunDir) -> Machine:
    """The VM as preflight found it. Raises StepError (INVALID) if it found none."""
    file = rundir.request / MACHINE
    if not file.exists():
        raise StepError(
            Exit.INVALID, f"there is nothing to undo in {rundir.root}", "the import has changed nothing"
        )
    return Machine.load(file)


async def _carry_out(rundir: RunDir, lock: int, plan: Plan, machine: Machine) -> Undone:
    cluster = ClusterArguments(rundir, PortAllocator()) if (rundir.notes / TARGET).exists() else None
    steps = _Steps(Launcher(rundir, lock, cluster))
    if any(stage.name == HALT for stage in stages_for(plan.target.kind)):
        result = await steps.run(HALT, _UNDO)
        remaining, halted = tuple(json.loads(result.outputs.get("remaining", "[]"))), Phase.SUCCEEDED
    else:
        remaining, halted = tuple(rundir.published_disks()), Phase.SKIPPED
    result = await steps.run(RELEASE_SOURCE, (*_UNDO, "--halt", str(halted)))
    restored = Restored.model_validate_json(result.outputs["restored"])
    if restored.state is not RestoreState.FAILED:
        Record(rundir.load(), rundir.save).undo()
    return Undone(
        name=plan.import_.name,
        folder=rundir.root,
        source=restored if restored.message else _unchanged(machine),
        remaining=remaining,
        delete=tuple(deletions(plan, rundir.root, remaining)),
    )


def _unchanged(machine: Machine) -> Restored:
    return Restored(message=f"{machine.path or machine.name} needs no start at its source")


class _Steps:
    """Runs the steps of an undo, one after the other, until a person stops it."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._stopping = False
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)

    def _stop(self) -> None:
        self._stopping = True
        self._launcher.terminate()

    async def run(self, name: str, options: tuple[str, ...]) -> StepResult:
        """Run a step to its end. Raises StepError for its failure, Stopped if it was interrupted."""
        if self._stopping:
            raise Stopped
        self._launcher.options[name] = options
        result = await self._launcher.run(stage_named(name), None, lambda *_: None)
        if self._stopping and result.code != Exit.DONE:
            raise Stopped
        if result.code != Exit.DONE:
            code = Exit(result.code) if result.code in list(Exit) else Exit.INTERNAL
            raise StepError(code, f"the undo failed in {name}", result.words, "run the same command again")
        return result


def deletions(plan: Plan, folder: Path, remaining: tuple[str, ...]) -> list[str]:
    """The commands that delete what remains: `Kind namespace/name` in a cluster, else files of the folder."""
    if plan.target.kind is TargetKind.DIRECTORY:
        return [f"vmferry discard {folder}"]
    commands = []
    for text in remaining:
        kind, _, place = text.partition(" ")
        namespace, _, name = place.partition("/")
        commands.append(f"kubectl delete -n {namespace} {kind.lower()} {name}")
    return [*commands, f"vmferry discard {folder}"]
