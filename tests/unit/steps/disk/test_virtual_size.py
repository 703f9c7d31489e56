"""The size of the disk in an image is that of qemu-img."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from steps.disk import qemu, virtual_size

MIB = 1 << 20


def made(path: Path, kind: str, size: int, *options: str) -> Path:
    argv = ["qemu-img", "create", "-q", "-f", kind, *options, str(path), str(size)]
    subprocess.run(argv, check=True)
    return path


def read_size(path: Path, kind: str) -> int:
    content = path.read_bytes()
    return virtual_size.of(kind, lambda offset, count: content[offset : offset + count], len(content))


FORMATS = [
    ("qcow2", ()),
    ("vmdk", ("-o", "subformat=streamOptimized")),
    ("vhdx", ()),
    ("vhdx", ("-o", "subformat=fixed")),
    ("vpc", ()),
    ("vpc", ("-o", "subformat=fixed")),
    ("vpc", ("-o", "force_size=on")),
    ("vpc", ("-o", "force_size=on,subformat=fixed")),
]


@pytest.mark.parametrize("size", [3 * MIB, 8 * MIB + 4096])
@pytest.mark.parametrize(("kind", "options"), FORMATS)
def test_every_format_has_the_size_that_qemu_img_finds(
    tmp_path: Path, kind: str, options: tuple[str, ...], size: int
) -> None:
    if kind == "vhdx" and size % MIB:
        size = 8 * MIB
    path = made(tmp_path / "image", kind, size, *options)
    found = read_size(path, kind)
    assert found == qemu.info(path, kind).virtual_size
    assert found >= size


def with_geometry(path: Path, cylinders: int) -> None:
    """Write another geometry into each footer, as some programs round it."""
    content = bytearray(path.read_bytes())
    for offset in {0, len(content) - 512}:
        footer = content[offset : offset + 512]
        if not footer.startswith(b"conectix"):
            continue
        footer[28:32] = b"vbox"
        footer[56:60] = struct.pack(">HBB", cylinders, 4, 17)
        footer[64:68] = bytes(4)
        footer[64:68] = struct.pack(">I", ~sum(footer) & 0xFFFFFFFF)
        content[offset : offset + 512] = footer
    path.write_bytes(content)


@pytest.mark.parametrize("options", [("-o", "force_size=on"), ("-o", "force_size=on,subformat=fixed")])
@pytest.mark.parametrize("cylinders", [200, 241])
def test_the_geometry_of_a_vhd_neither_cuts_nor_stretches_the_disk(
    tmp_path: Path, options: tuple[str, ...], cylinders: int
) -> None:
    size = 8 * MIB
    path = made(tmp_path / "image", "vpc", size, *options)
    with_geometry(path, cylinders)
    assert read_size(path, "vpc") == size
    assert qemu.info(path, "vpc").virtual_size == size
    assert qemu.measure(path, "vpc", "raw").fully_allocated == size
    raw = made(tmp_path / "raw", "raw", size)
    assert qemu.compare(path, "vpc", raw, "raw")
    assert qemu.compare(raw, "raw", path, "vpc")
    assert qemu.read_head(path, "vpc", 512) == bytes(512)


@pytest.mark.parametrize("kind", ["vmdk", "qcow2", "vpc", "vhdx", "raw"])
@pytest.mark.parametrize("content", [b"", b"KDMV", b"QFI\xfb", b"conectix", b"vhdxfile", b"x" * 600])
def test_what_is_no_image_has_no_size(kind: str, content: bytes) -> None:
    def read(offset: int, count: int) -> bytes:
        return content[offset : offset + count]

    assert virtual_size.of(kind, read, len(content)) == 0
