"""Every disk keeps its content: both layouts, both formats, all sizes."""

from __future__ import annotations

import random
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steps.disk import qemu
from steps.disk.land import Source
from tests.real.disk.conftest import front_vmdk, holds
from tests.unit.steps.disk.conftest import GRAIN, SECTOR, fetch, make_disk
from tests.unit.steps.disk.streamvmdk import StreamVmdk, stream_vmdk

Format = Literal["qcow2", "raw"]
FORMATS = pytest.mark.parametrize("wanted", ["qcow2", "raw"])


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    sectors=st.integers(1, 6000) | st.sampled_from([1, 127, 128, 129, 128 * 512, 128 * 512 + 1]),
    fill=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    seed=st.integers(0, 99),
    front=st.booleans(),
    wanted=st.sampled_from(["qcow2", "raw"]),
)
def test_any_disk_keeps_its_content_in_both_layouts(
    sectors: int, fill: float, seed: int, front: bool, wanted: Format
) -> None:
    disk = make_disk(sectors * SECTOR, min(fill, 2000 / sectors), seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vmdk = folder / "in.vmdk"
        vmdk.write_bytes(front_vmdk(folder, disk) if front else stream_vmdk(disk).data)
        landed = fetch(vmdk, folder / "out", format=wanted, capacity=len(disk))
        assert landed.virtual_size == len(disk)
        holds(landed, disk, folder)


def test_qemu_reads_the_vmdks_of_the_test_writer(tmp_path: Path) -> None:
    disk = make_disk(70 << 20, 0.1)
    (tmp_path / "in.vmdk").write_bytes(stream_vmdk(disk).data)
    (tmp_path / "in.raw").write_bytes(disk)
    assert qemu.compare(tmp_path / "in.vmdk", "vmdk", tmp_path / "in.raw", "raw")


@FORMATS
@pytest.mark.parametrize("grain", [8, 16, 64, 256, 2048])
def test_other_grain_sizes_are_read(tmp_path: Path, grain: int, wanted: Format) -> None:
    disk = make_disk(3 * GRAIN * 16 + 5 * SECTOR, 0.4)
    (tmp_path / "in.vmdk").write_bytes(stream_vmdk(disk, grain=grain).data)
    holds(fetch(tmp_path / "in.vmdk", tmp_path / "out", format=wanted), disk, tmp_path)


@FORMATS
@pytest.mark.parametrize("grain", [16, 128, 256])
def test_grains_out_of_order_are_read(tmp_path: Path, grain: int, wanted: Format) -> None:
    disk = make_disk(40 << 20, 0.3)
    numbers = list(range(-(-len(disk) // (grain * SECTOR))))
    random.Random(2).shuffle(numbers)
    (tmp_path / "in.vmdk").write_bytes(stream_vmdk(disk, grain=grain, order=numbers).data)
    holds(fetch(tmp_path / "in.vmdk", tmp_path / "out", format=wanted), disk, tmp_path)


@FORMATS
def test_grains_out_of_order_across_qcow2_tables_are_read(tmp_path: Path, wanted: Format) -> None:
    capacity = (3 << 30) // SECTOR
    made = StreamVmdk(capacity)
    for number in (40000, 5, 17000, 6, 40001, 9000, 4):
        made.add(number, (b"%d." % number * GRAIN)[:GRAIN])
    (tmp_path / "in.vmdk").write_bytes(made.finish())
    landed = fetch(tmp_path / "in.vmdk", tmp_path / "out", format=wanted)
    assert qemu.compare(tmp_path / "in.vmdk", "vmdk", landed.path, wanted)
    qemu.check(landed.path, "qcow2") if wanted == "qcow2" else None


@FORMATS
def test_explicit_zero_grains_use_no_room(tmp_path: Path, wanted: Format) -> None:
    disk = bytes(20 << 20)
    (tmp_path / "in.vmdk").write_bytes(stream_vmdk(disk, zeros=True).data)
    landed = fetch(tmp_path / "in.vmdk", tmp_path / "out", format=wanted)
    holds(landed, disk, tmp_path)
    assert landed.path.stat().st_blocks * 512 <= 5 * GRAIN


@FORMATS
@pytest.mark.parametrize("size", [SECTOR, 3 * GRAIN, 3 * GRAIN + 7 * SECTOR, (5 << 20) + SECTOR])
def test_raw_disks_land_in_one_pass(tmp_path: Path, size: int, wanted: Format) -> None:
    disk = make_disk(size, 0.4)
    (tmp_path / "in").write_bytes(disk)
    source = Source(f"file://{tmp_path}/in", format="raw")
    holds(fetch(source, tmp_path / "out", format=wanted, capacity=size), disk, tmp_path)


@pytest.mark.parametrize("kind", ["qcow2", "vmdk", "vhdx"])
def test_a_format_that_cannot_be_streamed_lands_unchanged(tmp_path: Path, kind: str) -> None:
    disk = make_disk(3 << 20)
    (tmp_path / "in.raw").write_bytes(disk)
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", kind, tmp_path / "in.raw", tmp_path / "in"], check=True
    )
    landed = fetch(Source(f"file://{tmp_path}/in"), tmp_path / "out", format="raw")
    assert (landed.format, landed.path.name) == (kind, "out.source")
    assert landed.path.read_bytes() == (tmp_path / "in").read_bytes()
    assert landed.virtual_size in (len(disk), None)


def test_a_part_of_a_larger_file_is_read(tmp_path: Path) -> None:
    disk = make_disk(2 << 20)
    member = bytes(stream_vmdk(disk).data)
    (tmp_path / "ova").write_bytes(b"x" * 1536 + member + b"y" * 999)
    source = Source(f"file://{tmp_path}/ova", offset=1536, length=len(member), format="vmdk")
    holds(fetch(source, tmp_path / "out"), disk, tmp_path)
