"""The embedded runner: runs the stages of one import as local processes, by Argo's table and rules.

It stays small on purpose: Argo is for more than one host. The state is saved at every change, so a killed
runner loses nothing; `Record.reopen` and another `Runner.run` resume from it.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from controller.local.hooks import load
from controller.local.process import Launcher, StepResult, title
from controller.local.record import Record
from controller.local.rundir import RunDir
from controller.units import size
from steps.model.adapted import ADAPTED, Adapted
from steps.model.booting import Verdict, concerns_of
from steps.model.collisions import Reservations
from steps.model.contract import Exit, StepError, is_retryable
from steps.model.guest import GUEST as GUEST_FILE
from steps.model.guest import Guest
from steps.model.machine import Machine, Severity
from steps.model.mapping import shape
from steps.model.naming import target_name
from steps.model.plan import HookPlan, Moment, Plan
from steps.model.restore import Restored
from steps.model.source_mark import MarkState
from steps.runtime.program import MACHINE, PLAN
from workflows.author.dag import DELIVER, DISKS, FINISH, GUEST, IMPORT, TRANSFER, home
from workflows.hooks import CONTINUED, HookDocument, at
from workflows.stages import (
    ADMIT,
    CHECKS,
    DEFAULT_LIMITS,
    HALT,
    RELEASE_SOURCE,
    Capability,
    Limit,
    Scope,
    Stage,
    stages_for,
)
from workflows.status.boot_checked import read_boot
from workflows.status.conditions import admission_warnings, read_admission
from workflows.status.leftovers import leftovers
from workflows.status.nodes import Phase, root_cause
from workflows.status.observed import observe
from workflows.status.restored import read_restored

OMITTED: Final = "not run, because an earlier stage failed"
STOPPED: Final = "Stopped with strategy 'Stop'"
SHUTDOWN: Final = "workflow shutdown with strategy:  Stop"
FIRST_DELAY: Final = 2.0
"""Seconds before the first retry of a local step; the table's 10 is specific to Argo."""

SOURCE_WAIT: Final = 60
"""Seconds that a step waits for its source, where a person watches; in a cluster half an hour."""


@dataclass
class TransferSlots:
    """Limits shared by imports that run in parallel: VMs in transfer and disk streams."""

    machines: asyncio.Semaphore = field(default_factory=lambda: _semaphore(Limit.MACHINES))
    streams: asyncio.Semaphore = field(default_factory=lambda: _semaphore(Limit.STREAMS))


def _semaphore(limit: Limit) -> asyncio.Semaphore:
    return asyncio.Semaphore(DEFAULT_LIMITS[limit])


Instance = tuple[str, str | None]
"""A stage and its disk; None for a stage of the whole VM."""


