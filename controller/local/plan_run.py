"""Runs a MigrationPlan without a cluster: the same schedule as in the controller, over embedded imports.

The folder of the plan has a folder for each import, and `plan.json` with the VMs and what became of them. A
second run continues it: it retries what failed, and never imports a VM twice.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from controller.local import imports
from controller.local.cluster_target import ClusterTarget
from controller.local.imports import EmbeddedRun, ImportResult, Shared, Watcher
from controller.local.rundir import RunDir
from controller.local.runner import FIRST_DELAY, Runner
from controller.manifests.resolve import Job
from steps.model.contract import Exit, StepError
from steps.model.document import Document
from workflows.api.migration_plan import (
    MigrationPlan,
    MigrationPlanStatus,
    PlannedVm,
    PlanPhase,
    VmPhase,
)
from workflows.migration import report, schedule
from workflows.migration.schedule import Moment, Schedule
from workflows.migration.vms import with_waves
from workflows.status.nodes import Phase, phase_of

STATE: Final = "plan.json"
LOCK: Final = ".vmferry-plan.lock"
AT_ONCE: Final = 8
"""Imports of a plan that have processes at a time. How many of them transfer is limited in addition."""
LONGEST: Final = 200
"""Characters of a message in the state."""
STOPPED: Final = "Stopped"
"""Reason of a VM whose import a person interrupted."""
_PERSON: Final = (PlanPhase.STOPPED, PlanPhase.SUSPENDED, PlanPhase.LIMITS)
"""Phases in which a run ends, because only a person can change them."""


class PlanFile(Document):
    """`plan.json`: the plan whose imports are in the folder, and their state."""

    namespace: str
    name: str
    status: MigrationPlanStatus


def read(root: Path, plan: MigrationPlan) -> MigrationPlanStatus | None:
    """The state of an earlier run of this plan in the folder; None in a new or empty folder.

    Raises:
        StepError: CONFLICT, if the folder holds something else.
    """
    state = root / STATE
    if not state.exists():
        others = [path for path in root.iterdir() if path.name != LOCK] if root.is_dir() else []
        if others or (root.exists() and not root.is_dir()):
            raise StepError(
                Exit.CONFLICT,
                f"{root} is not empty",
                "its content is not from an earlier run of this plan",
                "choose an empty or new folder",
            )
        return None
    found = PlanFile.load(state)
    own = plan.metadata
    if (found.namespace, found.name) != (own.namespace, own.name):
        raise StepError(
            Exit.CONFLICT,
            f"{root} belongs to MigrationPlan {found.namespace}/{found.name}",
            remedy="choose another --into",
        )
    return found.status


def lock(root: Path) -> int:
    """Take the folder of a plan, until the process ends.

    Raises:
        StepError: BUSY, if another process works on it; CONFLICT, if it cannot be created.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as error:
        remedy = "choose another --into"
        raise StepError(Exit.CONFLICT, f"cannot create {root}", f"{error.strerror}", remedy) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        failure = f"{root} is in use by another vmferry process"
        raise StepError(Exit.BUSY, failure, remedy="wait for it, or stop it with Ctrl-C") from None
    return descriptor


