"""Regression tests of findings by fuzzing: names, texts and states from elsewhere do no harm."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from steps import convert
from steps.disk import qemu
from steps.disk.land import Landed
from steps.disk.state import VERSION
from steps.model.contract import Exit, StepError
from steps.model.plan import DiskFormat
from steps.runtime.stop import Stop
from tests.real.disk.conftest import front_vmdk
from tests.unit.steps.disk.conftest import GRAIN, SECTOR, fetch, make_disk
from tests.unit.steps.disk.streamvmdk import stream_vmdk
from tests.unit.steps.disk.test_foreign import put, refused

pytestmark = pytest.mark.usefixtures("quick")


def silent(done: int, total: int) -> None:
    """Ignore the progress."""


@pytest.mark.parametrize(
    ("at", "form", "value"), [(8, ">Q", 104), (72, ">Q", 4)], ids=["backing file", "external data file"]
)
def test_a_qcow2_whose_header_names_a_file_is_refused(tmp_path: Path, at: int, form: str, value: int) -> None:
    (tmp_path / "raw").write_bytes(make_disk(4 * GRAIN))
    qemu.convert(tmp_path / "raw", "raw", tmp_path / "in", "qcow2", report=silent, stop=Stop())
    data = bytearray((tmp_path / "in").read_bytes())
    struct.pack_into(form, data, at, value)
    (tmp_path / "in").write_bytes(data)
    assert refused(tmp_path / "in", "qcow2").code is Exit.UNSUPPORTED


def test_messages_of_qemu_are_short_and_printable(tmp_path: Path) -> None:
    disk = make_disk(64 * GRAIN, 1.0)
    (tmp_path / "raw").write_bytes(disk)
    made = tmp_path / os.fsdecode(b"\xff\xfe\x1b[31m")
    qemu.convert(tmp_path / "raw", "raw", made, "qcow2", report=silent, stop=Stop())
    data = bytearray(made.read_bytes())
    for table in range(GRAIN, len(data), GRAIN):
        if data[table] == 0x80:  # a table's entries begin with the flag for a count of 1
            data[table : table + 512] = os.urandom(512)
    made.write_bytes(data)
    with pytest.raises(StepError) as caught:
        qemu.check(made, "qcow2")
    assert caught.value.code is Exit.CORRUPT
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


def test_a_disk_of_another_size_is_refused_before_it_is_converted(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(bytes(GRAIN))
    qemu.convert(tmp_path / "raw", "raw", tmp_path / "in.vdi", "vdi", report=silent, stop=Stop())
    landed = Landed(tmp_path / "in.vdi", "vdi", None, 0, 0, "", 0, "")
    with pytest.raises(StepError) as caught:
        convert.ensure_format(
            landed, tmp_path / "out", DiskFormat.RAW, GRAIN + SECTOR, report=silent, stop=Stop()
        )
    assert caught.value.code is Exit.CORRUPT
    assert not (tmp_path / "out").exists()


def test_the_state_after_a_damaged_table_is_dropped(tmp_path: Path) -> None:
    disk = make_disk(6 * GRAIN, 1.0)
    data = front_vmdk(tmp_path, disk)
    directory = struct.unpack_from("<Q", data, 56)[0]
    table = struct.unpack_from("<I", data, directory * SECTOR)[0] * SECTOR
    damaged = bytearray(data)
    damaged[table + 4 * 100] ^= 8  # a grain after the end of the disk is declared
    source = put(tmp_path / "in", bytes(damaged))
    with pytest.raises(StepError):
        fetch(source, tmp_path / "out", format="raw")
    put(source, data)
    with pytest.raises(StepError):  # resumes from the saved state, then drops it
        fetch(source, tmp_path / "out", format="raw")
    assert fetch(source, tmp_path / "out", format="raw").path.read_bytes() == disk


def forge(path: Path, **changed: Any) -> None:
    """Change a state and compute its checksum again."""
    fields = json.loads(path.read_text().split("\n")[1]) | changed
    body = json.dumps(fields)
    path.write_text(f"{VERSION} {zlib.crc32(body.encode())}\n{body}\n")


def broken_off(folder: Path, wanted: str) -> tuple[Path, bytes]:
    """A landing that ended at a damaged grain; the repaired source and its disk."""
    disk = make_disk(20 * GRAIN, 1.0)
    made = stream_vmdk(disk)
    good = bytes(made.data)
    made.data[made.records[-8] + 40] ^= 0xFF
    with pytest.raises(StepError):
        fetch(put(folder / "in", bytes(made.data)), folder / "out", format=wanted)
    return put(folder / "in", good), disk


@pytest.mark.parametrize("wanted", ["raw", "qcow2"])
@pytest.mark.parametrize(
    "changed",
    [
        {"decoder": {}},
        {"decoder": {"header": "zz"}},
        {"sink": {"high": "much", "next": [], "l1": 5}},
        {"sink": {"high": 1 << 70, "next": 1 << 70, "l1": [], "table": -1}},
        {"sink": {"high": 0, "next": 1 << 16, "l1": [[0, 7]], "table": 0}},
        {"landed": {"path": "../out"}},
        {"position": "here"},
        {"validators": {"etag": 5}},
    ],
    ids=str,
)
def test_a_forged_state_is_dropped(tmp_path: Path, wanted: str, changed: dict[str, Any]) -> None:
    source, disk = broken_off(tmp_path, wanted)
    if "sink" not in changed or not (wanted == "raw" and changed["sink"]["high"] == 0):
        forge(tmp_path / "out.state.json", **changed)
    landed = fetch(source, tmp_path / "out", format=wanted)
    (tmp_path / "raw").write_bytes(disk)
    assert qemu.compare(landed.path, wanted, tmp_path / "raw", "raw")


@pytest.mark.parametrize("wanted", ["raw", "qcow2"])
def test_a_state_without_its_file_is_dropped(tmp_path: Path, wanted: str) -> None:
    source, disk = broken_off(tmp_path, wanted)
    (tmp_path / "out.partial").unlink()
    landed = fetch(source, tmp_path / "out", format=wanted)
    (tmp_path / "raw").write_bytes(disk)
    assert qemu.compare(landed.path, wanted, tmp_path / "raw", "raw")
