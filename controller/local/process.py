"""Runs a stage as a local process: folders, environment, progress, termination message, exit code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from controller.local import hooks
from controller.local.cluster_target import ClusterArguments
from controller.local.hooks import LocalHook
from controller.local.rundir import RunDir
from controller.local.tempdir import TemporaryFolder, temporary_folder
from controller.step_program import folder_options, read_text
from steps.model.contract import PROGRESS_FILE_ENV, TERMINATION_LOG_ENV, Exit
from steps.model.document import write_atomically
from steps.runtime.program import PARENT_ENV
from workflows.hooks import DOCUMENT
from workflows.stages import SOURCE_CHECK, Stage
from workflows.status.nodes import MAIN

TICK: Final = 0.2
"""Seconds between two reads of a step's progress file."""
PATIENCE: Final = 60.0
"""Seconds that a step has to release what it holds after SIGTERM; then it is killed."""

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class StepResult:
    """How a process of a stage ended."""

    code: int
    words: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    container: str = MAIN
    """The container that would have ended so in a pod: the stage's own, or the check before it."""


class Launcher:
    """Starts and stops the step programs of one import."""

    def __init__(
        self,
        rundir: RunDir,
        lock: int,
        cluster: ClusterArguments | None = None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._rundir = rundir
        self._lock = lock
        self._cluster = cluster
        self._warn = warn
        self.options: dict[str, tuple[str, ...]] = {}
        """Further options of a stage's program, by the stage's name."""
        self._processes: dict[asyncio.subprocess.Process, tuple[str, str | None]] = {}
        self._signals: list[signal.Signals] = []

    async def run(self, stage: Stage, disk: str | None, on_progress: OnProgress) -> StepResult:
        """Run a stage's program to its end. If it succeeds, its documents become part of the request.

        The check of the source runs first, as an init container does.
        """
        if stage.checks_source:
            with temporary_folder() as temp:
                code = await self._process(stage, None, temp, lambda *_: None, program=SOURCE_CHECK)
                if code != Exit.DONE:
                    words = read_text(temp.path / "words")
                    return StepResult(code=code, words=words, container=SOURCE_CHECK)
        # Not in the import's own folder: progress and messages must be written even if that is full.
        with temporary_folder() as temp:
            folder = temp.path
            code = await self._process(stage, disk, temp, on_progress)
            if code == Exit.DONE:
                self._keep_documents(stage, folder)
            return StepResult(code=code, words=read_text(folder / "words"), outputs=_outputs(stage, folder))

    async def run_hook(self, hook: LocalHook, point: str, disk: str | None, document: str) -> StepResult:
        """Run the program of a hook to its end; its exit code is 0 if the import continues.

        Raises:
            OSError: the program cannot be started.
        """
        log = self._rundir.log(point, disk)
        before = len(self._signals)
        with temporary_folder() as temp, log.open("ab") as output:
            start = output.tell()
            file = temp.path / DOCUMENT
            file.write_text(document, encoding="utf-8")
            process = await asyncio.create_subprocess_exec(
                *hook.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=hooks.environment(file),
                start_new_session=True,  # so that its children end with it
                pass_fds=(self._lock, temp.lock),
            )
            self._processes[process] = (point, disk)
            try:
                self._send_signals(process, self._signals[before:])
                late = await _ends_late(process, hook.seconds)
            finally:
                del self._processes[process]
                _kill_session(process)
        if self._signals[before:]:
            return StepResult(code=Exit.STOPPED, words=f"hook {hook.name} was stopped")
        words = hooks.last_words(log, start)
        passed, words = hooks.verdict(hook, process.returncode or 0, words, late=late)
        return StepResult(code=Exit.DONE if passed else Exit.UNSUPPORTED, words=words)

    def terminate(self) -> None:
        """Send SIGTERM to every step; it stops at its next chunk."""
        self._signal(signal.SIGTERM)

    def terminate_one(self, stage: str, disk: str | None) -> None:
        """Send SIGTERM to that one step, if it runs."""
        for process, instance in self._processes.items():
            if instance == (stage, disk):
                self._send_signals(process, [signal.SIGTERM])

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    # --- inside

    async def _process(
        self,
        stage: Stage,
        disk: str | None,
        temp: TemporaryFolder,
        on_progress: OnProgress,
        *,
        program: str = "",
    ) -> int:
        """Run the stage's program, or the given one in its place; returns its exit code."""
        folder = temp.path
        scratch = self._rundir.scratch(disk if disk and stage.scratch else program or stage.name)
        scratch.mkdir(parents=True, exist_ok=True)
        before = len(self._signals)
        with self._rundir.log(stage.name, disk).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self._argv(stage, disk, scratch, folder, program),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**_environment(folder), **(self._cluster.environment() if self._cluster else {})},
                pass_fds=(self._lock, temp.lock),  # both folders stay locked until the last step has ended
            )
        self._processes[process] = (stage.name, disk)
        try:
            self._send_signals(process, self._signals[before:])  # signals sent while it was starting
            code = await self._follow(process, folder / "progress", on_progress, title(stage, disk))
        finally:
            del self._processes[process]
        # An end by a signal, as a shell and Kubernetes show it: 128 + its number.
        return code if code >= 0 else 128 - code

    def _argv(self, stage: Stage, disk: str | None, scratch: Path, folder: Path, program: str) -> list[str]:
        argv = [sys.executable, "-P", "-m", f"steps.{program or stage.program}"]
        argv += folder_options(
            request=self._rundir.request,
            scratch=scratch,
            credentials=self._rundir.credentials,
            outputs=folder / "outputs",
        )
        argv += ["--into", str(self._rundir.root)]
        argv += ["--disk", disk] if disk else []
        argv += ["--disks", str(self._rundir.scratches)] if stage.scratches and not program else []
        if program:
            return argv
        argv += self._guest_inputs() if stage.guest_inputs else []
        argv += self.options.get(stage.name, ())
        return [*argv, *(self._cluster.arguments(stage, disk) if self._cluster else [])]

    def _guest_inputs(self) -> list[str]:
        """The options with the folders of keys and scripts, if the import has some."""
        keys, scripts = self._rundir.keys, self._rundir.scripts
        argv = ["--keys", str(keys)] if keys.exists() else []
        return [*argv, "--scripts", str(scripts)] if scripts.exists() else argv

    async def _follow(
        self, process: asyncio.subprocess.Process, progress: Path, on_progress: OnProgress, name: str
    ) -> int:
        """Report the step's progress until it ends, and warn of a wait for the source once."""
        ended, warned = asyncio.create_task(process.wait()), False
        while True:
            done, _ = await asyncio.wait({ended}, timeout=TICK)
            note = _report_progress(progress, on_progress)
            if note and not warned and not done:
                self._warn(f"{name} {note}")
            warned = bool(note)
            if done:
                return ended.result()

    def _keep_documents(self, stage: Stage, folder: Path) -> None:
        for name in stage.documents:
            write_atomically(self._rundir.request / name, (folder / "outputs" / name).read_text())

    def _signal(self, number: signal.Signals) -> None:
        self._signals.append(number)
        for process in self._processes:
            self._send_signals(process, [number])

    def _send_signals(self, process: asyncio.subprocess.Process, numbers: Iterable[signal.Signals]) -> None:
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)


