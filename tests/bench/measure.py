"""The cost of a program: wall and CPU seconds, peak memory, bytes written, and how busy the host was."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

LOOK: Final = 0.05
"""Seconds between two measurements of a program's files."""
LAUNCH: Final = str(Path(__file__).with_name("launch.py"))
_TICK: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """Seconds, KiB and bytes; `cpu` includes all children, `memory` is that of the largest process.

    `peak` is the largest size of the files in the program's folder, `carried` the bytes over the network, if
    they are counted. `foreign` is how many cores other processes used meanwhile.
    """

    wall: float
    cpu: float
    memory: int
    written: int
    peak: int = 0
    carried: int = 0
    foreign: float = 0
    walls: tuple[float, ...] = ()
    """The wall seconds of every run, if there was more than one."""

    @property
    def usual(self) -> float:
        """Wall seconds of the median run: with a coarse throttle, the least value depends on luck."""
        return statistics.median(self.walls or (self.wall,))

    def least(self, other: Cost) -> Cost:
        """The smaller figure of each kind, which removes the noise of the host."""
        quicker = min(self, other, key=lambda cost: cost.wall)
        return replace(
            quicker,
            cpu=min(self.cpu, other.cpu),
            memory=min(self.memory, other.memory),
            written=min(self.written, other.written),
            peak=min(self.peak, other.peak),
            walls=(self.walls or (self.wall,)) + (other.walls or (other.wall,)),
        )


class Failed(Exception):  # noqa: N818 - what is measured did not work
    """A measured program failed; it has no figure."""


def cost_of(argv: Sequence[str], folder: Path) -> Cost:
    """Run a program in `folder`, which must contain only what the program writes."""
    with tempfile.NamedTemporaryFile() as result, _busy() as busy, _peak(folder) as peak:
        launch = [sys.executable, "-I", "-S", LAUNCH, result.name, *argv]
        done = subprocess.run(
            launch, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            raise Failed(f"{argv[0]} failed: {done.stderr}")
        measured = json.loads(Path(result.name).read_text())
    return Cost(**measured, peak=peak[0], foreign=busy[0] / measured["wall"])


@contextlib.contextmanager
def _peak(folder: Path) -> Iterator[list[int]]:
    """The most bytes that the files in `folder` take while the body runs; complete after it."""
    most, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(LOOK):
            most[0] = max(most[0], space(folder))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()
        most[0] = max(most[0], space(folder))


def space(folder: Path) -> int:
    """The size in bytes of the files in `folder`; files and folders may disappear meanwhile."""
    total = 0
    for parent, _, files in os.walk(folder):  # Path.rglob raises for a folder that disappears
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += Path(parent, name).stat().st_blocks * 512
    return total


@contextlib.contextmanager
def _busy() -> Iterator[list[float]]:
    """CPU seconds that processes other than ours used while the body runs; complete after it."""
    used = [0.0]
    before = _all_ticks() - _own_ticks()
    yield used
    used[0] = max(0.0, (_all_ticks() - _own_ticks() - before) / _TICK)


def _all_ticks() -> int:
    """Of the whole host, with what its hypervisor took (proc(5), /proc/stat; no idle, no iowait)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4]


def _own_ticks() -> int:
    """Of this process and its descendants, including children that have ended."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            pid = int(path.parent.name)
            parents[pid], ticks[pid] = int(fields[1]), sum(map(int, fields[11:15]))
    return sum(count for pid, count in ticks.items() if _is_ours(pid, parents))


def _is_ours(pid: int, parents: dict[int, int]) -> bool:
    while pid and pid != os.getpid():
        pid = parents.get(pid, 0)
    return pid != 0


def wait_for_quiet(patience: float) -> None:
    """Wait until other processes leave the host idle for a second, for at most `patience` seconds."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with _busy() as used:
            time.sleep(1)
        if used[0] < QUIET:
            return


QUIET: Final = 0.3
"""Cores that other processes may use: with more, a time depends mostly on them."""
