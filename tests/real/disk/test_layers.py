"""The layers between a server's bytes and a decoder: digests, parts, gzip; and blank disks."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from steps.disk import qemu
from steps.disk.blank import land_blank
from steps.disk.landed import LandingFiles
from steps.disk.source import Digest, DiskFormat, Source
from steps.model.contract import Exit, StepError
from tests.real.disk.conftest import front_vmdk, holds
from tests.unit.steps.disk.conftest import GRAIN, fetch, make_disk
from tests.unit.steps.disk.server import Behaviour, Server

DISK = make_disk(40 * GRAIN)


def digest(content: bytes, name: str = "disk") -> Digest:
    return Digest("sha256", hashlib.sha256(content).hexdigest(), name)


def placed(folder: Path, *contents: bytes) -> tuple[Source, ...]:
    made = []
    for number, content in enumerate(contents):
        path = folder / f"piece-{number}"
        path.write_bytes(content)
        made.append(Source(f"file://{path}", digest=digest(content, path.name)))
    return tuple(made)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("size", [1, 700, 65536, 1 << 30])
def test_parts_become_one_disk(tmp_path: Path, compressed: bool, size: int) -> None:
    image = front_vmdk(tmp_path, DISK)
    stream = gzip.compress(image) if compressed else image
    cuts = range(0, len(stream), size if size > 1 else len(stream) // 50)
    step = cuts.step
    parts = placed(tmp_path, *(stream[at : at + step] for at in cuts))
    source = Source("", parts=parts, format="vmdk", identity="d", compression="gzip" if compressed else "")
    landed = fetch(source, tmp_path / "out")
    holds(landed, DISK, tmp_path)
    assert landed.source_bytes == len(image)


def test_a_connection_may_break_while_the_digest_continues(tmp_path: Path) -> None:
    image = front_vmdk(tmp_path, DISK)
    with Server(Behaviour(image, cuts=[70_000, 5, 300_000])) as server:
        source = Source(server.url, format="vmdk", digest=digest(image))
        holds(fetch(source, tmp_path / "out"), DISK, tmp_path)
        wrong = replace(source, digest=digest(b"other"))
        with pytest.raises(StepError, match="disk does not match its digest") as caught:
            fetch(wrong, tmp_path / "wrong")
    assert caught.value.code is Exit.CORRUPT
    assert not (tmp_path / "wrong").exists()


def test_a_disk_that_landed_with_another_digest_is_read_again(tmp_path: Path) -> None:
    path, out = tmp_path / "image", tmp_path / "out"
    path.write_bytes(front_vmdk(tmp_path, DISK))
    source = Source(f"file://{path}", format="vmdk")
    assert fetch(source, out).source_bytes
    assert not fetch(source, out).source_bytes
    with pytest.raises(StepError, match="digest"):
        fetch(replace(source, digest=digest(b"")), out)
    assert not LandingFiles(out).landed.exists()


def test_a_broken_stream_is_not_a_wrong_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken connection is not damage to the file; it is reported as a broken connection."""
    monkeypatch.setattr("steps.disk.web.RESUME_PAUSES", ())
    image = front_vmdk(tmp_path, DISK)
    with Server(Behaviour(image, cuts=[70_000])) as server, pytest.raises(StepError) as caught:
        fetch(Source(server.url, format="vmdk", digest=digest(image)), tmp_path / "out")
    assert caught.value.code is Exit.BROKEN_STREAM


@pytest.mark.parametrize("format", ["qcow2", "raw"])
def test_a_blank_disk_lands_empty(tmp_path: Path, format: DiskFormat) -> None:  # noqa: A002
    out = tmp_path / "out"
    size = (5 << 30) + 512
    land_blank(out, format=format, capacity=size, identity="blank")
    landed = land_blank(out, format=format, capacity=size, identity="blank")
    assert landed.size == out.stat().st_size
    assert out.stat().st_blocks * 512 < 1 << 20
    info = qemu.info(out, format)
    if format == "qcow2":
        qemu.check(out, format)
    assert info.virtual_size == size
    empty = tmp_path / "empty"
    empty.touch()
    assert qemu.compare(out, format, empty, "raw")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out.landed.json", "empty"}
