"""Programs in sessions of their own, found again by pid files and by a mark in their environment."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from .layout import StackError

_MARK: Final = "VMFERRY_OPENSTACK_STACK"
"""A variable in the environment of each program of a stack; its value is the state's path."""

_TERM_SECONDS: Final = 20.0
_TAIL_LINES: Final = 15


class _Process(NamedTuple):
    """Another process may get the same pid; with its start time, in ticks since boot, it is unique."""

    pid: int
    began: int

    def runs(self) -> bool:
        return self.began != 0 and _began(self.pid) == self.began


def _began(pid: int) -> int:
    """0 if there is none, or if only its exit code is left. Fields as in proc(5), after the name."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])


def _end(processes: Sequence[_Process], send: Callable[[int, int], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in filter(_Process.runs, processes):
            with contextlib.suppress(ProcessLookupError):
                send(process.pid, number)
        with contextlib.suppress(TimeoutError):
            wait(lambda: not any(process.runs() for process in processes), _TERM_SECONDS)
            return


class Processes:
    """The processes of one stack; `state` distinguishes it from others on this host."""

    def __init__(self, state: Path) -> None:
        self._run = state / "run"
        self._logs = state / "log"
        self._mark = f"{_MARK}={state}".encode()

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        return {**os.environ, **extra, _MARK: self._mark.decode().partition("=")[2]}

    def start(self, name: str, argv: Sequence[str], extra: Mapping[str, str]) -> None:
        """Start it in the state's folder. It continues after this process ends, so no Popen of it is kept."""
        with self.log(name).open("ab") as log:
            pid = os.posix_spawnp(
                "env",
                ["env", f"--chdir={self._run.parent}", *argv],
                self.environment(extra),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
                ],
                setsid=True,
            )
        (self._run / f"{name}.pid").write_text(f"{pid} {_began(pid)}\n")

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def names(self) -> list[str]:
        """In the order of their start."""
        files = sorted(self._run.glob("*.pid"), key=lambda path: path.stat().st_mtime_ns)
        return [path.stem for path in files]

    def runs(self, name: str) -> bool:
        return self._process(name) is not None

    def _process(self, name: str) -> _Process | None:
        """The process that was started with this name, while it runs."""
        try:
            pid, began = map(int, (self._run / f"{name}.pid").read_text().split())
        except (FileNotFoundError, ValueError):
            return None
        process = _Process(pid, began)
        return process if process.runs() else None

    def stop(self, name: str) -> None:
        """Stop it with its group."""
        process = self._process(name)
        if process is not None:
            _end([process], os.killpg)
        (self._run / f"{name}.pid").unlink(missing_ok=True)

    def stop_all(self, last: Sequence[str]) -> None:
        """Stop everything; the programs in `last` after the others, one after another."""
        names = [name for name in self.names() if name not in last]
        _end([process for name in names if (process := self._process(name))], os.killpg)
        for name in last:
            self.stop(name)
        # children that left their group, and programs of a start that was killed
        _end(list(self._marked()), os.kill)
        for file in self._run.glob("*.pid"):
            file.unlink()

    def _marked(self) -> Iterator[_Process]:
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) == os.getpid():
                continue
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if self._mark in (folder / "environ").read_bytes().split(b"\0"):
                    pid = int(folder.name)
                    yield _Process(pid, _began(pid))

    def tail(self, name: str) -> str:
        """The end of its log, for a message."""
        try:
            lines = self.log(name).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(lines[-_TAIL_LINES:])

    def await_ready(self, name: str, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready` returns true.

        Raises:
            StackError: it ended, or the time is over.
        """

        def settled() -> bool:
            if not self.runs(name):
                raise StackError(f"{name} ended as it started; {self.log(name)} ends with\n{self.tail(name)}")
            return ready()

        try:
            wait(settled, seconds)
        except TimeoutError:
            why = f"{name} was not ready within {seconds:.0f} s; {self.log(name)} ends with"
            raise StackError(f"{why}\n{self.tail(name)}") from None


def wait(condition: Callable[[], bool], seconds: float) -> None:
    """Poll until the condition is true.

    Raises:
        TimeoutError: it was not true within `seconds`.
    """
    until = time.monotonic() + seconds
    pause = 0.02
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)
