"""Reads a file without the page cache: every byte, in order, also if the filesystem refuses O_DIRECT."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from steps.disk.direct import read_chunks

MIB = 1 << 20


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, MIB, MIB + 1, 9 * MIB + 777])
def test_every_byte_is_read_in_order(tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(size))
    assert b"".join(bytes(chunk) for chunk in read_chunks(file)) == file.read_bytes()


def test_refused_direct_reads_fall_back_to_the_page_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(7 * MIB + 5))
    preadv, refused = os.preadv, []

    def refusing(descriptor: int, buffers: list[memoryview], at: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            refused.append(at)
            raise OSError(errno.EINVAL, "no direct I/O here")
        return preadv(descriptor, buffers, at)

    monkeypatch.setattr(os, "preadv", refusing)
    assert b"".join(bytes(chunk) for chunk in read_chunks(file)) == file.read_bytes()
    assert refused


def test_a_read_is_repeated_if_another_thread_has_left_direct_io_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several threads read one file: all of them may be refused before the first one clears the flag."""
    file = tmp_path / "file"
    file.write_bytes(os.urandom(7 * MIB + 5))
    preadv, refused = os.preadv, set()

    def refusing(descriptor: int, buffers: list[memoryview], at: int) -> int:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_DIRECT)
        if at not in refused:
            refused.add(at)
            raise OSError(errno.EINVAL, "no direct I/O here")
        return preadv(descriptor, buffers, at)

    monkeypatch.setattr(os, "preadv", refusing)
    assert b"".join(bytes(chunk) for chunk in read_chunks(file)) == file.read_bytes()


def test_a_broken_device_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(3 * MIB))

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(OSError, match="broken"):
        list(read_chunks(file))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_an_abandoned_read_leaves_no_open_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(20 * MIB))
    before = open_files()
    reading = read_chunks(file)
    next(reading)
    reading.close()
    assert open_files() == before
