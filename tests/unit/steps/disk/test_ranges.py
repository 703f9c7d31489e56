"""A disk whose places with data are known: only these are read, and nothing else can get onto the disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from steps.disk.ranges import BLOCK, RangesBody
from steps.disk.source import Source, Validators
from steps.model.contract import Exit, StepError, Stopped
from steps.runtime.stop import Stop
from tests.unit.steps.disk.conftest import fetch, make_disk
from tests.unit.steps.disk.server import Behaviour, Server

MIB = 1 << 20
SIZE = 12 * MIB
DATA = ((0, 3 * MIB), (5 * MIB, 5 * MIB + 512), (SIZE - 1024, SIZE))
DISK = b"".join(
    make_disk(SIZE, fill=1.0)[start:end] if used else bytes(end - start)
    for start, end, used in (
        (0, 3 * MIB, True),
        (3 * MIB, 5 * MIB, False),
        (5 * MIB, 5 * MIB + 512, True),
        (5 * MIB + 512, SIZE - 1024, False),
        (SIZE - 1024, SIZE, True),
    )
)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steps.disk.ranges.RESUME_PAUSES", (0.0, 0.0, 0.0))


def source(server: Server, **changes: object) -> Source:
    base = Source(
        server.url, length=SIZE, format="raw", identity="disk", validator="v1", data=DATA, readers=2
    )
    return replace(base, **changes)  # type: ignore[arg-type] # fields of a Source


@pytest.mark.parametrize("disk_format", ["raw", "qcow2"])
def test_only_places_with_data_are_read(tmp_path: Path, disk_format: str) -> None:
    how = Behaviour(DISK)
    with Server(how) as server:
        landed = fetch(source(server), tmp_path / "out", format=disk_format, capacity=SIZE)
    assert landed.virtual_size == SIZE
    if disk_format == "raw":
        assert (tmp_path / "out").read_bytes() == DISK
    asked = sorted(how.asked, key=lambda text: int(str(text).split("=")[1].split("-")[0]))
    assert asked == [f"bytes={start}-{end - 1}" for start, end in DATA]


def test_large_places_are_read_in_blocks(tmp_path: Path) -> None:
    how = Behaviour(make_disk(3 * BLOCK + 512))
    with Server(how) as server:
        whole = source(server, length=3 * BLOCK + 512, data=((0, 3 * BLOCK + 512),))
        fetch(whole, tmp_path / "out", format="raw")
    assert (tmp_path / "out").read_bytes() == how.body
    assert len(how.asked) == 4


def test_a_broken_connection_costs_only_the_rest_of_a_range(tmp_path: Path) -> None:
    how, interrupted = Behaviour(DISK, cuts=[100_000, 7]), []
    with Server(how) as server:
        fetch(source(server, interrupted=lambda: interrupted.append(1)), tmp_path / "out", format="raw")
    assert (tmp_path / "out").read_bytes() == DISK
    assert interrupted
    # Several readers ask at the same time: either cut may hit the range that is long enough for it.
    starts = {int(str(asked).removeprefix("bytes=").partition("-")[0]) for asked in how.asked}
    assert any(start + cut in starts for start in starts for cut in (100_000, 7))


def test_an_attempt_resumes_where_the_last_one_stopped(tmp_path: Path) -> None:
    with Server(Behaviour(DISK)) as server:
        first = source(server)
        stop = Stop()

        def report(done: int, _total: int) -> None:
            if done >= 6 * MIB:
                stop.set()

        with pytest.raises(Stopped):
            fetch(first, tmp_path / "out", format="raw", report=report, stop=stop)
        landed = fetch(first, tmp_path / "out", format="raw")
    assert landed.resumed_at > 0
    assert (tmp_path / "out").read_bytes() == DISK


@pytest.mark.parametrize(
    ("how", "code"),
    [
        (Behaviour(DISK, status=403), Exit.DENIED),
        (Behaviour(DISK, status=404), Exit.NOT_FOUND),
        (Behaviour(DISK, status=503), Exit.UNREACHABLE),
        (Behaviour(DISK, ranges=False), Exit.BROKEN_STREAM),
        (Behaviour(DISK, content_range="bytes 1-2/3"), Exit.BROKEN_STREAM),
        (Behaviour(DISK, content_range="nonsense"), Exit.BROKEN_STREAM),
        (Behaviour(DISK, chunked=True), Exit.BROKEN_STREAM),
        (Behaviour(DISK[: 2 * MIB]), Exit.BROKEN_STREAM),
        (Behaviour(DISK, cuts=[0] * 100), Exit.BROKEN_STREAM),
    ],
    ids=["403", "404", "503", "no ranges", "other range", "bad range", "chunked", "short", "always cut"],
)
def test_an_answer_that_is_not_the_range_is_an_error(tmp_path: Path, how: Behaviour, code: Exit) -> None:
    with Server(how) as server, pytest.raises(StepError) as caught:
        fetch(source(server), tmp_path / "out", format="raw")
    assert caught.value.code is code
    assert not (tmp_path / "out").exists()


def read_all(body: RangesBody) -> bytes:
    buffer, found = memoryview(bytearray(100_000)), bytearray()
    while count := body.readinto(buffer):
        found += buffer[:count]
    return bytes(found)


def test_a_body_can_be_opened_again_at_another_place() -> None:
    with Server(Behaviour(DISK)) as server:
        body = RangesBody(source(server))
        body.open(0, Validators())
        body.readinto(memoryview(bytearray(1000)))
        for position in (2 * MIB, 4 * MIB, 5 * MIB + 100, SIZE - 1, SIZE, 0):
            body.open(position, Validators())
            assert read_all(body) == DISK[position:]
        body.close()


def test_an_abort_ends_a_wait() -> None:
    with Server(Behaviour(DISK, hang_at=10)) as server:
        body = RangesBody(source(server))
        body.open(0, Validators())
        body._request_ahead()
        server_is_asked(lambda: len(server.how.asked))
        body.abort()
        with pytest.raises((Stopped, StepError)):
            body.readinto(memoryview(bytearray(10)))
        body.close()


def server_is_asked(count: Callable[[], int]) -> None:
    """Wait until a request has arrived."""
    end = time.monotonic() + 60
    while not count():
        assert time.monotonic() < end
        time.sleep(0.01)
