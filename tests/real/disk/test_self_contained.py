"""Images that are only a part of a disk are refused wherever one is read; complete images never are."""

from __future__ import annotations

import struct
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.disk import qemu, self_contained
from steps.disk.land import Source
from steps.model.contract import Exit, StepError
from steps.runtime.stop import Stop
from tests.unit.steps.disk.conftest import fetch
from tests.unit.steps.disk.streamvmdk import stream_vmdk
from tests.unit.steps.disk.test_self_contained import DISK, converted, qcow2, reader, vhdx


def vhd(folder: Path) -> bytes:
    """A differencing VHD: a dynamic one whose footer and its copy at the start have that type."""
    data = converted(folder, "vpc", "-o", "subformat=dynamic,force_size=on")
    for at in (0, len(data) - 512):
        assert data[at : at + 8] == b"conectix"
        struct.pack_into(">I", data, at + 60, 4)
        struct.pack_into(">I", data, at + 64, 0)
        struct.pack_into(">I", data, at + 64, ~sum(data[at : at + 512]) & 0xFFFFFFFF)
    return bytes(data)


def vhdx_by_its_locator(folder: Path) -> bytes:
    """A VHDX with a parent locator instead of its physical sector size."""
    data = converted(folder, "vhdx")
    at = data.index(uuid.UUID("cda348c7-445d-4471-9cc9-e9885251c556").bytes_le)
    data[at : at + 16] = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le
    return bytes(data)


def qcow2_with_data_elsewhere(folder: Path) -> bytes:
    argv = ["create", "-q", "-f", "qcow2", "-o", f"data_file={folder}/data", str(folder / "image"), "2M"]
    subprocess.run(["qemu-img", *argv], check=True)
    return (folder / "image").read_bytes()


def stream(_folder: Path) -> bytes:
    data = bytearray(stream_vmdk(DISK).data)
    at = data.index(b"parentCID=ffffffff")
    data[at : at + 18] = b"parentCID=00000001"
    return bytes(data)


def sparse(folder: Path) -> bytes:
    data = converted(folder, "vmdk", "-o", "subformat=monolithicSparse")
    at = data.index(b"parentCID=ffffffff")
    data[at : at + 18] = b"parentCID=00000001"
    return bytes(data)


def of_esx(_folder: Path) -> bytes:
    return b"COWD\x01\0\0\0\x03\0\0\0".ljust(4096, b"\0")


def of_esxi(_folder: Path) -> bytes:
    return struct.pack("<Q", 0xCAFEBABE).ljust(4096, b"\0")


def descriptor(_folder: Path) -> bytes:
    return b'# Disk DescriptorFile\ncreateType="twoGbMaxExtentSparse"\nRW 64 SPARSE "a-s001.vmdk"\n'.ljust(
        512
    )


def piece(folder: Path) -> bytes:
    """The data of a split VMDK, whose descriptor is a separate file."""
    converted(folder, "vmdk", "-o", "subformat=twoGbMaxExtentSparse")
    return (folder / "image-s001").read_bytes()


def piece_of_vmware(folder: Path) -> bytes:
    """The same, written by VMware: descriptorOffset and descriptorSize are 0."""
    data = piece(folder)
    return data[:28] + bytes(16) + data[44:]


PARTS: dict[Callable[[Path], bytes], str] = {
    vhd: "vpc",
    vhdx: "vhdx",
    vhdx_by_its_locator: "vhdx",
    qcow2: "qcow2",
    qcow2_with_data_elsewhere: "qcow2",
    stream: "vmdk",
    sparse: "vmdk",
    of_esx: "vmdk",
    of_esxi: "vmdk",
    descriptor: "vmdk",
    piece: "vmdk",
    piece_of_vmware: "vmdk",
}


def name_of(make: Callable[[Path], bytes]) -> str:
    return make.__name__


@pytest.mark.parametrize("make", PARTS, ids=name_of)
@pytest.mark.parametrize("named", [True, False])
def test_a_part_of_a_disk_is_refused(tmp_path: Path, make: Callable[[Path], bytes], named: bool) -> None:
    data = make(tmp_path)
    with pytest.raises(StepError, match="is not a whole disk") as caught:
        self_contained.check(PARTS[make] if named else "auto", reader(data), size=len(data))
    assert caught.value.code is Exit.UNSUPPORTED


@pytest.mark.parametrize("make", PARTS, ids=name_of)
def test_a_part_on_scratch_is_never_converted(tmp_path: Path, make: Callable[[Path], bytes]) -> None:
    (tmp_path / "in").write_bytes(make(tmp_path))
    with pytest.raises(StepError, match="in is not a whole disk") as caught:
        qemu.info(tmp_path / "in", PARTS[make])
    assert caught.value.code is Exit.UNSUPPORTED


@pytest.mark.parametrize(
    "make", [vhd, qcow2, stream, of_esx, of_esxi, descriptor, piece_of_vmware], ids=name_of
)
def test_a_part_is_detected_by_its_first_bytes(tmp_path: Path, make: Callable[[Path], bytes]) -> None:
    (tmp_path / "in").write_bytes(make(tmp_path))
    with pytest.raises(StepError, match="is not a whole disk"):
        fetch(Source(f"file://{tmp_path}/in", format=PARTS[make]), tmp_path / "out")  # type: ignore[arg-type]
    assert not (tmp_path / "out.landed.json").exists()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("vpc", ["-o", "subformat=dynamic,force_size=on"]),
        ("vpc", ["-o", "subformat=fixed,force_size=on"]),
        ("vhdx", []),
        ("qcow2", []),
        ("qcow2", ["-o", "compat=0.10"]),
        ("vmdk", ["-o", "subformat=monolithicSparse"]),
        ("vmdk", ["-o", "subformat=streamOptimized"]),
    ],
)
def test_a_whole_disk_passes(tmp_path: Path, kind: str, options: list[str]) -> None:
    data = bytes(converted(tmp_path, kind, *options))
    for named in (kind, "auto"):
        self_contained.check(named, reader(data), size=len(data))
    assert qemu.info(tmp_path / "image", kind).virtual_size == len(DISK)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("vpc", ["-o", "subformat=dynamic,force_size=on"]),
        ("vhdx", []),
        ("qcow2", []),
        ("qcow2", ["-c"]),
        ("vmdk", ["-o", "subformat=monolithicSparse"]),
    ],
)
def test_a_truncated_image_is_never_converted(tmp_path: Path, kind: str, options: list[str]) -> None:
    """Except if the missing bytes are not part of the disk: the unwritten rest of a block."""
    data = converted(tmp_path, kind, *options)
    for cut, is_refused in ((len(data) // 2, True), (len(data) - 100_000, kind != "vhdx")):
        (tmp_path / "in").write_bytes(data[:cut])
        images = tmp_path / "in", kind, tmp_path / "out", "raw"
        try:
            qemu.convert(*images, report=lambda done, total: None, stop=Stop())
        except StepError as error:
            assert error.code is Exit.CORRUPT  # noqa: PT017 - it may also pass
            assert not (tmp_path / "out").exists()
        else:
            assert not is_refused
            assert (tmp_path / "out").read_bytes() == DISK
