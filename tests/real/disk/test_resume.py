"""Interrupted landings resume: cuts, kills, stops, and sources that changed meanwhile."""

from __future__ import annotations

import hashlib
import itertools
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from steps.disk.land import Landed, Source
from steps.disk.source import Digest
from steps.disk.state import LandingState
from steps.model.contract import Exit, StepError, Stopped
from steps.runtime.stop import Stop
from tests.real.disk.conftest import front_vmdk, holds
from tests.unit.steps.disk.conftest import SECTOR, fetch, make_disk
from tests.unit.steps.disk.server import Behaviour, Server
from tests.unit.steps.disk.streamvmdk import stream_vmdk
from tests.unit.steps.disk.test_resume import DISK, VMDK, small_steps, source

__all__ = ["small_steps"]

Format = Literal["qcow2", "raw"]
FORMATS = pytest.mark.parametrize("wanted", ["qcow2", "raw"])


def break_at(out: Path, behaviour: Behaviour, cut: int, wanted: Format = "qcow2") -> None:
    """An attempt that reaches byte `cut` and fails."""
    behaviour.cuts = [cut]
    behaviour.ranges, before = False, behaviour.ranges
    with Server(behaviour) as server, pytest.raises(StepError) as caught:
        fetch(source(server.url), out, format=wanted)
    assert caught.value.code is Exit.BROKEN_STREAM
    behaviour.ranges, behaviour.cuts = before, []
    behaviour.asked.clear()


@FORMATS
@pytest.mark.parametrize("seed", range(4))
def test_broken_connections_are_resumed_by_range(tmp_path: Path, seed: int, wanted: Format) -> None:
    rng = random.Random(seed)
    how = Behaviour(VMDK, cuts=[rng.randrange(1, 1 << 20) for _ in range(6)])
    with Server(how) as server:
        landed = fetch(source(server.url), tmp_path / "out", format=wanted)
    holds(landed, DISK, tmp_path)
    assert len(how.asked) >= 3
    assert all(asked for asked in how.asked[1:])


