"""Temporary folders that a killed vmferry does not leave for good: the next one sweeps them away.

Each holds a file that is locked while somebody who needs the folder lives: its maker, and the steps that
inherit the descriptor. The kernel lets the lock go with the last of them, however they end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PREFIX: Final = "vmferry-"
LOCK: Final = "lock"


@dataclass(frozen=True)
class Temporary:
    """A folder that nobody else can look into, and the lock to hand on to those who work in it."""

    path: Path
    lock: int


@contextmanager
def temporary() -> Iterator[Temporary]:
    """A folder for the time of a `with`."""
    path = Path(tempfile.mkdtemp(prefix=PREFIX))  # 0700
    descriptor = -1
    try:
        descriptor = _locked(path)
        yield Temporary(path, descriptor)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if descriptor >= 0:
            os.close(descriptor)


def _locked(path: Path) -> int:
    """The lock's descriptor. The file gets its name when it is locked: who sweeps never finds it free."""
    unnamed = path / f"{LOCK}.partial"
    descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    unnamed.rename(path / LOCK)
    return descriptor


def sweep() -> list[Path]:
    """Delete our own temporary folders whose makers are gone; returns them."""
    found = Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}")
    return [lock.parent for lock in found if _is_stale(lock) and _delete(lock.parent)]


def _is_stale(lock: Path) -> bool:
    """Whether it is ours and nobody holds it."""
    with contextlib.suppress(OSError):  # gone meanwhile, or not ours to open
        if lock.parent.is_symlink() or lock.parent.stat().st_uid != os.getuid():
            return False
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
        return True
    return False


def _delete(path: Path) -> bool:
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()
