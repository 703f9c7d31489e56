"""Truncation and damage of any byte are detected."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.disk import qemu
from steps.disk.land import Source
from steps.model.contract import Exit, StepError
from tests.real.disk.conftest import front_vmdk
from tests.unit.steps.disk.conftest import SECTOR, fetch
from tests.unit.steps.disk.server import Behaviour, Server
from tests.unit.steps.disk.streamvmdk import stream_vmdk
from tests.unit.steps.disk.test_damage import attempt, small_disk, tmp_path

__all__ = ["tmp_path"]

pytestmark = pytest.mark.usefixtures("quick")
LAYOUTS = pytest.mark.parametrize("front", [True, False], ids=["tables first", "tables last"])


def vmdk_of(folder: Path, disk: bytes, *, front: bool) -> bytes:
    return front_vmdk(folder, disk) if front else bytes(stream_vmdk(disk).data)


@LAYOUTS
def test_every_damaged_byte_is_harmless_or_detected(tmp_path: Path, front: bool) -> None:
    disk = small_disk()
    data = vmdk_of(tmp_path, disk, front=front)
    (tmp_path / "good").write_bytes(disk)
    places = [at for at in range(len(data)) if data[at] or at < 80 or not at % 499]
    noticed = 0
    for at in places:
        damaged = bytearray(data)
        damaged[at] ^= 0xFF
        noticed += attempt(tmp_path, bytes(damaged)) is not None
    assert noticed > 100


@LAYOUTS
def test_every_truncation_is_detected(tmp_path: Path, front: bool) -> None:
    disk = small_disk()
    data = vmdk_of(tmp_path, disk, front=front)
    (tmp_path / "good").write_bytes(disk)
    for end in [*range(0, len(data), SECTOR), *range(7, len(data), 611), len(data) - 1]:
        error = attempt(tmp_path, data[:end])
        if error is None and front and not any(data[end:]):
            continue  # qemu-img pads the end: without the padding the disk is still complete
        assert error is not None
        assert error.code in (Exit.BROKEN_STREAM, Exit.CORRUPT)


@LAYOUTS
def test_a_chunked_body_that_ends_too_early_is_detected(tmp_path: Path, front: bool) -> None:
    disk = small_disk()
    data = vmdk_of(tmp_path, disk, front=front)
    cut = len(data.rstrip(b"\0")) - SECTOR * 2
    with Server(Behaviour(data[:cut], chunked=True)) as server, pytest.raises(StepError) as caught:
        fetch(Source(server.url, format="vmdk"), tmp_path / "out")
    assert caught.value.code is Exit.BROKEN_STREAM


def test_an_image_that_qemu_img_refuses_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"nothing" * 1000)
    with pytest.raises(StepError) as caught:
        qemu.info(tmp_path / "in", "qcow2")
    assert caught.value.code is Exit.CORRUPT
