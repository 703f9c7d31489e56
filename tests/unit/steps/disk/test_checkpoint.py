"""When the state of a landing is saved and kept, without a source and without a writer thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from steps.disk.checkpoint import SAVE_EVERY_BYTES, Checkpoints
from steps.disk.state import LandingState

MIB = 1 << 20
GIB = 1 << 30


class Now:
    """A writer thread that runs each task at once."""

    def __init__(self, file: int) -> None:
        self.file = file

    def run_after_writes(self, action: Callable[[], None]) -> None:
        action()

    def wait_idle(self) -> None:
        pass


class Landing:
    """A landing that has reached `position`."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self.position = 0
        writer: Any = Now(file)
        self.checkpoints = Checkpoints(path, writer, self.snapshot, clock=lambda: 0.0)

    def snapshot(self) -> LandingState:
        return LandingState(key="key", kind="raw", position=self.position)

    def kept(self) -> int:
        state = LandingState.load(self.path, "key")
        return state.position if state else 0


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    file = os.open(tmp_path / "disk", os.O_RDWR | os.O_CREAT)
    yield Landing(tmp_path / "disk.state.json", file)
    os.close(file)


@pytest.mark.parametrize("size", [GIB, 30 * GIB])
def test_a_full_filesystem_loses_less_than_one_percent(landing: Landing, size: int) -> None:
    """The last saved state is kept if a write finds no room; two saved states are at least 8 MiB apart."""
    step = 4 * MIB
    for landing.position in range(step, size, step):
        landing.checkpoints.tick(landing.position)
    landing.checkpoints.save_note()
    assert size - landing.kept() <= max(size // 100, 8 * MIB + 2 * step)


def test_a_kill_loses_at_most_the_bytes_between_two_checkpoints(landing: Landing) -> None:
    step = 4 * MIB
    for landing.position in range(step, 3 * GIB, step):
        landing.checkpoints.tick(landing.position)
        assert landing.position - landing.kept() <= SAVE_EVERY_BYTES + step


def test_out_of_order_blocks_forbid_checkpoints(landing: Landing) -> None:
    landing.checkpoints.disable()
    landing.position = GIB
    landing.checkpoints.tick(GIB)
    landing.checkpoints.save()
    landing.checkpoints.save_note()
    assert landing.kept() == 0
