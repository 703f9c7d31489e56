"""Truncation and damage of any byte are detected."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from steps.disk.land import Source
from steps.model.contract import Exit, StepError
from tests.unit.steps.disk.conftest import GRAIN, SECTOR, fetch
from tests.unit.steps.disk.streamvmdk import stream_vmdk


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory: thousands of landings would be slow on a real disk."""
    memory = Path("/dev/shm")  # noqa: S108 - on every Linux; elsewhere it only takes longer
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


def small_disk() -> bytes:
    disk = bytearray(5 * GRAIN + 3 * SECTOR)
    for grain in (0, 2, 5):
        disk[grain * GRAIN + 100 : grain * GRAIN + 130] = b"thirty bytes that matter a lot"
    return bytes(disk)


def attempt(folder: Path, data: bytes) -> StepError | None:
    """Land damaged data in an empty folder; returns the failure, or None if the content is right."""
    (folder / "in").write_bytes(data)
    for left in folder.glob("out*"):
        left.unlink()
    try:
        landed = fetch(Source(f"file://{folder}/in", format="vmdk"), folder / "out", format="raw")
    except StepError as error:
        return error
    if landed.format == "vmdk":  # the damage made it a VMDK for qemu-img
        return None
    assert landed.path.read_bytes() == (folder / "good").read_bytes()
    return None


@pytest.mark.parametrize(
    ("place", "form", "value"),
    [
        (12, "<Q", 0),
        (12, "<Q", 1 << 54),
        (12, "<Q", (1 << 64) - 1),
        (20, "<Q", 0),
        (20, "<Q", 3),
        (20, "<Q", 1 << 40),
        (36, "<Q", 1 << 40),
        (44, "<I", 0),
        (44, "<I", 1 << 31),
        (64, "<Q", 0),
        (77, "<H", 7),
    ],
)
def test_absurd_headers_are_refused(tmp_path: Path, place: int, form: str, value: int) -> None:
    data = bytearray(stream_vmdk(small_disk()).data)
    struct.pack_into(form, data, place, value)
    error = attempt(tmp_path, bytes(data))
    assert error is not None
    assert error.code is Exit.CORRUPT
    assert "\n" not in str(error)


def test_an_absurd_grain_is_refused_before_memory_is_allocated(tmp_path: Path) -> None:
    made = stream_vmdk(small_disk())
    struct.pack_into("<I", made.data, made.records[0] + 8, (1 << 32) - 1)
    error = attempt(tmp_path, bytes(made.data))
    assert error is not None
    assert error.code is Exit.BROKEN_STREAM


def test_bytes_after_the_end_are_refused_except_padding(tmp_path: Path) -> None:
    disk = small_disk()
    data = bytes(stream_vmdk(disk).data)
    (tmp_path / "good").write_bytes(disk)
    assert attempt(tmp_path, data + bytes(5000)) is None
    assert attempt(tmp_path, data + bytes(5000) + b"x") is not None


def test_a_damaged_disk_is_never_published_as_finished(tmp_path: Path) -> None:
    made = stream_vmdk(small_disk())
    made.data[made.records[1] + 20] ^= 1
    assert attempt(tmp_path, bytes(made.data)) is not None
    assert not (tmp_path / "out").exists()
