"""The dirty bit of NTFS, in records as mkntfs writes them, and damaged ones."""

from __future__ import annotations

import struct

import pytest

from steps.guest.ntfs import is_bitlocker, is_dirty

CLUSTER = 4096
MFT = 4


def volume(flags: int = 0, *, size: int = -10, magic: bytes = b"FILE") -> bytearray:
    """A file system of 64 KiB with a boot sector and the record of $Volume."""
    data = bytearray(64 << 10)
    data[3:11] = b"NTFS    "
    struct.pack_into("<HB", data, 11, 512, CLUSTER // 512)
    struct.pack_into("<Q", data, 48, MFT)
    struct.pack_into("<b", data, 64, size)
    record = MFT * CLUSTER + 3 * 1024
    data[record : record + 4] = magic
    struct.pack_into("<H", data, record + 20, 56)
    struct.pack_into("<IIB", data, record + 56, 0x60, 32, 0)  # $VOLUME_NAME comes first
    struct.pack_into("<II", data, record + 88, 0x70, 40)
    struct.pack_into("<H", data, record + 88 + 20, 24)
    struct.pack_into("<BBH", data, record + 88 + 24 + 8, 3, 1, flags)
    struct.pack_into("<I", data, record + 128, 0xFFFFFFFF)
    return data


def answer(data: bytes) -> bool | None:
    return is_dirty(lambda offset, count: bytes(data[offset : offset + count]))


@pytest.mark.parametrize(("flags", "dirty"), [(0, False), (1, True), (0x8001, True), (0x80, False)])
def test_the_bit_is_read(flags: int, dirty: bool) -> None:
    assert answer(bytes(volume(flags))) is dirty


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(512),
        volume(1)[: MFT * CLUSTER],
        volume(1, magic=b"BAAD"),
        volume(1, size=127),
        volume(1, size=-31),
        volume(1)[: MFT * CLUSTER + 3 * 1024 + 90],
    ],
)
def test_what_cannot_be_read_is_unknown(data: bytes) -> None:
    assert answer(bytes(data)) is None


def test_an_attribute_without_a_length_ends_the_search() -> None:
    data = volume(1)
    struct.pack_into("<II", data, MFT * CLUSTER + 3 * 1024 + 56, 0x60, 0)
    assert answer(bytes(data)) is None


def test_bitlocker_is_recognized_by_its_boot_sector() -> None:
    assert is_bitlocker(lambda offset, count: b"\xeb\x58\x90-FVE-FS-"[offset : offset + count])
    assert not is_bitlocker(lambda offset, count: bytes(volume())[offset : offset + count])