@FORMATS
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_a_later_attempt_resumes(tmp_path: Path, ranges: bool, seed: int, wanted: Format) -> None:
    how = Behaviour(VMDK, ranges=ranges)
    rng, out = random.Random(seed), tmp_path / "out"
    for cut in sorted(rng.sample(range(len(VMDK) // 4, len(VMDK)), 3)):
        break_at(out, how, cut, wanted)
        assert out.with_name("out.state.json").exists()
    with Server(how) as server:
        landed = fetch(source(server.url), out, format=wanted)
    holds(landed, DISK, tmp_path)
    assert (landed.resumed_at > 0) == ranges
    assert how.asked[0]


@pytest.mark.parametrize("front", [True, False])
def test_a_cut_at_any_byte_needs_no_second_attempt(
    tmp_path: Path, front: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the middle of the header, the descriptor, the tables, the directory and the footer."""
    monkeypatch.setattr("steps.disk.pump.CHUNK", 512)
    disk = make_disk((1 << 20) + 5 * SECTOR, 0.3)
    data = front_vmdk(tmp_path, disk) if front else bytes(stream_vmdk(disk).data)
    for cut in (*range(1, 1 << 17, 4093), *range(len(data) - 4096, len(data), 211)):
        out, how = tmp_path / f"out-{cut}", Behaviour(data)
        break_at(out, how, cut)
        how.ranges = cut % 2 == 0
        with Server(how) as server:
            holds(fetch(source(server.url), out), disk, tmp_path)


def test_a_chunked_stream_without_range_is_resumed(tmp_path: Path) -> None:
    how = Behaviour(VMDK, ranges=False, chunked=True, etag="")
    break_at(tmp_path / "out", how, len(VMDK) // 2)
    with Server(how) as server:
        holds(fetch(source(server.url), tmp_path / "out"), DISK, tmp_path)


@FORMATS
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("etag", ['"2"', ""])
def test_changed_content_is_never_mixed_with_the_first(
    tmp_path: Path, ranges: bool, etag: str, wanted: Format
) -> None:
    out, other = tmp_path / "out", make_disk(len(DISK), 0.6, seed=7)
    how = Behaviour(VMDK, ranges=ranges, etag='"1"' if etag else "")
    break_at(out, how, len(VMDK) // 2, wanted)
    how.body, how.etag = bytes(stream_vmdk(other).data), etag
    with Server(how) as server:
        holds(fetch(source(server.url), out, format=wanted), other, tmp_path)


def test_another_identity_starts_over(tmp_path: Path) -> None:
    how = Behaviour(VMDK)
    break_at(tmp_path / "out", how, len(VMDK) // 2)
    with Server(how) as server:
        landed = fetch(source(server.url, "disk 2"), tmp_path / "out")
    assert (landed.resumed_at, how.asked) == (0, [None])
    holds(landed, DISK, tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "1 2\n{}\n", "\0" * 900, None])
def test_a_damaged_state_starts_over(tmp_path: Path, text: str | None) -> None:
    how, state = Behaviour(VMDK), tmp_path / "out.state.json"
    break_at(tmp_path / "out", how, len(VMDK) // 2)
    whole = state.read_text()
    state.write_text(whole[: len(whole) // 2] if text is None else text)
    with Server(how) as server:
        landed = fetch(source(server.url), tmp_path / "out")
    assert landed.resumed_at == 0
    holds(landed, DISK, tmp_path)


@FORMATS
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("position", [len(DISK) + 1, 1 << 40, 1 << 70])
def test_a_state_beyond_the_end_starts_over(
    tmp_path: Path, position: int, ranges: bool, wanted: Format
) -> None:
    raw = Source("", format="raw", identity="disk 1")
    how, out = Behaviour(DISK, ranges=False, cuts=[len(DISK) // 2]), tmp_path / "out"
    with Server(how) as server:
        with pytest.raises(StepError):
            fetch(replace(raw, url=server.url), out, format=wanted)
        memory = LandingState.load(out.with_name("out.state.json"), raw.key(wanted, None))
        assert memory
        how.ranges = ranges
        replace(memory, position=position).save(out.with_name("out.state.json"))
        holds(fetch(replace(raw, url=server.url), out, format=wanted), DISK, tmp_path)


def test_a_stop_during_silence_keeps_what_landed(tmp_path: Path) -> None:
    how, stop = Behaviour(VMDK, hang_at=len(VMDK) // 2), Stop()

    def report(done: int, total: int) -> None:
        assert total == len(VMDK)
        if done > len(VMDK) // 2 - (1 << 17):
            stop.set(signal.SIGTERM)

    with Server(how) as server, pytest.raises(Stopped):
        fetch(source(server.url), tmp_path / "out", stop=stop, report=report)
    how.hang_at = None
    with Server(how) as server:
        landed = fetch(source(server.url), tmp_path / "out")
    assert landed.resumed_at > len(VMDK) // 4
    holds(landed, DISK, tmp_path)


def test_grains_out_of_order_start_over(tmp_path: Path) -> None:
    numbers = list(range(-(-len(DISK) // (1 << 16))))
    numbers[9], numbers[30] = numbers[30], numbers[9]
    how = Behaviour(bytes(stream_vmdk(DISK, order=numbers).data))
    break_at(tmp_path / "out", how, len(VMDK) * 2 // 3)
    with Server(how) as server:
        landed = fetch(source(server.url), tmp_path / "out")
    assert landed.resumed_at == 0
    holds(landed, DISK, tmp_path)


@FORMATS
@pytest.mark.parametrize("again", [False, True], ids=["each from the start", "one after another"])
def test_kill_at_every_step_loses_nothing(tmp_path: Path, wanted: Format, again: bool) -> None:
    (tmp_path / "in").write_bytes(VMDK)
    url, out = f"file://{tmp_path}/in", tmp_path / "out"
    code = 1
    for die_at in itertools.count():
        argv = [sys.executable, "-m", "tests.real.disk.child", url, str(out), wanted]
        code = subprocess.run([*argv, str(die_at)], check=False, capture_output=True).returncode
        if code == 0 or die_at > 60:
            break
        assert code == -signal.SIGKILL
        if not again:
            holds(fetch(Source(url, format="vmdk", identity="child"), out, format=wanted), DISK, tmp_path)
            out.unlink()
            out.with_name("out.landed.json").unlink()
    assert code == 0
    assert die_at > 5
    holds(Landed.load(out), DISK, tmp_path)


@FORMATS
@pytest.mark.parametrize("ranges", [True, False])
def test_raw_disks_are_resumed(tmp_path: Path, wanted: Format, ranges: bool) -> None:
    how, out = Behaviour(DISK, ranges=False, cuts=[len(DISK) // 2]), tmp_path / "out"
    with Server(how) as server:
        raw = Source(server.url, format="raw", identity="raw")
        with pytest.raises(StepError) as caught:
            fetch(raw, out, format=wanted)
        assert caught.value.code is Exit.BROKEN_STREAM
        how.ranges = ranges
        landed = fetch(raw, out, format=wanted)
    assert (landed.resumed_at > 0) == ranges
    holds(landed, DISK, tmp_path)


def test_a_vmdk_with_its_tables_first_is_resumed(tmp_path: Path) -> None:
    data = front_vmdk(tmp_path, DISK)
    how = Behaviour(data)
    break_at(tmp_path / "out", how, len(data) // 2)
    with Server(how) as server:
        landed = fetch(source(server.url), tmp_path / "out")
    assert landed.resumed_at > 0
    holds(landed, DISK, tmp_path)


# --- without a proof that the file is the same, nothing is resumed


OTHER = make_disk(len(DISK), 0.6, seed=7)
NO_PROOF = pytest.mark.parametrize(
    ("etag", "modified"),
    [
        ("", ""),
        ('W/"1"', ""),
        ("", "Wed, 21 Oct 2026 07:28:00 GMT"),
        ('W/"1"', "Wed, 21 Oct 2026 07:28:00 GMT"),
    ],
    ids=["nothing", "weak", "time", "weak-and-time"],
)


def raw_source(url: str, **more: object) -> Source:
    return replace(Source(url, format="raw", identity="raw"), **more)  # type: ignore[arg-type]


def interrupted(out: Path, how: Behaviour, wanted: Format, **more: object) -> None:
    """A first attempt that gets half of the disk."""
    how.cuts, how.ranges = [len(DISK) // 2], False
    with Server(how) as server, pytest.raises(StepError) as caught:
        fetch(raw_source(server.url, **more), out, format=wanted)
    assert caught.value.code is Exit.BROKEN_STREAM
    assert out.with_name("out.state.json").exists()
    how.ranges = True
    how.asked.clear()


@FORMATS
@NO_PROOF
@pytest.mark.parametrize("changed", [True, False])
def test_without_a_proof_a_later_attempt_compares_the_data(
    tmp_path: Path, wanted: Format, etag: str, modified: str, changed: bool
) -> None:
    """Another disk of the same size and name, as a nightly build writes it."""
    how, out = Behaviour(DISK, etag=etag, modified=modified), tmp_path / "out"
    interrupted(out, how, wanted)
    kept = out.with_name("out.partial").stat().st_ino
    how.body = OTHER if changed else DISK
    with Server(how) as server:
        landed = fetch(raw_source(server.url), out, format=wanted)
    holds(landed, how.body, tmp_path)
    assert (landed.resumed_at, landed.source_bytes) == (0, len(DISK))
    assert landed.path.stat().st_ino == kept


@FORMATS
@NO_PROOF
def test_without_a_proof_a_broken_stream_is_not_resumed(
    tmp_path: Path, wanted: Format, etag: str, modified: str
) -> None:
    """The file is replaced exactly when the connection breaks."""
    how, out = Behaviour(DISK, etag=etag, modified=modified, cuts=[len(DISK) // 2]), tmp_path / "out"

    def replaced() -> None:
        how.body = OTHER

    with Server(how) as server:
        with pytest.raises(StepError) as caught:
            fetch(raw_source(server.url, interrupted=replaced), out, format=wanted)
        assert caught.value.code is Exit.BROKEN_STREAM
        assert how.body is OTHER
        landed = fetch(raw_source(server.url), out, format=wanted)
    holds(landed, OTHER, tmp_path)


@pytest.mark.parametrize("now", ["sha512:aa", "sha512:bb", ""])
def test_a_digest_of_the_source_is_a_proof(tmp_path: Path, now: str) -> None:
    """Glance sends no ETag, but knows the digest of each image."""
    how, out = Behaviour(DISK, etag=""), tmp_path / "out"
    interrupted(out, how, "raw", validator="sha512:aa")
    with Server(how) as server:
        landed = fetch(raw_source(server.url, validator=now), out, format="raw")
    holds(landed, DISK, tmp_path)
    assert (landed.resumed_at > 0) == (now == "sha512:aa")
    assert all("If-Range" not in asked for asked in how.headers)


def test_a_digest_of_all_bytes_is_a_proof_within_an_attempt(tmp_path: Path) -> None:
    how = Behaviour(DISK, etag="", cuts=[len(DISK) // 2])
    for content, digest in ((DISK, DISK), (OTHER, DISK)):
        how.body, how.cuts = DISK, [len(DISK) // 2]

        def replaced(content: bytes = content) -> None:
            how.body = content

        wanted = Digest("sha256", hashlib.sha256(digest).hexdigest(), "disk")
        with Server(how) as server:
            given = raw_source(server.url, digest=wanted, interrupted=replaced, identity=str(len(how.asked)))
            if content is digest:
                holds(fetch(given, tmp_path / "out", format="raw"), DISK, tmp_path)
                assert len(how.asked) == 2
                continue
            with pytest.raises(StepError) as caught:
                fetch(given, tmp_path / "other", format="raw")
        assert caught.value.code is Exit.CORRUPT
