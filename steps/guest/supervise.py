"""Runs a program so that nothing which it starts outlives the caller. Only the standard library.

virt-v2v leaves a qemu-nbd behind when it gives up early, and when it is killed. That holds the lock of a
disk. So the program runs below this one, which is the parent of everything that is orphaned (prctl(2),
PR_SET_CHILD_SUBREAPER). The end of standard input is the order to end: also a killed caller closes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

PATIENCE: Final = 10.0
"""Seconds that the program has after SIGTERM."""
_TICK: Final = 0.2
_PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h


def main(argv: Sequence[str]) -> int:
    """Run `argv`; returns its exit code, as a shell shows it."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    ordered: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ordered.append(number))
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        try:
            while process.poll() is None and not ordered and not _input_ended():
                pass
            _end(process)
        finally:
            _kill_descendants()
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _input_ended() -> bool:
    """Wait a moment for the end of standard input."""
    ready, _, _ = select.select([0], [], [], _TICK)
    return bool(ready) and not os.read(0, 4096)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    for pid in _descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    if process.poll() is None:
        process.kill()


def _kill_descendants() -> None:
    """End the rest, until nothing is left: a new parent may appear between two looks."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        left = list(_descendants(os.getpid()))
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not left:
            return
        select.select([], [], [], 0.05)


def _descendants(root: int) -> Iterator[int]:
    """The processes below one, children before their own children; without zombies."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, IndexError, ValueError):
                # pid (name) state ppid …: the name may have spaces and parentheses (proc(5))
                state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
                if state != "Z":
                    children.setdefault(int(parent), []).append(int(entry.name))
    waiting = list(children.get(root, ()))
    while waiting:
        pid = waiting.pop(0)
        yield pid
        waiting += children.get(pid, ())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
