"""Makes disks, and calls `land` with defaults for the arguments that most tests do not need."""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steps.disk.land import Landed, Source, land
from steps.runtime.stop import Stop

SECTOR = 512
GRAIN = 1 << 16


@functools.lru_cache(maxsize=8)
def make_disk(size: int, fill: float = 0.5, seed: int = 1) -> bytes:
    """A disk of `size` bytes: some grains random, some text, some partly zero, the others zero."""
    rng = random.Random(seed)
    disk = bytearray(size)
    for at in range(0, size, GRAIN):
        if rng.random() < fill:
            start = at + rng.randrange(0, 8) * SECTOR
            content = rng.choice((rng.randbytes(3000), b"text %d " % at * 900, rng.randbytes(GRAIN)))
            part = content[: min(at + GRAIN, size) - start] if start < size else b""
            disk[start : start + len(part)] = part
    return bytes(disk)


def fetch(source: Source | Path, out: Path, **more: Any) -> Landed:
    """`land` with defaults; a path is a VMDK."""
    if isinstance(source, Path):
        source = Source(f"file://{source}", format="vmdk")
    settings: dict[str, Any] = {"format": "qcow2", "capacity": None, "stop": Stop(), **more}
    settings.setdefault("report", lambda done, total: None)
    return land(source, out, **settings)


@pytest.fixture(autouse=True)
def no_thread_outlives() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert {thread.name for thread in set(threading.enumerate()) - before} == set()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """For thousands of landings: these tests do not need fsync; records span chunks."""
    monkeypatch.setattr("os.fdatasync", lambda file: None)
    monkeypatch.setattr("os.fsync", lambda file: None)
    monkeypatch.setattr("steps.disk.pump.CHUNK", 1 << 13)
