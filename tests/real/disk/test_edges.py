"""Rare paths: no libdeflate, a silent server, a wrong answer, storage that fails."""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steps.disk import pump
from steps.disk.land import Source
from steps.model.contract import Exit, StepError
from tests.real.disk.conftest import holds
from tests.unit.steps.disk.conftest import fetch
from tests.unit.steps.disk.server import Behaviour, Server
from tests.unit.steps.disk.test_edges import DISK, VMDK


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steps.disk.http_client.IDLE_SECONDS", 0.3)
    monkeypatch.setattr("steps.disk.web.RESUME_PAUSES", (0.0, 0.0))
    monkeypatch.setattr("steps.disk.checkpoint.SAVE_EVERY_BYTES", 1 << 17)


@pytest.mark.usefixtures("impatient")
def test_the_rest_is_requested_after_a_server_stops_sending(tmp_path: Path) -> None:
    how = Behaviour(VMDK, hang_at=len(VMDK) // 3 + 1)
    assert how.hang_at
    with Server(how) as server:
        holds(fetch(Source(server.url, format="vmdk"), tmp_path / "out"), DISK, tmp_path)
    assert how.asked[0] is None
    starts = [0, *(int((asked or "").removeprefix("bytes=").removesuffix("-")) for asked in how.asked[1:])]
    assert len(starts) >= 3
    for start, following in itertools.pairwise(starts):  # bytes that one read already had are sent again
        assert how.hang_at - pump._READ_BYTES <= following - start <= how.hang_at


@pytest.mark.usefixtures("impatient")
def test_silence_without_range_ends_the_attempt_and_keeps_the_data(tmp_path: Path) -> None:
    how = Behaviour(VMDK, ranges=False, hang_at=len(VMDK) // 2)
    with Server(how) as server:
        source = Source(server.url, format="vmdk", identity="disk")
        with pytest.raises(StepError) as caught:
            fetch(source, tmp_path / "out")
        assert caught.value.code is Exit.BROKEN_STREAM
        assert "sent nothing for too long" in str(caught.value)
    how.ranges, how.hang_at = True, None
    with Server(how) as server:
        landed = fetch(Source(server.url, format="vmdk", identity="disk"), tmp_path / "out")
    assert landed.resumed_at > len(VMDK) // 4
    holds(landed, DISK, tmp_path)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("header", ["bytes 7-8/9", "bytes */100", "pages 1-2/3", ""])
def test_a_wrong_content_range_is_an_error(tmp_path: Path, header: str) -> None:
    how = Behaviour(VMDK, cuts=[len(VMDK) // 2], content_range=header)
    with Server(how) as server:
        source = Source(server.url, format="vmdk", identity="disk")
        with pytest.raises(StepError) as caught:
            fetch(source, tmp_path / "out")  # within one attempt, the cut is the reason
        assert caught.value.code is Exit.BROKEN_STREAM
        with pytest.raises(StepError, match="Content-Range") as caught:
            fetch(source, tmp_path / "out")
        assert caught.value.code is Exit.BROKEN_STREAM
        how.content_range = None
        landed = fetch(source, tmp_path / "out")
        assert landed.resumed_at > 0
        holds(landed, DISK, tmp_path)


class Storage:
    """A system call that fails once after a number of calls; `kept` is the state at that time."""

    def __init__(self, name: str, number: int, after: int, out: Path) -> None:
        self.kept = -1
        self._out = out
        self._real: Callable[..., Any] = getattr(os, name)
        self._number = number
        self._after = after

    def __call__(self, *arguments: Any) -> Any:
        self._after -= 1
        if self._after == -1:
            self.kept = kept(self._out)
            raise OSError(self._number, os.strerror(self._number))
        return self._real(*arguments)


def kept(out: Path) -> int:
    """The position of the state next to a disk."""
    body = out.with_name(out.name + ".state.json").read_text().split("\n")[1]
    position: int = json.loads(body)["position"]
    return position


@pytest.mark.parametrize("wanted", ["qcow2", "raw"])
def test_failure_of_the_last_sync_discards_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    """As on NFS, which reports a full disk only then: states that were saved before are not reliable."""
    (tmp_path / "in").write_bytes(VMDK)
    source = Source(f"file://{tmp_path}/in", format="vmdk")

    def fail(_file: int) -> None:
        monkeypatch.undo()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fdatasync", fail)
    with pytest.raises(StepError) as caught:
        fetch(source, tmp_path / "out", format=wanted)
    assert caught.value.code is Exit.NO_SPACE
    assert not (tmp_path / "out.state.json").exists()
    holds(fetch(source, tmp_path / "out", format=wanted), DISK, tmp_path)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("wanted", ["qcow2", "raw"])
@pytest.mark.parametrize(
    ("call", "number", "code"),
    [
        ("pwrite", errno.EIO, Exit.UNREACHABLE),
        ("fdatasync", errno.EIO, Exit.UNREACHABLE),
        ("fdatasync", errno.ENOSPC, Exit.NO_SPACE),
        ("pwrite", errno.EROFS, Exit.INVALID),
    ],
)
def test_failing_storage_leaves_no_wrong_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, call: str, number: int, code: Exit
) -> None:
    """The result of a failed write or sync is never trusted, although the next sync succeeds (fsync(2))."""
    (tmp_path / "in").write_bytes(VMDK)
    monkeypatch.setattr("steps.disk.pump.CHUNK", 1 << 16)
    monkeypatch.setattr("steps.disk.checkpoint.NOTE_EVERY_BYTES", 1 << 14)
    source = Source(f"file://{tmp_path}/in", format="vmdk")
    storage = Storage(call, number, 8 if call == "fdatasync" else 40, tmp_path / "out")
    monkeypatch.setattr(f"os.{call}", storage)
    with pytest.raises(StepError) as caught:
        fetch(source, tmp_path / "out", format=wanted)
    assert caught.value.code is code
    assert str(tmp_path / "out.partial") in str(caught.value)
    assert kept(tmp_path / "out") == storage.kept > 0
    landed = fetch(source, tmp_path / "out", format=wanted)
    assert landed.resumed_at == storage.kept
    holds(landed, DISK, tmp_path)
