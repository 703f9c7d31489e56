"""Regression tests of findings by fuzzing: names, texts and states from elsewhere do no harm."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from steps.disk import qemu
from steps.disk.land import Landed
from steps.disk.vmdk import check_descriptor
from steps.model.contract import Exit, StepError
from tests.unit.steps.disk.conftest import GRAIN, SECTOR, fetch, make_disk
from tests.unit.steps.disk.streamvmdk import stream_vmdk


def put(path: Path, data: bytes) -> Path:
    """Write a file that a server would report as unchanged."""
    path.write_bytes(data)
    os.utime(path, ns=(0, 0))
    return path


def refused(path: Path, image_format: str) -> StepError:
    with pytest.raises(StepError) as caught:
        qemu.info(path, image_format)
    assert str(caught.value).isprintable()
    return caught.value


@pytest.mark.parametrize("kind", ["monolithicFlat", "vmfs", "twoGbMaxExtentSparse"])
def test_qemu_never_opens_a_descriptor_that_names_other_files(tmp_path: Path, kind: str) -> None:
    text = f'# Disk DescriptorFile\nversion=1\nCID=1\ncreateType="{kind}"\nRW 64 FLAT "absent" 0\n'
    (tmp_path / "in").write_text(text)
    # qemu-img would report CORRUPT: the file that it names does not exist.
    assert refused(tmp_path / "in", "vmdk").code is Exit.UNSUPPORTED


def test_qemu_never_opens_an_extent_without_capacity(tmp_path: Path) -> None:
    data = bytearray(stream_vmdk(make_disk(4 * GRAIN)).data)
    struct.pack_into("<Q", data, 12, 0)
    (tmp_path / "in").write_bytes(data)
    assert refused(tmp_path / "in", "vmdk").code is Exit.UNSUPPORTED


def test_a_parent_is_detected_for_any_descriptor_offset(tmp_path: Path) -> None:
    data = bytearray(stream_vmdk(make_disk(4 * GRAIN)).data)
    at = data.index(b"parentCID=ffffffff")
    data[at : at + 18] = b"parentCID=00000001"
    struct.pack_into("<Q", data, 28, 0)
    with pytest.raises(StepError) as caught:
        fetch(put(tmp_path / "in", bytes(data)), tmp_path / "out")
    assert caught.value.code is Exit.UNSUPPORTED


def test_a_descriptor_of_empty_lines_takes_no_time() -> None:
    check_descriptor(b"\n" * (1 << 20))  # a regular expression that crosses lines would take hours


def test_a_footer_with_another_table_size_is_detected(tmp_path: Path) -> None:
    data = bytearray(stream_vmdk(make_disk(4 * GRAIN)).data)
    struct.pack_into("<I", data, data.rindex(b"KDMV") + 44, 256)
    with pytest.raises(StepError) as caught:
        fetch(put(tmp_path / "in", bytes(data)), tmp_path / "out")
    assert "footer" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100000, '{"path": "../x"}', '{"path": 5}', "9" * 5000])
def test_a_forged_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "out.landed.json").write_text(text)
    with pytest.raises(StepError) as caught:
        Landed.load(tmp_path / "out")
    assert caught.value.code is Exit.INVALID


def test_a_second_grain_directory_is_refused(tmp_path: Path) -> None:
    """Otherwise the content of the disk would depend on which of the two the footer means."""
    good = bytes(stream_vmdk(make_disk(4 * GRAIN)).data)
    end = len(good) - SECTOR  # before the end-of-stream marker come footer and directory, with a marker each
    directory = good[end - 4 * SECTOR : end - 2 * SECTOR]
    assert struct.unpack_from("<QII", directory) == (1, 0, 2)
    source = put(tmp_path / "twice.vmdk", good[:end] + directory + good[end:])
    with pytest.raises(StepError, match="a second grain directory") as caught:
        fetch(source, tmp_path / "out", format="raw")
    assert caught.value.code is Exit.BROKEN_STREAM
