"""Embedded imports: creates their folders, runs them in parallel, resumes them."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from controller.local import stale
from controller.local.cluster_target import TARGET, ClusterArguments, ClusterTarget, PortAllocator, save
from controller.local.hooks import save_all
from controller.local.process import Launcher
from controller.local.record import Record
from controller.local.rundir import RunDir
from controller.local.runner import FIRST_DELAY, STOPPED, Runner, TransferSlots
from controller.manifests.resolve import Job
from steps.model import names
from steps.model.collisions import Reservations
from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.naming import target_name
from steps.model.plan import Plan, TargetKind
from steps.model.restore import Restored
from steps.runtime.program import MACHINE, PLAN
from workflows.status import poweredoff
from workflows.status.nodes import Json, Leaf, Phase, leaves, phase_of, root_cause
from workflows.status.observed import observe
from workflows.status.restored import read_restored

TICK: Final = 1.0
"""Seconds between two calls of `Watcher.tick`."""
ORPHANS: Final = 60.0
"""Seconds to wait until the steps of a killed runner have released what they hold."""


class Watcher(Protocol):
    """Displays running imports."""

    def changed(self, name: str, workflow: Json) -> None:
        """Show the new state of a run."""

    def warn(self, name: str, message: str) -> None:
        """Show a warning about a run that continues."""

    def forget(self, name: str) -> None:
        """Show a run no more: it has ended, and others begin."""

    def tick(self) -> None:
        """Called every second, even without a change."""


@dataclass(frozen=True)
class EmbeddedRun:
    """One import in its folder."""

    name: str
    rundir: RunDir
    record: Record
    lock: int


@dataclass(frozen=True)
class ImportResult:
    """The result of an import."""

    name: str
    folder: Path
    phase: Phase
    cause: Leaf | None
    stopped: bool = False
    """Whether a person stopped it."""
    machine: str = ""
    """NAMESPACE/NAME of the VM in a cluster; empty for a folder."""
    note: str = ""
    """Says that the VM is off at its source and how to start it; empty if the import did not power it off."""

    @property
    def code(self) -> int:
        """The exit code of the step that caused the failure."""
        if self.phase is Phase.SUCCEEDED:
            return Exit.DONE
        return (self.cause.exit_code if self.cause else None) or Exit.INTERNAL


def create(jobs: Sequence[Job], into: Path, target: ClusterTarget | None = None) -> list[EmbeddedRun]:
    """Create a folder for each import: `into` itself for one, folders below it for several.

    `target` is the target cluster, None for a folder.

    Raises:
        StepError: CONFLICT, before anything is created, if one of them is taken.
    """
    if len(jobs) == 1:
        folders = [into]
    else:
        RunDir(into).require_free()
        folders = [into / folder_name(job, jobs) for job in jobs]
    for folder in folders:
        RunDir(folder).require_free()
    return [create_one(job, RunDir(folder), target) for job, folder in zip(jobs, folders, strict=True)]


def folder_name(job: Job, jobs: Sequence[Job]) -> str:
    """The import's name, with its namespace if several imports have that name."""
    twice = sum(other.name == job.name for other in jobs) > 1
    return f"{job.plan.import_.namespace}-{job.name}" if twice else job.name


def create_one(job: Job, rundir: RunDir, target: ClusterTarget | None) -> EmbeddedRun:
    """Create the folder of an import, which is free. Raises StepError (CONFLICT) if it cannot be written."""
    try:
        lock = take_lock(rundir)
        rundir.create(job.plan, job.credentials)
        rundir.write_guest_inputs(job.keys, job.scripts)
        save_all(rundir, job.hooks)
        if target is not None:
            save(rundir, target)
    except OSError as error:
        raise StepError(
            Exit.CONFLICT, f"cannot create {rundir.root}", f"{error.strerror}", "choose another --into"
        ) from None
    rundir.reserve_space()
    record = Record.new(job.plan.run, names.labels(job.plan), rundir.save)
    return EmbeddedRun(job.name, rundir, record, lock)


def find(root: Path) -> list[RunDir]:
    """The imports in a folder: the folder itself, or those directly below it.

    Raises:
        StepError: NOT_FOUND.
    """
    if RunDir(root).state.exists():
        return [RunDir(root)]
    imports = of_plan(root) if root.is_dir() else []
    if not imports:
        RunDir(root).require_import()
    return imports


def of_plan(root: Path) -> list[RunDir]:
    """The imports directly below a folder; none if none has started."""
    below = (RunDir(path) for path in sorted(root.iterdir()))
    return [rundir for rundir in below if rundir.state.exists()]


def create_or_reopen(job: Job, rundir: RunDir, target: ClusterTarget | None) -> EmbeddedRun | None:
    """An import in its folder: a new one, or the rest of one that failed; None if it has succeeded.

    One that failed in its checks has changed nothing: it begins again, with what the manifests say now.

    Raises:
        StepError: as `create` and `reopen`.
    """
    if rundir.state.exists() and not rundir.is_untouched():
        return reopen(rundir, job.credentials, job)
    rundir.require_free()
    return create_one(job, rundir, target)


