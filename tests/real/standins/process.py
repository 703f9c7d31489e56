"""The stand-ins as a separate process, for tests."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from tests.real.standins.crds import FOLDER
from tests.real.standins.lab import Lab

START: Final = 240.0
"""Seconds until the ready line: the API server accepts new kinds, and a real Harvester starts."""
END: Final = 60.0
T = TypeVar("T")


def lab() -> Lab:
    """The lab that LAB_NAME names, or the default one. Raises NoLabError."""
    name = os.environ.get("LAB_NAME", "lab")
    return Lab.of(FOLDER / ("kubeconfig" if name == "lab" else f"kubeconfig-{name}"))


@contextlib.contextmanager
def running(where: Lab, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m tests.real.standins` from its ready line to its end; its log is `STATE/standins.log`.

    If no option sets it, VMFERRY_HARVESTER determines whether Harvester is `played` (the default) or `real`.
    """
    where.state.mkdir(parents=True, exist_ok=True)
    played = ("--harvester", os.environ.get("VMFERRY_HARVESTER", "played"))
    argv = [
        sys.executable,
        "-m",
        "tests.real.standins",
        "--kubeconfig",
        str(where.kubeconfig),
        *played,
        *options,
    ]
    with (where.state / "standins.log").open("ab") as log:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, cwd=FOLDER.parents[1])
    try:
        _await_ready(process, where.state / "standins.log")
        yield process
    finally:
        _end(process)
    if process.returncode != 0:
        raise RuntimeError(f"the stand-ins ended with {process.returncode}: see {where.state}/standins.log")


@contextlib.contextmanager
def reserved(where: Lab) -> Iterator[None]:
    """Wait until no other test uses the stand-ins of this lab, and lock them."""
    where.state.mkdir(parents=True, exist_ok=True)
    with (where.state / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END)
    finally:
        process.kill()
        if process.stdout:
            process.stdout.close()


def _await_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout or 0, selectors.EVENT_READ)
        first_line = process.stdout.readline() if process.stdout and selector.select(START) else b""
    if not first_line.startswith(b"stand-ins ready"):
        raise RuntimeError(f"the stand-ins are not ready within {START:.0f} s: see {log}")


def eventually(look: Callable[[], T | None], what: str, seconds: float = 60.0) -> T:
    """Wait for `look` to return something true, and return it. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)
    return found
