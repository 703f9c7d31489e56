"""Modules in an initramfs, in every packing of the standard library, and hostile files."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from steps.guest import initramfs
from tests.unit.steps.guest.cpio import archive, entry

NAMES: Final = (
    "init",
    "lib/modules/6.1.0/kernel/drivers/block/virtio_blk.ko",
    "usr/lib/modules/6.1.0/kernel/drivers/scsi/virtio-scsi.ko.xz",
    "lib/modules/6.1.0/kernel/drivers/ata/ahci.ko.zst",
    "lib/modules/6.1.0/virtio_net.ko.notes",
)
INIT: Final = entry("init")
WANTED: Final = {"virtio_blk", "virtio_scsi", "ahci"}


def found(tmp_path: Path, data: bytes) -> set[str]:
    path = tmp_path / "initramfs"
    path.write_bytes(data)
    return initramfs.modules(path)


def by_program(*argv: str) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        if shutil.which(argv[0]) is None:
            pytest.skip(f"{argv[0]} is not installed")
        return subprocess.run(argv, input=data, stdout=subprocess.PIPE, check=True).stdout

    return pack


@pytest.mark.parametrize(
    "pack",
    [
        bytes,
        gzip.compress,
        lzma.compress,
        lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
        bz2.compress,
        by_program("zstd", "-qc"),
        by_program("lz4", "-qlc"),
        by_program("lz4", "-qc"),
    ],
    ids=["plain", "gzip", "xz", "lzma", "bzip2", "zstd", "lz4-legacy", "lz4"],
)
def test_modules_are_found_in_every_packing(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert found(tmp_path, pack(archive(NAMES, b"x" * 5000))) == WANTED


def test_the_microcode_before_the_packed_archive_is_skipped(tmp_path: Path) -> None:
    microcode = archive(["kernel/x86/microcode/GenuineIntel.bin"], b"m" * 3001)
    assert found(tmp_path, microcode + b"\0" * 1024 + gzip.compress(archive(NAMES))) == WANTED


def test_several_archives_in_a_row_count(tmp_path: Path) -> None:
    assert found(tmp_path, archive(NAMES[:2]) + archive(NAMES[2:])) == WANTED


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (archive(NAMES, b"x" * 5000)[:-2048], "it is cut short"),
        (gzip.compress(archive(NAMES))[:-30], "it is cut short"),
        (b"\x7fELF" + b"x" * 600, "its format is unknown"),
        (entry("init") + b"070799" + b"0" * 200, "an archive in it is damaged"),
        (b"070701" + b"z" * 104 + b"\0" * 400, "a number in it is damaged"),
        (INIT[:54] + b"-0000001" + INIT[62:], "a number in it is damaged"),
        (INIT[:94] + b"000_0005" + INIT[102:], "a number in it is damaged"),
        (gzip.compress(lzma.compress(archive(NAMES))), "it is packed twice, or damaged"),
        (b"070701" + b"F" * 104 + b"\0" * 400, "a name in it is too long"),
        (b"\xfd7zXZ\0" + b"\xff" * 600, "it is damaged: "),
    ],
)
def test_a_damaged_file_is_refused_with_the_reason(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(initramfs.UnreadableError, match=why):
        found(tmp_path, data)


def test_an_empty_file_has_no_modules(tmp_path: Path) -> None:
    assert found(tmp_path, b"") == set()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_file_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(initramfs, "MOST_BYTES", 1 << 20)
    with pytest.raises(initramfs.UnreadableError, match="unpacked"):
        found(tmp_path, pack(entry("big", b"\0" * (8 << 20)) + archive(["init"])))


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initramfs, "MOST_FILES", 100)
    with pytest.raises(initramfs.UnreadableError, match="more than 100 files"):
        found(tmp_path, archive(f"file-{number}" for number in range(101)))


def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(initramfs.UnreadableError, match="the program zstd is missing"):
        found(tmp_path, b"\x28\xb5\x2f\xfd" + b"\0" * 600)
