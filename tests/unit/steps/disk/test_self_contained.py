"""Images that are only a part of a disk are refused wherever one is read; complete images never are."""

from __future__ import annotations

import struct
import subprocess
import uuid
from pathlib import Path

import pytest

from steps.disk import self_contained
from steps.model.contract import StepError
from tests.unit.steps.disk.conftest import GRAIN, make_disk
from tests.unit.steps.disk.streamvmdk import stream_vmdk

DISK = make_disk(2 << 20)


def converted(folder: Path, kind: str, *options: str) -> bytearray:
    (folder / "raw").write_bytes(DISK)
    argv = ["convert", "-f", "raw", "-O", kind, *options, str(folder / "raw"), str(folder / "image")]
    subprocess.run(["qemu-img", *argv], check=True)
    return bytearray((folder / "image").read_bytes())


def vhdx(folder: Path) -> bytes:
    """A VHDX whose file parameters declare a parent."""
    data = converted(folder, "vhdx")
    at = data.index(uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le)
    metadata = data.rindex(b"metadata", 0, at)
    offset = metadata + struct.unpack_from("<I", data, at + 16)[0]
    data[offset + 4] |= 2
    return bytes(data)


def qcow2(folder: Path) -> bytes:
    argv = [
        "create",
        "-q",
        "-f",
        "qcow2",
        "-u",
        "-b",
        "parent.qcow2",
        "-F",
        "qcow2",
        str(folder / "image"),
        "2M",
    ]
    subprocess.run(["qemu-img", *argv], check=True)
    return (folder / "image").read_bytes()


def reader(data: bytes) -> self_contained.ReadAt:
    return lambda offset, count: data[offset : offset + count]


@pytest.mark.parametrize(
    "words",
    [
        b"parentCID=0000001f",
        b'parentCID="1"',
        b"PARENTCID = 0x1",
        b"parentCID=ffffffff\nparentCID=1",
        b"CID=1\rparentCID=1",
        b'parentCID=ffffffff\nparentfilenamehint="a.vmdk"',
    ],
)
def test_a_parent_is_detected_in_any_spelling(words: bytes) -> None:
    data = bytes(stream_vmdk(DISK).data)
    at, end = data.index(b"parentCID="), data.index(b"createType=")
    changed = data[:at] + (words + b"\n").ljust(end - at, b"#") + data[end:]
    with pytest.raises(StepError, match="is not a whole disk"):
        self_contained.check("vmdk", reader(changed))


@pytest.mark.parametrize("kind", ["vpc", "vhdx", "qcow2", "vmdk", "raw", "auto"])
@pytest.mark.parametrize("size", [0, 1, 8, 511, 512, 5000])
def test_short_or_foreign_data_passes(kind: str, size: int) -> None:
    """It is damaged; other checks report that."""
    for start in (b"", b"conectix", b"vhdxfile", b"QFI\xfb\0\0\0\3", b"KDMV"):
        self_contained.check(kind, reader((start + bytes(GRAIN))[:size]), size=size)


def test_a_raw_disk_may_have_any_content() -> None:
    """The content of the first sector, which a guest writes, does not decide how its disk is read."""
    data = b"conectix".ljust(60, b"\0") + struct.pack(">I", 4) + bytes(1000)
    self_contained.check("raw", reader(data), size=len(data))
