"""A raw disk that ends within a sector: qemu-img reads the same disk from what the steps make."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps import convert
from steps.disk import qemu
from steps.disk.land import Source
from steps.model.plan import DiskFormat
from steps.model.sectors import whole_sectors
from steps.runtime.stop import Stop
from tests.unit.steps.disk.conftest import fetch
from tests.unit.steps.disk.test_odd_sizes import SIZES, completed, ending_in_data


@pytest.mark.parametrize("wanted", list(DiskFormat))
@pytest.mark.parametrize("size", SIZES)
def test_the_converted_disk_is_the_source_with_a_complete_last_sector(
    tmp_path: Path, size: int, wanted: DiskFormat
) -> None:
    disk, out, capacity = ending_in_data(size), tmp_path / "disk", whole_sectors(size)
    (tmp_path / "in").write_bytes(disk)
    (tmp_path / "whole").write_bytes(completed(disk))
    landed = fetch(Source(f"file://{tmp_path}/in", format="raw"), out, format=wanted.value, capacity=capacity)
    made = convert.ensure_format(landed, out, wanted, capacity, report=lambda *_: None, stop=Stop())
    assert made.format is wanted
    assert qemu.info(made.path, made.format).virtual_size == capacity
    assert qemu.compare(tmp_path / "whole", "raw", made.path, made.format)


def test_a_disk_of_an_odd_size_that_looks_like_another_format_is_wrapped(tmp_path: Path) -> None:
    disk, out = b"QFI\xfb" + ending_in_data(200_000)[4:], tmp_path / "disk"
    capacity = whole_sectors(len(disk))
    (tmp_path / "in").write_bytes(disk)
    (tmp_path / "whole").write_bytes(completed(disk))
    landed = fetch(Source(f"file://{tmp_path}/in", format="raw"), out, format="raw", capacity=capacity)
    made = convert.ensure_format(landed, out, DiskFormat.RAW, capacity, report=lambda *_: None, stop=Stop())
    assert made.format is DiskFormat.QCOW2
    assert qemu.compare(tmp_path / "whole", "raw", made.path, made.format)


def test_a_qcow2_image_with_an_odd_size_in_its_header_is_converted(tmp_path: Path) -> None:
    """Other programs than QEMU write such headers; QEMU omits a part of a sector."""
    disk, image, out = ending_in_data(1 << 20), tmp_path / "image", tmp_path / "disk"
    capacity = (1 << 20) - 512
    (tmp_path / "whole").write_bytes(disk)
    qemu.convert(tmp_path / "whole", "raw", image, "qcow2", report=lambda *_: None, stop=Stop())
    content = bytearray(image.read_bytes())
    content[24:32] = ((1 << 20) - 100).to_bytes(8, "big")
    image.write_bytes(content)
    landed = fetch(Source(f"file://{image}", format="qcow2"), out, format="raw", capacity=capacity)
    made = convert.ensure_format(landed, out, DiskFormat.RAW, capacity, report=lambda *_: None, stop=Stop())
    (tmp_path / "whole").write_bytes(disk[:capacity])
    assert qemu.compare(tmp_path / "whole", "raw", made.path, made.format)
