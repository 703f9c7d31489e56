"""A launcher that follows its configuration and refuses everything else."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from controller.local.process import Launcher, OnProgress, StepResult
from controller.local.record import Record
from controller.local.rundir import RunDir
from controller.local.runner import Runner, TransferSlots
from steps.model import names
from steps.model.collisions import Reservations
from steps.model.contract import Exit
from steps.model.machine import Machine
from steps.model.plan import BootCheckPlan, GuestPlan, TargetKind
from steps.runtime.program import MACHINE
from tests.unit.builders import a_disk, a_machine, a_plan
from workflows.stages import Scope, Stage, stages_for
from workflows.status.nodes import Json, Leaf, Phase, leaves

HOLD: Final = -1
"""Replaces an exit code: the step runs until it is released or stopped."""

ExitCodes = Mapping[str, Sequence[int]]


def title(stage: Stage, disk: str | None) -> str:
    return f"{stage.name} {disk}" if disk else stage.name


class FakeLauncher(Launcher):
    """Ends each step with the next of the exit codes configured for it."""

    def __init__(self, rundir: RunDir, machine: Machine, exit_codes: ExitCodes) -> None:
        super().__init__(rundir, os.open(os.devnull, os.O_RDONLY))  # hooks are real processes
        self._request = rundir.request
        self._machine = machine
        self._codes = {name: list(codes) for name, codes in exit_codes.items()}
        self._release = asyncio.Event()
        self._ends: dict[tuple[str, str | None], asyncio.Event] = {}
        self._term = asyncio.Event()
        self.began: list[str] = []
        self.events: list[tuple[str, str]] = []
        self.alive: set[str] = set()
        self.most = 0
        self.killed = False
        self.outputs: dict[str, Mapping[str, str]] = {}
        """The results of steps."""

    async def run(self, stage: Stage, disk: str | None, report: OnProgress) -> StepResult:
        name = title(stage, disk)
        if not self._codes.get(name):
            raise AssertionError(f"{name} was started unexpectedly")
        code = self._codes[name].pop(0)
        self.began.append(name)
        self.events.append(("begin", name))
        self.alive.add(name)
        self.most = max(self.most, sum(one.startswith("export") for one in self.alive))
        report(1, 2)
        end = self._ends[stage.name, disk] = asyncio.Event()
        code = await self._held(end) if code == HOLD else code
        await asyncio.sleep(0)
        self.alive.remove(name)
        self.events.append(("end", name))
        if stage.name == "preflight" and code == Exit.DONE:
            self._machine.save(self._request / MACHINE)
        words = "" if code == Exit.DONE else f"{name} ended with {code}"
        return StepResult(code, words, self.outputs.get(name, {}))

    async def _held(self, end: asyncio.Event) -> int:
        release, *terms = (asyncio.create_task(one.wait()) for one in (self._release, self._term, end))
        await asyncio.wait({release, *terms}, return_when=asyncio.FIRST_COMPLETED)
        ended = Exit.STOPPED if any(term.done() for term in terms) else Exit.DONE
        for task in (release, *terms):
            task.cancel()
        return ended

    def terminate_one(self, stage: str, disk: str | None) -> None:
        if (stage, disk) in self._ends:
            self._ends[stage, disk].set()

    def terminate(self) -> None:
        """Signals the steps that run now."""
        super().terminate()
        self._term.set()
        self._term = asyncio.Event()

    def kill(self) -> None:
        super().kill()
        self.killed = True

    def release(self) -> None:
        self._release.set()

    def left(self) -> list[str]:
        """Configured exit codes that were not used."""
        return [name for name, codes in self._codes.items() for _ in codes]


def exit_codes(
    disks: Sequence[str],
    target: TargetKind = TargetKind.DIRECTORY,
    guest: GuestPlan | None = None,
    boot_check: BootCheckPlan | None = None,
    /,
    **changed: Sequence[int],
) -> dict[str, Sequence[int]]:
    """Every stage of a target succeeds at once, except the given ones (`export_disk_0=[30, 0]`)."""
    asked = guest.stages if guest is not None else ()
    stages = stages_for(target, embedded=True, asked=(*asked, *(("check",) if boot_check else ())))
    rows = [stage for stage in stages if not stage.gate]
    names = [stage.name for stage in rows if stage.scope is not Scope.DISK]
    names += [f"{stage.name} {disk}" for disk in disks for stage in rows if stage.scope is Scope.DISK]
    codes: dict[str, Sequence[int]] = {name: [0] for name in names}
    for key, value in changed.items():
        stage, _, disk = key.partition("_")
        name = f"{stage} {disk.replace('_', '-')}" if disk else stage
        assert name in codes
        codes[name] = value
    return codes


class Saved:
    """Keeps the last saved state as text: what another runner would find."""

    def __init__(self) -> None:
        self.text = ""
        self.count = 0

    def __call__(self, workflow: Json) -> None:
        self.text = json.dumps(workflow)
        self.count += 1

    @property
    def workflow(self) -> Json:
        loaded: Json = json.loads(self.text)
        return loaded


class Import:
    """One import in a folder, with a configured launcher; its state is saved in memory."""

    def __init__(
        self,
        folder: Path,
        disks: int = 2,
        target: TargetKind = TargetKind.DIRECTORY,
        *,
        name: str = "web",
        reservations: Reservations | None = None,
        guest: GuestPlan | None = None,
        boot_check: BootCheckPlan | None = None,
    ) -> None:
        self.target = target
        self._guest = guest or GuestPlan()
        self._boot_check = boot_check
        self._reservations = reservations
        self.rundir = RunDir(folder)
        self.disks = tuple(f"disk-{number}" for number in range(disks))
        self._machine = a_machine(disks=tuple(a_disk(number) for number in range(disks)))
        wanted = {"guest": self._guest, "boot_check": boot_check}
        self.rundir.create(a_plan(kind=target, name=name).model_copy(update=wanted), {})
        self._saved = Saved()
        self.record = Record.new(a_plan().run, names.labels(a_plan()), self._saved)
        self.launcher: FakeLauncher
        self.warnings: list[str] = []

    def runner(self, exit_codes: ExitCodes, limits: TransferSlots | None = None) -> Runner:
        self.launcher = FakeLauncher(self.rundir, self._machine, exit_codes)
        given = limits or TransferSlots()
        return Runner(
            *(self.rundir, self.record, self.launcher, given, lambda: None, self.warnings.append),
            reservations=self._reservations,
            first_delay=0,
        )

    def run(self, **changed: Sequence[int]) -> Phase:
        """Run to the end; all configured exit codes must be used."""

        async def go() -> Phase:
            codes = exit_codes(self.disks, self.target, self._guest, self._boot_check, **changed)
            return await self.runner(codes).run()

        return asyncio.run(go())

    def reopen(self) -> None:
        """As `vmferry retry` does: from the saved state."""
        self.record = Record(self._saved.workflow, self._saved)
        self.record.reopen()

    @property
    def workflow(self) -> Json:
        return self._saved.workflow

    def leaf(self, title: str) -> Leaf:
        (found,) = [leaf for leaf in leaves(self.workflow) if leaf.title == title]
        return found
