"""Interrupted landings resume: cuts, kills, stops, and sources that changed meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.disk.land import Landed, Source
from tests.unit.steps.disk.conftest import SECTOR, fetch, make_disk
from tests.unit.steps.disk.server import Behaviour, Server
from tests.unit.steps.disk.streamvmdk import stream_vmdk

DISK = make_disk((9 << 20) + 5 * SECTOR, 0.6)
VMDK = bytes(stream_vmdk(DISK).data)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steps.disk.checkpoint.SAVE_EVERY_BYTES", 1 << 17)
    monkeypatch.setattr("steps.disk.pump.CHUNK", 1 << 16)
    monkeypatch.setattr("steps.disk.pump._READ_BYTES", 1 << 14)
    monkeypatch.setattr("steps.disk.web.RESUME_PAUSES", (0.0, 0.0))


def source(url: str, identity: str = "disk 1") -> Source:
    return Source(url, format="vmdk", identity=identity)


def test_a_finished_disk_is_not_read_again(tmp_path: Path) -> None:
    with Server(Behaviour(VMDK)) as server:
        first = fetch(source(server.url), tmp_path / "out")
    again = fetch(source("http://localhost:9/gone"), tmp_path / "out")
    assert (again.source_bytes, again.path, again.source_digest) == (0, first.path, first.source_digest)
    assert Landed.load(tmp_path / "out") == first