async def _ends_late(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Wait for the end of a process. One that takes too long is ended, with its children."""
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), hooks.GRACE_SECONDS)
        _kill_session(process)
        await process.wait()
        return True
    return False


def _kill_session(process: asyncio.subprocess.Process) -> None:
    """End what a process has left in its session, and the process itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _environment(folder: Path) -> dict[str, str]:
    (folder / "outputs").mkdir()
    return {
        **os.environ,
        PROGRESS_FILE_ENV: str(folder / "progress"),
        TERMINATION_LOG_ENV: str(folder / "words"),
        "TMPDIR": str(folder),  # leftovers of a killed step are deleted with it
        PARENT_ENV: str(os.getpid()),
    }


def title(stage: Stage, disk: str | None) -> str:
    """The stage's name, with its disk."""
    return f"{stage.name} {disk}" if disk else stage.name


def _report_progress(progress: Path, on_progress: OnProgress) -> str:
    """Report the last line of a progress file; returns the note above it (`steps.runtime.progress.note`)."""
    note, _, last = f"\n{read_text(progress)}".rpartition("\n")
    done, separator, total = last.partition("/")
    if separator and done.isdecimal() and total.isdecimal():
        on_progress(int(done), int(total))
    return note.strip()


def _outputs(stage: Stage, folder: Path) -> dict[str, str]:
    """The results that Argo would read as output parameters: JSON on one line, or a word."""
    outputs = {}
    for path in (folder / "outputs" / name for name in stage.outputs):
        if path.exists():
            text = path.read_text(encoding="utf-8")
            outputs[path.stem] = json.dumps(json.loads(text)) if path.suffix == ".json" else text.strip()
    return outputs
