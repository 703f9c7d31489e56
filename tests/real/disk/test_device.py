"""A disk lands on real block devices of the kernel: loop devices that hold the bytes of an earlier owner."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from steps.disk import volume_sink
from steps.disk.land import Source, land
from steps.disk.proof import prove
from steps.disk.volume import Volume
from steps.model.contract import Exit, StepError
from steps.runtime.stop import Stop
from tests.unit.steps.disk.conftest import SECTOR, make_disk
from tests.unit.steps.disk.server import Behaviour, Server
from tests.unit.steps.disk.streamvmdk import stream_vmdk

DISK: Final = make_disk((33 << 20) + 5 * SECTOR, 0.3)
VMDK: Final = bytes(stream_vmdk(DISK).data)
DEVICE: Final = 40 << 20


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid():
        pytest.skip("a loop device needs root")
    image = tmp_path / "image"
    image.write_bytes(random.Random(3).randbytes(DEVICE))
    made = subprocess.run(["losetup", "--find", "--show", image], check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no loop device here: {made.stderr}")
    try:
        yield Path(made.stdout.strip())
    finally:
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


def landed(device: Path, notes: Path) -> Volume:
    notes.mkdir(exist_ok=True)
    volume = Volume.at(device, notes)
    assert volume.is_device
    with Server(Behaviour(VMDK)) as server:
        land(
            Source(server.url, format="vmdk", identity="disk 1"),
            volume,
            format="raw",
            capacity=len(DISK),
            report=lambda *_: None,
            stop=Stop(),
        )
    return volume


def proved(volume: Volume) -> None:
    prove(volume, "disk-0", len(DISK), report=lambda *_: None, stop=Stop())


@pytest.mark.parametrize("discards", [True, False])
def test_the_device_holds_the_disk_and_nothing_of_its_earlier_owner(
    device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, discards: bool
) -> None:
    if not discards:
        monkeypatch.setattr(volume_sink, "punch", lambda *_: False)
    proved(landed(device, tmp_path / "notes"))
    content = device.read_bytes()
    assert content[: len(DISK)] == DISK
    assert not content[len(DISK) :].strip(b"\0")
    assert len(content) == DEVICE


def test_a_discarded_device_uses_room_only_for_its_data(device: Path, tmp_path: Path) -> None:
    landed(device, tmp_path / "notes")
    subprocess.run(["sync"], check=True)
    assert (tmp_path / "image").stat().st_blocks * 512 < len(DISK)


def test_a_byte_that_changes_behind_the_kernel_is_found(device: Path, tmp_path: Path) -> None:
    """The proof reads the device, not the memory of the kernel that still has the right bytes."""
    volume = landed(device, tmp_path / "notes")
    place = next(at for at in range(0, len(DISK), 1 << 16) if DISK[at : at + (1 << 16)].strip(b"\0"))
    with (tmp_path / "image").open("r+b") as image:
        image.seek(place)
        byte = image.read(1)
        image.seek(place)
        image.write(bytes([byte[0] ^ 1]))
        os.fsync(image.fileno())
    with pytest.raises(StepError) as caught:
        proved(volume)
    assert caught.value.code is Exit.CORRUPT


def test_a_device_that_is_too_small_is_refused(device: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    volume = Volume.at(device, tmp_path / "notes")
    with Server(Behaviour(VMDK)) as server, pytest.raises(StepError) as caught:
        land(
            Source(server.url, format="raw", identity="disk 2", length=DEVICE + SECTOR),
            volume,
            format="raw",
            capacity=DEVICE + SECTOR,
            report=lambda *_: None,
            stop=Stop(),
        )
    assert caught.value.code is Exit.NO_SPACE