class Runner:
    """Runs one import through its stages.

    `changed` is called after every change of the record, `warn` with each warning. The imports of one process
    have common `reservations`.
    """

    def __init__(
        self,
        rundir: RunDir,
        record: Record,
        launcher: Launcher,
        slots: TransferSlots,
        changed: Callable[[], None],
        warn: Callable[[str], None] = lambda _: None,
        *,
        reservations: Reservations | None = None,
        first_delay: float = FIRST_DELAY,
    ) -> None:
        self._rundir = rundir
        self._record = record
        self._launcher = launcher
        self._slots = slots
        self._changed = changed
        self._warn = warn
        self._reservations = reservations or Reservations()
        self._first_delay = first_delay
        self._stopping = asyncio.Event()
        self._plan = Plan.load(rundir.request / PLAN)
        stages = stages_for(self._plan.target.kind, embedded=True, asked=self._plan.asked_stages)
        self._stages = [stage for stage in stages if stage.scope is not Scope.EXIT]
        self._exit = [stage for stage in stages if stage.scope is Scope.EXIT]
        self._disks: tuple[str, ...] = ()
        self._given_up: set[Instance] = set()

    def stop(self) -> None:
        """Stop early: steps release what they hold, no further step starts, the exit handler runs."""
        if self._stopping.is_set():
            self._launcher.kill()
        self._stopping.set()
        self._launcher.terminate()

    async def run(self) -> Phase:
        """Run every stage that has not succeeded; returns the phase of the import."""
        await self._run_stages(self._stages_in(IMPORT))
        self._disks = self._read_disks()
        self._warn_of_admission()
        self._warn_of_room()
        async with self._slots.machines:
            await self._run_stages(self._stages_in(TRANSFER, DISKS, GUEST, DELIVER))
        self._warn_of_guest()
        await self._run_stages(self._stages_in(FINISH))
        self._warn_of_boot()
        await self._exit_handler()
        phase = self._record.finish(message=STOPPED if self._stopping.is_set() else "")
        self._changed()
        return phase

    # --- order

    def _stages_in(self, *dags: str) -> list[Stage]:
        """The stages of these DAGs of the table, in its order."""
        return [stage for stage in self._stages if home(stage) in dags]

    async def _run_stages(self, stages: Sequence[Stage]) -> None:
        """Run stages. Each waits only for its own predecessors."""
        tasks: dict[Instance, asyncio.Task[None]] = {}
        for stage in stages:
            for disk in self._disks if stage.scope is Scope.DISK else (None,):
                before = self._predecessors(stage, disk)
                waits = [tasks[instance] for instance in before if instance in tasks]
                tasks[stage.name, disk] = asyncio.create_task(
                    self._run_when_ready(stage, disk, before, waits)
                )
        await asyncio.gather(*tasks.values())

    def _predecessors(self, stage: Stage, disk: str | None) -> list[Instance]:
        """What must succeed first: for a disk the same disk, for the VM every disk.

        If no disks were found, a stage of disks is replaced by its own predecessors.
        """
        instances: list[Instance] = []
        for earlier in (earlier for earlier in self._stages if earlier.name in stage.after):
            if earlier.scope is Scope.MACHINE:
                instances.append((earlier.name, None))
            elif disk or self._disks:
                instances += [(earlier.name, each) for each in ([disk] if disk else self._disks)]
            else:
                instances += self._predecessors(earlier, None)
        return instances

    async def _run_when_ready(
        self, stage: Stage, disk: str | None, before: Iterable[Instance], waits: Iterable[asyncio.Task[None]]
    ) -> None:
        await asyncio.gather(*waits)
        path = self._path(stage.name, disk)
        phase = self._record.phase(path)
        if phase is not None and phase.succeeded and not self._needed_again(stage, disk):
            await self._hook(Moment.AFTER, stage, disk)
            return
        if not all(self._succeeded(instance) for instance in before):
            self._record.skip(path, stage, disk, Phase.OMITTED, OMITTED)
        elif self._stopping.is_set():
            self._record.skip(path, stage, disk, Phase.OMITTED, STOPPED)
        elif stage.gate:
            self._record.skip(path, stage, disk, Phase.SKIPPED, "the import does not require this approval")
        else:
            await self._run_to_end(path, stage, disk)
        self._changed()

    def _succeeded(self, instance: Instance) -> bool:
        name, disk = instance
        phase = self._record.phase(self._path(name, disk))
        return phase is not None and phase.succeeded and self._hook_passed(name, disk)

    # --- two parallel stages that need each other

    def _sibling(self, stage: Stage) -> Stage | None:
        """The parallel stage of the same disk: `serve` provides what `image` has the cluster fetch."""
        siblings = (
            other
            for other in self._stages
            if other.after == stage.after and other.address and stage.address and other is not stage
        )
        return next(siblings, None)

    def _needed_again(self, stage: Stage, disk: str | None) -> bool:
        """Whether a served disk must be served again because its image did not succeed."""
        sibling = self._sibling(stage)
        return (
            stage.needs is Capability.PULLS
            and sibling is not None
            and not self._succeeded((sibling.name, disk))
        )

    def _give_up_sibling(self, stage: Stage, disk: str | None) -> None:
        """Stop the parallel stage: it would wait for ever."""
        sibling = self._sibling(stage)
        if sibling is not None and (stage.name, disk) not in self._given_up:
            self._given_up.add((sibling.name, disk))
            self._launcher.terminate_one(sibling.name, disk)

    def _with_sibling_blamed(self, attempt: StepResult, stage: Stage, disk: str | None) -> StepResult:
        sibling = self._sibling(stage)
        if sibling is None or attempt.code == Exit.DONE or (stage.name, disk) not in self._given_up:
            return attempt
        words = f"{sibling.name} {disk} failed; see its message; a retry runs both"
        return replace(attempt, code=Exit.SIBLING, words=words)

    # --- one stage

    async def _run_to_end(self, path: str, stage: Stage, disk: str | None) -> None:
        """Run a stage until it succeeds, fails finally, or has used up its attempts; with its hooks."""
        if not await self._hook(Moment.BEFORE, stage, disk):
            self._record.skip(path, stage, disk, Phase.OMITTED, OMITTED)
        else:
            await self._retry_loop(path, stage, disk)
            phase = self._record.phase(path)
            if phase is not None and phase.succeeded:
                await self._hook(Moment.AFTER, stage, disk)
        if not self._succeeded((stage.name, disk)):
            self._give_up_sibling(stage, disk)

    # --- hooks

    async def _hook(self, moment: Moment, stage: Stage, disk: str | None) -> bool:
        """Run the hook at this point, unless it has succeeded; returns whether the import continues."""
        hook = at(self._plan, f"{moment}-{stage.name}")
        if hook is None:
            return True
        row = replace(stage, name=hook.point)
        path = self._record.path(row, disk, self._disks)
        phase = self._record.phase(path)
        if phase is not None and phase.succeeded:
            return True
        if self._stopping.is_set():
            return False
        number = self._record.begin(path, row, disk)
        self._changed()
        result = await self._run_hook(hook, disk)
        self._record.end(path, number, result.code, result.words, {})
        if result.code == Exit.DONE:
            self._record.note(path, number, result.words)
            if CONTINUED in result.words:
                self._warn(f"{row.name}: {result.words}")
        self._record.end_stage(path)
        self._changed()
        return result.code == Exit.DONE

    async def _run_hook(self, hook: HookPlan, disk: str | None) -> StepResult:
        known = self._rundir.request / MACHINE
        try:
            machine = Machine.load(known) if known.exists() else None
            name = target_name(self._plan, machine) if machine is not None else ""
            document = HookDocument.of(self._plan, hook, disk, machine, name).to_json()
            return await self._launcher.run_hook(load(self._rundir, hook.name), hook.point, disk, document)
        except OSError as error:
            words = f"cannot run the hook {hook.name}: {error}; correct its command, then retry"
            return StepResult(code=Exit.INVALID, words=words)
        except StepError as error:
            return StepResult(code=error.code, words=str(error))

    def _hook_passed(self, stage: str, disk: str | None) -> bool:
        """Whether the hook after a stage has succeeded, if there is one."""
        hook = at(self._plan, f"{Moment.AFTER}-{stage}")
        if hook is None:
            return True
        row = replace(self._row(stage), name=hook.point)
        phase = self._record.phase(self._record.path(row, disk, self._disks))
        return phase is not None and phase.succeeded

    async def _retry_loop(self, path: str, stage: Stage, disk: str | None) -> None:
        for tried in range(stage.retry.limit + 1):
            attempt = await self._attempt(path, stage, disk)
            if attempt is None:
                return self._end_unstarted(path, stage, disk, tried)
            if attempt.code == Exit.DONE:
                return self._record.end_stage(path)
            if not is_retryable(attempt.code):
                return self._record.end_stage(path, "retryStrategy.expression evaluated to false")
            if tried < stage.retry.limit:
                seconds = min(stage.retry.cap, self._first_delay * stage.retry.factor**tried)
                await self._wait_before_retry(title(stage, disk), seconds)
            if self._stopping.is_set():
                return self._record.end_stage(path, SHUTDOWN)
        return self._record.end_stage(path, "No more retries left")

    def _end_unstarted(self, path: str, stage: Stage, disk: str | None, tried: int) -> None:
        """End a stage that was stopped while it waited for its turn."""
        if tried:
            self._record.end_stage(path, SHUTDOWN)
        else:
            self._record.skip(path, stage, disk, Phase.OMITTED, STOPPED)

    async def _attempt(self, path: str, stage: Stage, disk: str | None) -> StepResult | None:
        """Run one attempt when it is its turn; None if the run is stopped first."""
        if stage.limit is not Limit.STREAMS:
            return await self._process(path, stage, disk)
        async with self._slots.streams:
            return None if self._stopping.is_set() else await self._process(path, stage, disk)

    async def _process(self, path: str, stage: Stage, disk: str | None) -> StepResult:
        number = self._record.begin(path, stage, disk)
        self._changed()

        def progress(done: int, total: int) -> None:
            if self._record.progress(path, number, done, total):
                self._changed()

        try:
            if stage.name == ADMIT:
                self._reserve()
            attempt = await self._launcher.run(stage, disk, progress)
        except OSError as error:  # no process, no space in /tmp: only this stage fails
            words = f"cannot run the step: {error}; fix the problem, then retry"
            attempt = StepResult(code=Exit.INTERNAL, words=words)
        except StepError as error:  # no port for serving, or the name is taken by another import
            attempt = StepResult(code=error.code, words=str(error))
        attempt = self._with_sibling_blamed(attempt, stage, disk)
        self._record.end(path, number, attempt.code, attempt.words, attempt.outputs, attempt.container)
        self._changed()
        return attempt

    def _reserve(self) -> None:
        """Reserve the name and MAC addresses of the VM among the imports of this process.

        Raises:
            StepError: CONFLICT, if another one has one of them.
        """
        machine = Machine.load(self._rundir.request / MACHINE)
        import_ = self._plan.import_
        self._reservations.reserve(f"{import_.namespace}/{import_.name}", shape(self._plan, machine))

    async def _wait_before_retry(self, name: str, seconds: float) -> None:
        if seconds >= 1 and not self._stopping.is_set():
            self._warn(f"{name} failed; retry in {seconds:.0f} s")
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    async def _exit_handler(self) -> None:
        """Release what is held, unless a check refused the import.

        Then nothing was changed, and trying a wrong password twice may lock the account.
        """
        cause = root_cause(self._record.workflow)
        untouched = cause is not None and cause.stage in CHECKS and not is_retryable(cause.exit_code or 1)
        outcome = Phase.FAILED if self._stopping.is_set() or self._record.failed() else Phase.SUCCEEDED
        for stage in self._exit:
            path = self._path(stage.name, None)
            if untouched:
                self._record.skip(path, stage, None, Phase.SKIPPED, "nothing was changed")
            elif stage.name == HALT and outcome is Phase.SUCCEEDED:
                self._record.skip(path, stage, None, Phase.SKIPPED, "the import has succeeded")
            else:
                self._launcher.options[stage.name] = self._exit_options(stage, outcome)
                await self._run_to_end(path, stage, None)
        for leftover in leftovers(observe(self._record.workflow)) or ():
            self._warn(f"left at the source: {leftover}")
        seen = observe(self._record.workflow)
        restored = read_restored(seen) if seen is not None else Restored()
        if restored.mark is MarkState.FAILED:
            self._warn(f"{restored.mark_message}; mark it by hand")

    def _exit_options(self, stage: Stage, outcome: Phase) -> tuple[str, ...]:
        """How the import ended, and for the one with the source whether the VM at the target is stopped."""
        options = ("--outcome", str(outcome))
        if stage.name != RELEASE_SOURCE:
            return options
        runs_vms = any(other.name == HALT for other in self._exit)
        halted = self._record.phase(self._path(HALT, None)) if runs_vms else Phase.SKIPPED
        return (*options, "--halt", str(halted or Phase.OMITTED))

    # --- names

    def _row(self, name: str) -> Stage:
        return next(stage for stage in (*self._stages, *self._exit) if stage.name == name)

    def _path(self, name: str, disk: str | None) -> str:
        return self._record.path(self._row(name), disk, self._disks)

    def _read_disks(self) -> tuple[str, ...]:
        """The disks that preflight found; none if it failed."""
        if not (self._rundir.request / MACHINE).exists():
            return ()
        machine = Machine.load(self._rundir.request / MACHINE)
        for concern in shape(self._plan, machine).concerns:
            if concern.severity is Severity.WARN:
                self._warn(str(concern))
        return tuple(disk.id for disk in machine.disks)

    def _warn_of_room(self) -> None:
        """Warn if this computer has less room than the disks use at the source: zeros are not copied."""
        if not self._disks:
            return
        disks = Machine.load(self._rundir.request / MACHINE).disks
        used = sum(disk.capacity if disk.allocated is None else disk.allocated for disk in disks)
        free = shutil.disk_usage(self._rundir.root).free
        if used > free:
            self._warn(
                f"{self._rundir.root} has {size(free)} free, and the disks use {size(used)} at the source: "
                "the copy may not fit"
            )

    def _warn_of_guest(self) -> None:
        """Show what an inspection has found: the verdict, and the concerns that a person should read."""
        document = self._rundir.request / GUEST_FILE
        if not self._plan.guest.inspect or not document.exists():
            return
        guest = Guest.load(document)
        self._warn(f"guest: {guest.verdict.text}")
        adapted = self._adapted()
        for line in adapted.done if adapted else ():
            self._warn(f"adapted: {line}")
        for concern in (*guest.concerns, *(adapted.concerns if adapted else ())):
            if concern.severity is Severity.WARN and concern.message != guest.verdict.text:
                self._warn(f"guest: {concern}")

    def _warn_of_boot(self) -> None:
        """Show what the boot check has found of a guest that does not simply run."""
        seen = observe(self._record.workflow)
        result = read_boot(seen) if seen else None
        if result is None or result.verdict is Verdict.STUCK:  # that is the message of the stage
            return
        if result.verdict is Verdict.UNKNOWN:
            self._warn(f"boot check: {result.message}")
        for concern in concerns_of(result):
            self._warn(f"boot check: {concern}")

    def _adapted(self) -> Adapted | None:
        document = self._rundir.request / ADAPTED
        return Adapted.load(document) if document.exists() else None

    def _warn_of_admission(self) -> None:
        """Warn about changes that the target would make, and about what could not be checked."""
        seen = observe(self._record.workflow)
        admission = read_admission(seen.output("admit", None, "admission")) if seen else None
        for doubt in admission_warnings(admission) if admission else ():
            self._warn(f"target: {doubt}")
