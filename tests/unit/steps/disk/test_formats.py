"""Every disk keeps its content: both layouts, both formats, all sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.disk.land import Source
from steps.model.contract import Exit, StepError
from tests.unit.steps.disk.conftest import fetch, make_disk
from tests.unit.steps.disk.streamvmdk import stream_vmdk


def test_a_disk_declared_as_raw_stays_raw(tmp_path: Path) -> None:
    disk = b"QFI\xfb" + make_disk(2 << 20, 1.0)[4:]
    (tmp_path / "in").write_bytes(disk)
    landed = fetch(Source(f"file://{tmp_path}/in", format="raw"), tmp_path / "out", format="raw")
    assert landed.format == "raw"
    assert landed.path.read_bytes() == disk


def test_another_capacity_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(stream_vmdk(make_disk(2 << 20)).data)
    with pytest.raises(StepError) as caught:
        fetch(tmp_path / "in", tmp_path / "out", capacity=3 << 20)
    assert caught.value.code is Exit.CORRUPT


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"parentCID=ffffffff", b"parentCID=00000001"),
        (b"SPARSE", b"FLAT  "),
        (b"ddb.adapterType", b"RW 9 SPARSE 'x'"),
    ],
)
def test_a_disk_that_needs_other_files_is_refused(tmp_path: Path, old: bytes, new: bytes) -> None:
    data = bytes(stream_vmdk(make_disk(1 << 20)).data)
    (tmp_path / "in").write_bytes(data.replace(old, new))
    with pytest.raises(StepError) as caught:
        fetch(tmp_path / "in", tmp_path / "out")
    assert caught.value.code is Exit.UNSUPPORTED