def reopen(
    rundir: RunDir, credentials: dict[str, bytes] | None = None, job: Job | None = None
) -> EmbeddedRun | None:
    """Reopen an import that failed or whose runner was killed; None if it has succeeded.

    `job` has other keys and scripts for the guest than those of the run; None: they stay.

    One whose VM was started at its source begins again from preflight: what was copied is stale.

    Raises:
        StepError: BUSY, if a process works on it; INVALID, if its credentials are missing.
    """
    lock = take_lock(rundir)
    record = Record(rundir.load(), rundir.save)
    plan = Plan.load(rundir.request / PLAN)
    if phase_of(record.workflow) is Phase.SUCCEEDED:
        rundir.delete_leftovers()  # a killed runner may not have done it
        return None
    if credentials is not None:
        rundir.write_credentials(credentials)
        if job is not None:
            rundir.write_guest_inputs(job.keys, job.scripts)
            save_all(rundir, job.hooks)
    elif not rundir.credentials.exists():
        raise StepError(
            Exit.INVALID,
            f"the credentials of {plan.source.name} are missing in {rundir.root}",
            remedy="give the manifests again: vmferry retry DIR -f MANIFESTS",
        )
    rundir.reserve_space()
    if stale.is_stale(record.workflow):
        message = f"{rundir.root}: what was copied is stale; a new run starts from preflight"
        print(message, file=sys.stderr)  # noqa: T201
        record = stale.begin_again(rundir, plan)
    else:
        record.reopen()
    return EmbeddedRun(plan.import_.name, rundir, record, lock)


def set_source_wait(rundir: RunDir, seconds: int) -> None:
    """Change how long the steps wait for a source that does not answer; the caller holds the lock."""
    plan = Plan.load(rundir.request / PLAN)
    changed = plan.source.model_copy(update={"wait_seconds": seconds})
    plan.model_copy(update={"source": changed}).save(rundir.request / PLAN)


def set_virtio_win(rundir: RunDir, path: Path) -> None:
    """Name another virtio-win for an import; the caller holds the lock."""
    plan = Plan.load(rundir.request / PLAN)
    changed = plan.guest.model_copy(update={"virtio_win": str(path.absolute())})
    plan.model_copy(update={"guest": changed}).save(rundir.request / PLAN)


def take_lock(rundir: RunDir) -> int:
    """Take the folder's lock; waits for steps that outlived a killed runner.

    Raises:
        StepError: BUSY.
    """
    start, is_announced = time.monotonic(), False
    while True:
        try:
            lock = rundir.lock()
        except BlockingIOError:
            pass
        else:
            rundir.mark_running()
            return lock
        if rundir.is_running() or time.monotonic() - start > ORPHANS:
            raise StepError(
                Exit.BUSY,
                f"{rundir.root} is in use by another vmferry process",
                remedy="wait for it, or stop it with Ctrl-C in its terminal",
            )
        if not is_announced:
            is_announced = True
            print(f"waiting for the steps of a killed vmferry process in {rundir.root}", file=sys.stderr)  # noqa: T201
        time.sleep(0.2)


async def run_all(
    runs: Sequence[EmbeddedRun], watch: Watcher, *, first_delay: float = FIRST_DELAY
) -> list[ImportResult]:
    """Run imports in parallel to their end; SIGINT and SIGTERM stop them cleanly."""
    shared = Shared.new()
    runners = [make_runner(run, shared, watch, first_delay) for run in runs]

    def stop() -> None:
        for runner in runners:
            runner.stop()

    on_signals(stop)
    ticker = asyncio.create_task(tick(watch))
    phases = await asyncio.gather(*(runner.run() for runner in runners))
    ticker.cancel()
    return [result_of(run, phase) for run, phase in zip(runs, phases, strict=True)]


def on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` at SIGINT and SIGTERM, in the running loop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # a background job of a shell ignores SIGINT
            loop.add_signal_handler(number, stop)


async def tick(watch: Watcher) -> None:
    """Call `watch.tick` every second, even without a change."""
    while True:
        await asyncio.sleep(TICK)
        watch.tick()


class Shared(NamedTuple):
    """What the imports of one process share."""

    slots: TransferSlots
    ports: PortAllocator
    reservations: Reservations

    @classmethod
    def new(cls) -> Shared:
        return cls(TransferSlots(), PortAllocator(), Reservations())


def make_runner(run: EmbeddedRun, shared: Shared, watch: Watcher, first_delay: float) -> Runner:
    def changed() -> None:
        watch.changed(run.name, run.record.workflow)

    def warn(message: str) -> None:
        watch.warn(run.name, message)

    cluster = ClusterArguments(run.rundir, shared.ports) if (run.rundir.notes / TARGET).exists() else None
    launcher = Launcher(run.rundir, run.lock, cluster, warn)
    return Runner(
        *(run.rundir, run.record, launcher, shared.slots, changed, warn),
        reservations=shared.reservations,
        first_delay=first_delay,
    )


def result_of(run: EmbeddedRun, phase: Phase) -> ImportResult:
    if phase is Phase.SUCCEEDED:
        run.rundir.delete_leftovers()
    workflow = run.record.workflow
    stopped = workflow["status"].get("message") == STOPPED
    machine = _cluster_vm(run.rundir) if phase is Phase.SUCCEEDED else ""
    note = "" if phase is Phase.SUCCEEDED else _powered_off_note(run.rundir, workflow)
    return ImportResult(run.name, run.rundir.root, phase, root_cause(workflow), stopped, machine, note)


def _powered_off_note(rundir: RunDir, workflow: Json) -> str:
    machine_file = rundir.request / MACHINE
    if not machine_file.exists():
        return ""
    seen = observe(workflow)
    return poweredoff.note(
        Machine.load(machine_file),
        Plan.load(rundir.request / PLAN).source.kind,
        leaves(workflow),
        restored=read_restored(seen) if seen else Restored(),
    )


def _cluster_vm(rundir: RunDir) -> str:
    plan = Plan.load(rundir.request / PLAN)
    if plan.target.kind is TargetKind.DIRECTORY:
        return ""
    return f"{plan.target.namespace}/{target_name(plan, Machine.load(rundir.request / MACHINE))}"
