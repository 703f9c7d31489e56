"""A disk lands directly on its volume: a filesystem, or a block device that holds an earlier owner's bytes.

A file stands in for a device. In some tests it cannot discard, like thick volumes of some storage.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from steps.disk import volume_sink
from steps.disk.blank import land_blank
from steps.disk.land import Source, land
from steps.disk.proof import prove
from steps.disk.sink import CLUSTER
from steps.disk.volume import Volume, VolumeFiles
from steps.model.contract import Exit, StepError, Stopped
from steps.runtime.stop import Stop
from tests.unit.steps.disk.conftest import SECTOR, fetch, make_disk
from tests.unit.steps.disk.server import Behaviour, Server
from tests.unit.steps.disk.streamvmdk import stream_vmdk

DISK: Final = make_disk((9 << 20) + 5 * SECTOR, 0.6)
VMDK: Final = bytes(stream_vmdk(DISK).data)
LARGER: Final = len(DISK) + 3 * CLUSTER
"""Bytes of a device: storage rounds up."""

MakeVolume = Callable[[Path], Volume]


class KilledError(Exception):
    """The process died: nothing is saved."""


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steps.disk.checkpoint.SAVE_EVERY_BYTES", 1 << 17)
    monkeypatch.setattr("steps.disk.pump.CHUNK", 1 << 16)
    monkeypatch.setattr("steps.disk.pump._READ_BYTES", 1 << 14)
    monkeypatch.setattr("steps.disk.web.RESUME_PAUSES", (0.0, 0.0))


def on_filesystem(folder: Path) -> Volume:
    (folder / "disk").mkdir(exist_ok=True)
    (folder / "notes").mkdir(exist_ok=True)
    return Volume(folder / "notes", folder / "disk", is_device=False)


def on_device(folder: Path) -> Volume:
    """A device full of the bytes of its earlier owner."""
    place = folder / "device"
    (folder / "notes").mkdir(exist_ok=True)
    if not place.exists():
        place.write_bytes(random.Random(7).randbytes(LARGER))
    return Volume(folder / "notes", place, is_device=True)


BOTH: Final = pytest.mark.parametrize("made", [on_filesystem, on_device])


def cannot_discard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_sink, "punch", lambda *_: False)


def a_source(url: str, identity: str = "disk 1") -> Source:
    return Source(url, format="vmdk", identity=identity)


def landed_on(volume: Volume, url: str, **more: Any) -> None:
    given = {"format": "raw", "capacity": len(DISK), "stop": Stop(), "report": lambda *_: None, **more}
    land(a_source(url), volume, **given)


def proved(volume: Volume) -> None:
    prove(volume, "disk-0", len(DISK), report=lambda *_: None, stop=Stop())


def holds_the_disk(volume: Volume) -> bool:
    """The disk, and nothing of an earlier owner behind it."""
    content = volume.disk.read_bytes()
    return content[: len(DISK)] == DISK and not content[len(DISK) :].strip(b"\0")


@BOTH
def test_the_volume_holds_the_disk_and_nothing_else(tmp_path: Path, made: MakeVolume) -> None:
    volume = made(tmp_path)
    with Server(Behaviour(VMDK)) as server:
        landed_on(volume, server.url)
    proved(volume)
    assert holds_the_disk(volume)
    if not volume.is_device:
        assert [one.name for one in volume.place.iterdir()] == ["disk.img"]
        assert volume.disk.stat().st_mode & 0o777 == 0o660
        assert volume.disk.stat().st_size == len(DISK)


def test_a_file_has_holes_for_zeros(tmp_path: Path) -> None:
    sparse = bytes(8 << 20) + random.Random(1).randbytes(CLUSTER) + bytes(8 << 20)
    volume = on_filesystem(tmp_path)
    with Server(Behaviour(bytes(stream_vmdk(sparse).data))) as server:
        landed_on(volume, server.url, capacity=len(sparse))
    assert volume.disk.stat().st_blocks * 512 < 1 << 20
    prove(volume, "disk-0", len(sparse), report=lambda *_: None, stop=Stop())


def test_a_device_that_cannot_discard_gets_zeros_where_it_holds_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cannot_discard(monkeypatch)
    volume = on_device(tmp_path)
    with Server(Behaviour(VMDK)) as server:
        landed_on(volume, server.url)
    proved(volume)
    assert holds_the_disk(volume)


def test_a_device_of_zeros_that_cannot_discard_is_not_written_in_its_gaps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cannot_discard(monkeypatch)
    (tmp_path / "device").touch()
    os.truncate(tmp_path / "device", 64 << 20)
    sparse = random.Random(1).randbytes(CLUSTER) + bytes((64 << 20) - CLUSTER)
    volume = on_device(tmp_path)
    with Server(Behaviour(bytes(stream_vmdk(sparse).data))) as server:
        landed_on(volume, server.url, capacity=len(sparse))
    assert volume.disk.stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("discards", [True, False])
@pytest.mark.parametrize("seed", range(6))
@BOTH
def test_a_landing_resumes_on_the_volume_after_a_kill_anywhere(
    tmp_path: Path, made: MakeVolume, seed: int, discards: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not discards:
        cannot_discard(monkeypatch)
    volume, rng = made(tmp_path), random.Random(seed)
    for _ in range(3):
        at = rng.randrange(1, len(VMDK))

        def killed(done: int, _total: int, at: int = at) -> None:
            if done > at:
                raise KilledError

        with Server(Behaviour(VMDK)) as server, contextlib.suppress(KilledError):
            landed_on(volume, server.url, report=killed)
    with Server(Behaviour(VMDK)) as server:
        landed_on(volume, server.url)
    proved(volume)
    assert holds_the_disk(volume)


@BOTH
def test_what_a_killed_attempt_wrote_behind_its_checkpoint_does_not_stay(
    tmp_path: Path, made: MakeVolume
) -> None:
    """The next attempt may have zeros there, as another source of the same name has."""
    volume = made(tmp_path)
    stop = Stop()

    def stop_in_the_middle(done: int, _total: int) -> None:
        if done > len(VMDK) // 2:
            stop.set(15)

    with Server(Behaviour(VMDK)) as server, pytest.raises(Stopped):
        landed_on(volume, server.url, stop=stop, report=stop_in_the_middle)
    with volume.disk.open("r+b") as disk:  # a write that reached the volume, and no checkpoint
        disk.seek(len(DISK) - CLUSTER)
        disk.write(b"x" * CLUSTER)
    with Server(Behaviour(VMDK)) as server:
        landed_on(volume, server.url)
    assert holds_the_disk(volume)
    proved(volume)


@BOTH
def test_a_finished_disk_is_neither_copied_nor_read_back_again(tmp_path: Path, made: MakeVolume) -> None:
    volume = made(tmp_path)
    with Server(Behaviour(VMDK)) as server:
        landed_on(volume, server.url)
    proved(volume)
    again = land(
        a_source("http://localhost:9/gone"),
        volume,
        format="raw",
        capacity=len(DISK),
        report=lambda *_: None,
        stop=Stop(),
    )
    assert again.source_bytes == 0
    volume.disk.write_bytes(bytes(LARGER))  # nobody reads it: the record says that it was proved
    proved(volume)


@pytest.mark.parametrize("where", [0, len(DISK) // 2, len(DISK) - 1])
@BOTH
def test_a_byte_that_changes_between_write_and_read_back_is_found(
    tmp_path: Path, made: MakeVolume, where: int
) -> None:
    volume = made(tmp_path)
    with Server(Behaviour(VMDK)) as server:
        landed_on(volume, server.url)
        with volume.disk.open("r+b") as disk:
            disk.seek(where)
            old = disk.read(1)
            disk.seek(where)
            disk.write(bytes([old[0] ^ 0x10]))
        with pytest.raises(StepError) as caught:
            proved(volume)
        assert caught.value.code is Exit.CORRUPT
        assert f"byte {where - where % CLUSTER}" in str(caught.value)
        landed_on(volume, server.url)  # a retry copies the disk again
    proved(volume)
    assert holds_the_disk(volume)


def test_a_write_that_became_a_hole_is_found(tmp_path: Path) -> None:
    volume = on_filesystem(tmp_path)
    with Server(Behaviour(VMDK)) as server:
        landed_on(volume, server.url)
    os.truncate(volume.disk, 3 << 20)
    os.truncate(volume.disk, len(DISK))
    with pytest.raises(StepError) as caught:
        proved(volume)
    assert caught.value.code is Exit.CORRUPT


@BOTH
def test_no_proof_without_a_landing(tmp_path: Path, made: MakeVolume) -> None:
    with pytest.raises(StepError) as caught:
        proved(made(tmp_path))
    assert caught.value.code is Exit.INVALID


@BOTH
def test_records_of_another_volume_are_of_no_use(tmp_path: Path, made: MakeVolume) -> None:
    """The claim was made again; its notes still say that the disk has landed."""
    volume = made(tmp_path)
    with Server(Behaviour(VMDK)) as server:
        landed_on(volume, server.url)
        volume.disk.unlink()
        if volume.is_device:
            volume.disk.write_bytes(bytes(LARGER))
        if not volume.is_device:
            landed_on(volume, server.url)
            assert holds_the_disk(volume)
            return
    with pytest.raises(StepError) as caught:
        proved(volume)
    assert caught.value.code is Exit.CORRUPT


def test_a_device_that_is_too_small_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    volume = on_device(tmp_path)
    os.truncate(volume.disk, len(DISK) - 1)
    before = volume.disk.read_bytes()
    with Server(Behaviour(VMDK)) as server, pytest.raises(StepError) as caught:
        landed_on(volume, server.url)
    assert caught.value.code is Exit.NO_SPACE
    assert f"the disk has {len(DISK)} bytes, and the block device has room for {len(DISK) - 1}" in str(
        caught.value
    )
    assert volume.disk.read_bytes() == before


def test_a_filesystem_without_room_for_the_whole_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = on_filesystem(tmp_path)
    real = os.fstatvfs

    def small(file: int) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 100, 100, 100, *tuple(real(file))[5:10]))

    monkeypatch.setattr(os, "fstatvfs", small)
    with Server(Behaviour(VMDK)) as server, pytest.raises(StepError) as caught:
        landed_on(volume, server.url)
    assert caught.value.code is Exit.NO_SPACE
    assert volume.disk.stat().st_size == 0


def test_an_image_that_cannot_be_decoded_in_order_is_refused_with_the_way_out(tmp_path: Path) -> None:
    image = b"QFI\xfb" + (3).to_bytes(4, "big") + bytes(16) + len(DISK).to_bytes(8, "big") + bytes(1 << 16)
    volume = on_filesystem(tmp_path)
    with Server(Behaviour(image)) as server, pytest.raises(StepError) as caught:
        land(
            Source(server.url, format="qcow2", identity="a"),
            volume,
            format="raw",
            capacity=len(DISK),
            report=lambda *_: None,
            stop=Stop(),
        )
    assert caught.value.code is Exit.UNSUPPORTED
    assert "kubevirt.disks" in caught.value.remedy
    assert volume.disk.stat().st_size == 0


def test_a_device_that_may_not_be_opened_names_the_setting_of_the_container_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = on_device(tmp_path)
    real = os.open

    def denied(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if path == volume.disk:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", denied)
    with Server(Behaviour(VMDK)) as server, pytest.raises(StepError) as caught:
        landed_on(volume, server.url)
    assert caught.value.code is Exit.INVALID
    assert "device_ownership_from_security_context" in str(caught.value)


@BOTH
def test_a_second_landing_on_the_same_volume_is_refused(tmp_path: Path, made: MakeVolume) -> None:
    volume = made(tmp_path)
    with Server(Behaviour(VMDK)) as server, VolumeFiles(volume).open():
        with pytest.raises(StepError) as caught:
            landed_on(volume, server.url)
        assert caught.value.code is Exit.BUSY


@pytest.mark.parametrize("discards", [True, False])
@BOTH
def test_a_disk_without_content_is_zeros(
    tmp_path: Path, made: MakeVolume, discards: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not discards:
        cannot_discard(monkeypatch)
    volume = made(tmp_path)
    for _ in range(2):
        land_blank(volume, format="raw", capacity=len(DISK), identity="empty")
        proved(volume)
    content = volume.disk.read_bytes()
    assert not content.strip(b"\0")
    assert len(content) == (LARGER if volume.is_device else len(DISK))


@BOTH
def test_grains_of_other_sizes_land_too(tmp_path: Path, made: MakeVolume) -> None:
    """Smaller ones are joined to blocks: a block is written twice, and its last checksum counts."""
    volume = made(tmp_path)
    for grain in (8, 16, 256):
        with Server(Behaviour(bytes(stream_vmdk(DISK, grain=grain).data))) as server:
            land(
                a_source(server.url, f"grains of {grain}"),
                volume,
                format="raw",
                capacity=len(DISK),
                report=lambda *_: None,
                stop=Stop(),
            )
        proved(volume)
        assert holds_the_disk(volume)


def test_nothing_is_mounted() -> None:
    with pytest.raises(StepError) as caught:
        Volume.at(Path("/no/such/place"), Path("/tmp"))  # noqa: S108
    assert caught.value.code is Exit.INVALID


def test_scratch_is_as_before(tmp_path: Path) -> None:
    with Server(Behaviour(VMDK)) as server:
        fetch(a_source(server.url), tmp_path / "out", format="raw")
    assert (tmp_path / "out").read_bytes() == DISK
