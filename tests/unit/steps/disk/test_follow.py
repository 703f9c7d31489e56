"""A volume is read back behind the writer, by another process, while the rest still arrives."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.disk import proof
from steps.disk.follow import Followed, Follower, following
from steps.disk.landed import Landed
from steps.disk.readback import read_back
from steps.disk.sink import CLUSTER
from steps.disk.volume import Volume, VolumeFiles
from steps.model.contract import Exit, StepError
from tests.unit.steps.disk.server import Behaviour, Server
from tests.unit.steps.disk.streamvmdk import stream_vmdk
from tests.unit.steps.disk.test_volume import (
    BOTH,
    DISK,
    VMDK,
    KilledError,
    MakeVolume,
    cannot_discard,
    holds_the_disk,
    landed_on,
    on_device,
    on_filesystem,
    proved,
    small_steps,
)

__all__ = ["small_steps"]
SECONDS = 120.0


def at_the_middle(do: Callable[[], object]) -> Callable[[int, int], None]:
    """Progress callback that calls `do` once, when half of the bytes have arrived."""
    done: list[int] = []

    def report(now: int, _total: int) -> None:
        if now > len(VMDK) // 2 and not done:
            done.append(now)
            do()

    return report


def reads_from(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where the proof begins to read."""
    starts: list[int] = []
    real = read_back

    def noted(*arguments: object, start: int = 0, **named: object) -> object:
        starts.append(start)
        return real(*arguments, start=start, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(proof, "read_back", noted)
    return starts


def record(volume: Volume) -> Followed | None:
    files = VolumeFiles(volume)
    return Followed.load(files, Landed.load(files.out).key)


@BOTH
def test_the_proof_reads_only_what_nobody_has_read_behind_the_writer(
    tmp_path: Path, made: MakeVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, starts = made(tmp_path), reads_from(monkeypatch)
    follower = Follower(volume)
    with Server(Behaviour(VMDK)) as server:
        landed_on(volume, server.url, report=at_the_middle(follower.step))
    found = record(volume)
    assert found is not None
    assert 0 < found.until < len(DISK)
    assert found.differs_at is None
    proved(volume)
    assert starts == [found.until]
    assert holds_the_disk(volume)


@BOTH
def test_a_byte_that_changes_while_the_rest_arrives_is_found(tmp_path: Path, made: MakeVolume) -> None:
    volume = made(tmp_path)
    place = next(at for at in range(0, len(DISK), CLUSTER) if DISK[at : at + CLUSTER].strip(b"\0"))

    def change_and_look() -> None:
        with volume.disk.open("r+b") as disk:
            disk.seek(place)
            byte = disk.read(1)
            disk.seek(place)
            disk.write(bytes([byte[0] ^ 4]))
        assert not Follower(volume).step()

    with Server(Behaviour(VMDK)) as server:
        landed_on(volume, server.url, report=at_the_middle(change_and_look))
        with pytest.raises(StepError) as caught:
            proved(volume)
        assert caught.value.code is Exit.CORRUPT
        assert f"byte {place}" in str(caught.value)
        landed_on(volume, server.url)
    proved(volume)
    assert holds_the_disk(volume)


@BOTH
def test_another_attempt_goes_on_where_it_was_read(
    tmp_path: Path, made: MakeVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, starts = made(tmp_path), reads_from(monkeypatch)

    def look_and_die() -> None:
        Follower(volume).step()
        raise KilledError

    with Server(Behaviour(VMDK)) as server:
        with pytest.raises(KilledError):
            landed_on(volume, server.url, report=at_the_middle(look_and_die))
        landed_on(volume, server.url)
    proved(volume)
    assert starts[0] > 0


@BOTH
def test_what_was_read_of_another_landing_does_not_count(
    tmp_path: Path, made: MakeVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, starts = made(tmp_path), reads_from(monkeypatch)

    def look_and_die() -> None:
        Follower(volume).step()
        raise KilledError

    with Server(Behaviour(VMDK)) as server:
        with pytest.raises(KilledError):
            landed_on(volume, server.url, report=at_the_middle(look_and_die))
        files = VolumeFiles(volume)
        files.state.unlink()  # the next attempt starts from the first byte
        landed_on(volume, server.url)
    proved(volume)
    assert starts == [0]


def test_blocks_out_of_order_are_read_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block may be written again after it was read."""
    volume, starts = on_filesystem(tmp_path), reads_from(monkeypatch)
    count = -(-len(DISK) // CLUSTER)
    order = [*range(1, count), 0]
    with Server(Behaviour(bytes(stream_vmdk(DISK, order=order).data))) as server:
        landed_on(volume, server.url, report=at_the_middle(Follower(volume).step))
    assert VolumeFiles(volume).rewritten.exists()
    proved(volume)
    assert starts == [0]
    assert holds_the_disk(volume)


def test_a_device_that_gets_its_zeros_at_the_end_is_read_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cannot_discard(monkeypatch)
    volume, starts = on_device(tmp_path), reads_from(monkeypatch)
    with Server(Behaviour(VMDK)) as server:
        landed_on(volume, server.url, report=at_the_middle(Follower(volume).step))
    proved(volume)
    assert starts == [0]


def test_the_process_reads_while_the_disk_arrives(tmp_path: Path) -> None:
    volume = on_filesystem(tmp_path)

    def wait() -> None:
        end = time.monotonic() + SECONDS
        while not VolumeFiles(volume).followed.exists():
            assert time.monotonic() < end, "nothing was read"
            time.sleep(0.1)

    with Server(Behaviour(VMDK)) as server, following(volume):
        landed_on(volume, server.url, report=at_the_middle(wait))
    found = record(volume)
    assert found is not None
    assert found.until > 0
    proved(volume)


def test_a_copy_does_not_depend_on_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    volume = on_filesystem(tmp_path)
    with Server(Behaviour(VMDK)) as server, following(volume):
        landed_on(volume, server.url)
    proved(volume)
