"""Servers that refuse, disks that are full, and the limit of memory."""

from __future__ import annotations

import json
import os
import random
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from steps.disk import qemu
from steps.disk.checkpoint import NOTE_EVERY_BYTES
from steps.disk.land import Source
from steps.disk.qcow2 import max_file_size
from steps.model.contract import Exit, StepError, Stopped
from steps.runtime.stop import Stop
from tests.real.disk.conftest import holds
from tests.real.disk.filesystem import filesystem
from tests.tls import SelfSigned, self_signed
from tests.unit.steps.disk.conftest import SECTOR, fetch
from tests.unit.steps.disk.server import Behaviour, Server
from tests.unit.steps.disk.streamvmdk import StreamVmdk, stream_vmdk

DISK = random.Random(3).randbytes((6 << 20) + SECTOR)
VMDK = bytes(stream_vmdk(DISK).data)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> SelfSigned:
    return self_signed(tmp_path_factory.mktemp("tls"))


def test_tls_is_verified(tmp_path: Path, own: SelfSigned) -> None:
    with Server(Behaviour(VMDK), own.server()) as server:
        with pytest.raises(StepError) as caught:
            fetch(Source(server.url, format="vmdk"), tmp_path / "out")
        assert caught.value.code is Exit.UNTRUSTED
        trusted = ssl.create_default_context(cafile=str(own.certificate))
        holds(fetch(Source(server.url, format="vmdk", tls=trusted), tmp_path / "out"), DISK, tmp_path)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_part_of_a_file_is_read_over_http(tmp_path: Path, ranges: bool) -> None:
    how = Behaviour(b"x" * 300_001 + VMDK + b"y" * 5000, ranges=ranges)
    with Server(how) as server:
        source = Source(server.url, offset=300_001, length=len(VMDK), format="vmdk")
        holds(fetch(source, tmp_path / "out"), DISK, tmp_path)
    assert how.asked == [f"bytes=300001-{300_000 + len(VMDK)}"]


def test_a_raw_disk_of_unknown_length_is_refused(tmp_path: Path) -> None:
    with Server(Behaviour(DISK, length=False)) as server:
        with pytest.raises(StepError) as caught:
            fetch(Source(server.url, format="raw"), tmp_path / "out", format="raw")
        assert caught.value.code is Exit.INVALID
        source = Source(server.url, format="raw")
        holds(fetch(source, tmp_path / "out", format="raw", capacity=len(DISK)), DISK, tmp_path)


@pytest.fixture
def small_filesystem(tmp_path: Path) -> Iterator[Path]:
    with filesystem("tmpfs", tmp_path, 4 << 20) as at:
        yield at


@pytest.mark.programs
@pytest.mark.parametrize("wanted", ["qcow2", "raw"])
def test_a_full_filesystem_is_reported_and_a_retry_resumes(
    small_filesystem: Path, tmp_path: Path, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steps.disk.checkpoint.SAVE_EVERY_BYTES", 1 << 17)
    (tmp_path / "in").write_bytes(VMDK)
    source = Source(f"file://{tmp_path}/in", format="vmdk")
    with pytest.raises(StepError) as caught:
        fetch(source, small_filesystem / "out", format=wanted)
    assert caught.value.code is Exit.NO_SPACE
    assert str(small_filesystem / "out.partial") in str(caught.value)
    subprocess.run(["mount", "-o", "remount,size=32m", small_filesystem], check=True)
    landed = fetch(source, small_filesystem / "out", format=wanted)
    assert landed.resumed_at > 0
    holds(landed, DISK, tmp_path)


@pytest.mark.programs
@pytest.mark.parametrize("wanted", ["qcow2", "raw"])
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_full_disk_keeps_the_data_before_the_first_checkpoint(
    tmp_path: Path, kind: str, wanted: str
) -> None:
    """Full after some 28 MiB, long before the first checkpoint at 256 MiB; then the ballast is removed."""
    disk = random.Random(7).randbytes(40 << 20)
    how = Behaviour(bytes(stream_vmdk(disk).data))
    with filesystem(kind, tmp_path, 96 << 20) as at, Server(how) as server:
        room = os.statvfs(at)
        with (at / "ballast").open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, room.f_bavail * room.f_frsize - (28 << 20))
        source = Source(server.url, format="vmdk")
        with pytest.raises(StepError) as caught:
            fetch(source, at / "out", format=wanted, capacity=len(disk), expected_bytes=len(disk))
        assert caught.value.code is Exit.NO_SPACE
        assert f"about {len(disk)}" in str(caught.value)
        assert "scratch.storageClass" in str(caught.value)
        (at / "ballast").unlink()
        landed = fetch(source, at / "out", format=wanted, capacity=len(disk))
        assert landed.resumed_at > (28 << 20) - 2 * NOTE_EVERY_BYTES
        assert how.asked == [None, f"bytes={landed.resumed_at}-"]
        assert landed.source_bytes == len(how.body) - landed.resumed_at
        holds(landed, disk, tmp_path)


