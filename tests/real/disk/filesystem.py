"""Filesystems with a small, real size."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def filesystem(kind: str, folder: Path, size: int) -> Iterator[Path]:
    """A new filesystem of `size` bytes."""
    if os.geteuid():
        pytest.skip("mounting needs root")
    at, image = folder / kind, folder / f"{kind}.image"
    at.mkdir()
    how = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs"]
    if kind == "ext4":
        image.touch()
        os.truncate(image, size)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", image], check=True)
        how = ["-o", "loop", str(image)]
    if subprocess.run(["mount", *how, at], check=False).returncode:
        pytest.skip("no mount allowed here")
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


@contextmanager
def full(at: Path, left: int = 0) -> Iterator[None]:
    """While the body runs, a ballast file uses all room at `at` except `left` bytes."""
    ballast = at / "ballast"
    room = os.statvfs(at)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - left)
    try:
        yield
    finally:
        ballast.unlink()
