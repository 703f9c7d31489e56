"""Temporary folders. The next vmferry deletes those that a killed vmferry left.

Each contains a file that is locked while a process needs the folder: its creator, and the steps that inherit
the descriptor. The kernel releases the lock when the last of them ends, however it ends.
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
class TemporaryFolder:
    """A private folder, and the lock to pass to the processes that work in it."""

    path: Path
    lock: int


@contextmanager
def temporary_folder() -> Iterator[TemporaryFolder]:
    """A folder for the duration of a `with`."""
    path = Path(tempfile.mkdtemp(prefix=PREFIX))  # 0700
    descriptor = -1
    try:
        descriptor = _lock(path)
        yield TemporaryFolder(path, descriptor)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if descriptor >= 0:
            os.close(descriptor)


def _lock(path: Path) -> int:
    """The lock's descriptor. The file gets its name once it is locked: `delete_stale` never finds it free."""
    unnamed = path / f"{LOCK}.partial"
    descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    unnamed.rename(path / LOCK)
    return descriptor


def delete_stale() -> list[Path]:
    """Delete temporary folders of this user without a live process; returns their paths."""
    locks = Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}")
    return [lock.parent for lock in locks if _is_stale(lock) and _delete(lock.parent)]


def _is_stale(lock: Path) -> bool:
    """Whether this user owns it and no process holds it."""
    with contextlib.suppress(OSError):  # deleted meanwhile, or not accessible
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