@dataclass
class PlanRun:
    """One run of a plan. `folder` is that of the plan, `target` None for folders."""

    plan: MigrationPlan
    folder: Path
    vms: tuple[PlannedVm, ...]
    jobs: Mapping[str, Job]
    watch: Watcher
    target: ClusterTarget | None = None
    before: MigrationPlanStatus = field(default_factory=MigrationPlanStatus)
    approve: Callable[[str], bool] = lambda _: False
    """Asks a person whether the next wave may start."""
    tell: Callable[[str], None] = lambda _: None
    """Shows what the plan waits for."""
    first_delay: float = FIRST_DELAY
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    results: list[ImportResult] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._status = self.before
        self._shared = Shared.new()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[asyncio.Task[Phase], tuple[EmbeddedRun, Runner]] = {}
        self._stopping = asyncio.Event()
        self._told = ""
        self.vms = tuple(self._found(vm) for vm in self.vms)

    async def run(self) -> MigrationPlanStatus:
        """Import wave by wave until the plan has ended, or only a person can continue it.

        SIGINT and SIGTERM stop the imports cleanly; another run continues them.
        """
        imports.on_signals(self._stop)
        ticker = asyncio.create_task(imports.tick(self.watch))
        try:
            while await self._step():
                pass
            self._decide()  # with the results of the last imports
        finally:
            ticker.cancel()
        return self._status

    async def _step(self) -> bool:
        """Decide, start, and wait for a change; whether the run continues."""
        found = self._decide()
        if self._stopping.is_set():
            await self._wait(None)
            return bool(self._tasks)
        if found.phase is PlanPhase.APPROVAL and not self._tasks:
            return self._ask(found)
        for name in (*found.start, *found.retry):
            self._start(name)
        is_over = found.phase in (PlanPhase.SUCCEEDED, PlanPhase.FAILED)
        can_wait = found.seconds is not None and found.phase not in _PERSON
        if not self._tasks and (found.start or found.retry):
            return True  # none of them needed a process
        if not self._tasks and (is_over or not can_wait):
            return False
        if not self._tasks and found.message != self._told:
            self._told = found.message
            self.tell(found.message)
        await self._wait(found.seconds)
        return True

    def _decide(self) -> Schedule:
        now = self.clock()
        self.vms = with_waves(self.plan.spec, self.vms)
        moment = Moment(
            now=now,
            vms=self.vms,
            approved_wave=self._status.approved_wave,
            wave_ended=report.ended_at(self._status),
            remedies=schedule.BY_COMMAND,
        )
        found = schedule.decide(self.plan.spec, moment)
        self._status = report.with_schedule(self._status, self.vms, found, now)
        self._save()
        return found

    def _ask(self, found: Schedule) -> bool:
        following = min(vm.wave for vm in self.vms if vm.wave > found.wave)
        if not self.approve(f"Wave {found.wave} has ended. Start wave {following}?"):
            return False
        self._status = self._status.model_copy(update={"approved_wave": following})
        return True

    def _start(self, name: str) -> None:
        folder = self.folder / name
        try:
            run = imports.create_or_reopen(self.jobs[name], RunDir(folder), self.target)
        except StepError as error:  # the others continue
            self._put(name, VmPhase.FAILED, error.code.word, str(error)[:LONGEST])
            self.results.append(ImportResult(name, folder, Phase.ERROR, None, note=str(error)))
            return
        if run is None:
            self._put(name, VmPhase.SUCCEEDED)
            return
        runner = imports.make_runner(run, self._shared, self.watch, self.first_delay)
        self._put(name, VmPhase.RUNNING)
        self._tasks[asyncio.create_task(self._within_gate(runner))] = run, runner

    async def _within_gate(self, runner: Runner) -> Phase:
        async with self._gate:
            return await runner.run()

    async def _wait(self, seconds: float | None) -> None:
        """Wait until an import ends, a person stops the run, or so many seconds have passed."""
        if self._stopping.is_set():
            waited: set[asyncio.Task[object]] = set()
        else:
            waited = {asyncio.create_task(_truth(self._stopping))}
        every = {*self._tasks, *waited}
        if every:
            await asyncio.wait(every, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in waited:
            task.cancel()
        for task in [task for task in self._tasks if task.done()]:
            run, _ = self._tasks.pop(task)
            self._end(run, task.result())

    def _end(self, run: EmbeddedRun, phase: Phase) -> None:
        result = imports.result_of(run, phase)
        self.results.append(result)
        self.watch.forget(run.name)
        if phase is Phase.SUCCEEDED:
            self._put(run.name, VmPhase.SUCCEEDED)
        else:
            reason = STOPPED if result.stopped else result.cause.stage if result.cause else ""
            message = result.cause.step_message if result.cause else ""
            self._put(run.name, VmPhase.FAILED, reason, message[:LONGEST])
        os.close(run.lock)

    def _put(self, name: str, phase: VmPhase, reason: str = "", message: str = "") -> None:
        changes = {"phase": str(phase), "reason": reason, "message": message, "retry": False, "uid": name}
        self.vms = tuple(vm.model_copy(update=changes) if vm.import_ == name else vm for vm in self.vms)

    def _found(self, vm: PlannedVm) -> PlannedVm:
        """A VM with what its folder says: an import that has not succeeded is retried."""
        rundir = RunDir(self.folder / vm.import_)
        if not rundir.state.exists():
            fresh = {"phase": str(VmPhase.PENDING), "uid": "", "retry": False}
            return vm if vm.phase == VmPhase.SUCCEEDED else vm.model_copy(update=fresh)
        if phase_of(rundir.load()) is Phase.SUCCEEDED:
            return vm.model_copy(update={"phase": str(VmPhase.SUCCEEDED), "uid": vm.import_})
        return vm.model_copy(update={"phase": str(VmPhase.FAILED), "uid": vm.import_, "retry": True})

    def _stop(self) -> None:
        self._stopping.set()
        for _, runner in self._tasks.values():
            runner.stop()

    def _save(self) -> None:
        own = self.plan.metadata
        PlanFile(namespace=own.namespace, name=own.name, status=self._status).save(self.folder / STATE)


async def _truth(event: asyncio.Event) -> object:
    return await event.wait()
