"""A raw disk that ends within a sector is completed with zeros, wherever it lands."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, Final

import pytest

from steps.disk import detect, virtual_size
from steps.disk.land import Source, land
from steps.disk.proof import prove
from steps.model.contract import Exit, StepError
from steps.model.sectors import whole_sectors
from steps.runtime.stop import Stop
from tests.unit.steps.disk.conftest import fetch, make_disk
from tests.unit.steps.disk.server import Behaviour, Server
from tests.unit.steps.disk.test_volume import BOTH, MakeVolume

SIZES: Final = [1, 511, 513, (1 << 16) + 1, (3 << 20) + 511, (1 << 20) - 1]


def ending_in_data(size: int) -> bytes:
    return make_disk(size, 1.0)[:-1] + b"\xee"


def completed(disk: bytes) -> bytes:
    return disk.ljust(whole_sectors(len(disk)), b"\0")


@pytest.mark.parametrize("size", SIZES)
def test_the_raw_file_has_whole_sectors(tmp_path: Path, size: int) -> None:
    disk = ending_in_data(size)
    (tmp_path / "in").write_bytes(disk)
    source = Source(f"file://{tmp_path}/in", format="raw")
    landed = fetch(source, tmp_path / "out", format="raw", capacity=whole_sectors(size))
    assert landed.path.read_bytes() == completed(disk)
    assert landed.virtual_size == landed.size == whole_sectors(size)


@pytest.mark.parametrize(
    "more", [{}, {"chunked": True}, {"ranges": False}], ids=["length", "chunked", "no ranges"]
)
def test_a_server_whose_end_is_certain_may_end_within_a_sector(tmp_path: Path, more: dict[str, Any]) -> None:
    disk = ending_in_data((1 << 20) + 100)
    with Server(Behaviour(disk, **more)) as server:
        landed = fetch(Source(server.url, format="raw"), tmp_path / "out", format="raw")
    assert landed.path.read_bytes() == completed(disk)


def test_a_compressed_disk_may_end_within_a_sector(tmp_path: Path) -> None:
    disk = ending_in_data((1 << 20) + 100)
    (tmp_path / "in").write_bytes(gzip.compress(disk))
    source = Source(f"file://{tmp_path}/in", format="raw", compression="gzip")
    landed = fetch(source, tmp_path / "out", format="raw", capacity=whole_sectors(len(disk)))
    assert landed.path.read_bytes() == completed(disk)


@pytest.mark.parametrize("missing", [1, 511])
def test_a_stream_that_may_be_cut_in_its_last_sector_is_not_complete(tmp_path: Path, missing: int) -> None:
    """Without a length, a closed connection looks like the end of the disk."""
    disk = ending_in_data(1 << 20)
    with Server(Behaviour(disk[:-missing], length=False)) as server:
        source = Source(server.url, format="raw")
        with pytest.raises(StepError) as caught:
            fetch(source, tmp_path / "out", format="raw", capacity=len(disk))
    assert caught.value.code is Exit.BROKEN_STREAM
    assert not (tmp_path / "out").exists()


def test_a_disk_that_lacks_more_than_the_rest_of_a_sector_is_refused(tmp_path: Path) -> None:
    disk = ending_in_data((1 << 20) - 513)
    (tmp_path / "in").write_bytes(disk)
    with pytest.raises(StepError) as caught:
        fetch(Source(f"file://{tmp_path}/in", format="raw"), tmp_path / "out", capacity=1 << 20)
    assert caught.value.code is Exit.CORRUPT


@BOTH
def test_a_volume_holds_the_completed_disk(tmp_path: Path, made: MakeVolume) -> None:
    """Its last block is written and proved with the zeros of its last sector."""
    disk, volume = ending_in_data((1 << 20) + 700), made(tmp_path)
    capacity = whole_sectors(len(disk))
    with Server(Behaviour(disk)) as server:
        source = Source(server.url, format="raw", identity="disk 1")
        landed = land(source, volume, format="raw", capacity=capacity, report=lambda *_: None, stop=Stop())
    prove(volume, "disk-0", capacity, report=lambda *_: None, stop=Stop())
    content = volume.disk.read_bytes()
    assert content[:capacity] == completed(disk)
    assert not content[capacity:].strip(b"\0")
    assert landed.size == capacity


@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_an_interrupted_disk_of_an_odd_size_resumes(
    tmp_path: Path,
    format: str,  # noqa: A002
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("steps.disk.web.RESUME_PAUSES", ())
    monkeypatch.setattr("steps.disk.checkpoint.SAVE_EVERY_BYTES", 1 << 17)
    disk = ending_in_data((2 << 20) + 3)
    with Server(Behaviour(disk, cuts=[len(disk) - 2])) as server:
        source = Source(server.url, format="raw", identity="disk 1")
        with pytest.raises(StepError) as caught:
            fetch(source, tmp_path / "out", format=format)
        assert caught.value.code is Exit.BROKEN_STREAM
        landed = fetch(source, tmp_path / "out", format=format)
    assert landed.resumed_at > 0
    assert landed.virtual_size == whole_sectors(len(disk))
    if format == "raw":
        assert landed.path.read_bytes() == completed(disk)


def test_a_qcow2_image_of_an_odd_size_has_the_size_that_qemu_sees() -> None:
    head = (b"QFI\xfb" + bytes(20) + (1600).to_bytes(8, "big")).ljust(512, b"\0")
    assert virtual_size.of("qcow2", lambda offset, count: head[offset : offset + count]) == 1536
    assert detect._qcow2_size(head) == 1536