def test_too_little_room_for_the_tables_keeps_the_data(tmp_path: Path) -> None:
    """The image's tables do not fit: only the bytes after the last saved state are sent again."""
    disk = random.Random(8).randbytes(12 << 20)
    how = Behaviour(bytes(stream_vmdk(disk).data))
    with filesystem("tmpfs", tmp_path, (12 << 20) + (3 << 16) + (1 << 15)) as at, Server(how) as server:
        source = Source(server.url, format="vmdk")
        with pytest.raises(StepError) as caught:
            fetch(source, at / "out", capacity=len(disk))
        assert caught.value.code is Exit.NO_SPACE
        assert f"{max_file_size(len(disk))} at most" in str(caught.value)
        subprocess.run(["mount", "-o", "remount,size=32m", at], check=True)
        landed = fetch(source, at / "out", capacity=len(disk))
        assert landed.resumed_at >= NOTE_EVERY_BYTES
        holds(landed, disk, tmp_path)
        assert landed.size <= max_file_size(len(disk))


@pytest.mark.parametrize("size", [512, 1 << 16, (512 << 20) + 1, 5 << 30, 1 << 40, 64 << 40])
def test_largest_is_an_upper_bound_of_the_image_size(size: int) -> None:
    """qemu-img measure computes the size of a qcow2 without holes; our tables have other positions."""
    argv = ["measure", "--output=json", "-O", "qcow2", "--size", str(size)]
    output = subprocess.run(["qemu-img", *argv], check=True, capture_output=True, text=True).stdout
    full = json.loads(output)["fully-allocated"]
    assert full - (4 << 16) <= max_file_size(size) <= full * 1.001 + (4 << 16)


@pytest.mark.programs
def test_qemu_img_reports_a_full_filesystem(small_filesystem: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(VMDK)
    with pytest.raises(StepError) as caught:
        qemu.convert(
            tmp_path / "in",
            "vmdk",
            small_filesystem / "out",
            "raw",
            report=lambda done, total: None,
            stop=Stop(),
        )
    assert caught.value.code is Exit.NO_SPACE
    assert not list(small_filesystem.iterdir())


def test_conversion_reports_progress_and_keeps_the_content(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(VMDK)
    (tmp_path / "raw").write_bytes(DISK)
    reports: list[tuple[int, int]] = []
    qemu.convert(
        tmp_path / "in",
        "vmdk",
        tmp_path / "out",
        "qcow2",
        report=lambda *output: reports.append(output),
        stop=Stop(),
    )
    assert qemu.compare(tmp_path / "out", "qcow2", tmp_path / "raw", "raw")
    assert reports[-1] == (len(DISK), len(DISK))
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        qemu.convert(
            tmp_path / "in", "vmdk", tmp_path / "b", "raw", report=lambda done, total: None, stop=stop
        )
    assert not (tmp_path / "b.partial").exists()


def test_an_image_with_a_backing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(DISK)
    argv = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]
    subprocess.run(["qemu-img", *argv, tmp_path / "base", tmp_path / "top"], check=True)
    with pytest.raises(StepError) as caught:
        qemu.info(tmp_path / "top", "qcow2")
    assert caught.value.code is Exit.UNSUPPORTED


def peak(folder: Path, data: bytes, wanted: str) -> int:
    """Peak memory in MiB of a process that lands `data`."""
    (folder / "in").write_bytes(data)
    argv = [
        sys.executable,
        "-m",
        "tests.real.disk.child",
        f"file://{folder}/in",
        str(folder / "out"),
        wanted,
        "-1",
    ]
    output = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    for left in folder.glob("out*"):
        left.unlink()
    return int(output) >> 10


@pytest.mark.parametrize("wanted", ["qcow2", "raw"])
@pytest.mark.parametrize("front", [True, False])
def test_memory_does_not_grow_with_the_disk(tmp_path: Path, wanted: str, front: bool) -> None:
    def sparse(gib: int) -> bytes:
        if front:
            raw = tmp_path / "sparse.raw"
            with raw.open("wb") as file:
                file.truncate(gib << 30)
                for place in range(60):
                    file.seek(((gib << 30) // 60 * place) >> 16 << 16)
                    file.write(os.urandom(1 << 16))
            argv = ["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"]
            subprocess.run(["qemu-img", *argv, raw, tmp_path / "sparse.vmdk"], check=True)
            return (tmp_path / "sparse.vmdk").read_bytes()
        made = StreamVmdk((gib << 30) // SECTOR)
        for place in range(60):
            made.add((gib << 14) // 60 * place, os.urandom(1 << 16))
        return bytes(made.finish())

    small, large = peak(tmp_path, sparse(1), wanted), peak(tmp_path, sparse(64), wanted)
    assert large <= small + 4
    assert large <= 64
