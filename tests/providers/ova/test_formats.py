"""Disks in other formats than stream-optimized VMDK: what the descriptor calls them is how they are read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from steps import qemu
from steps.contract import Exit
from steps.convert import hand_on
from steps.disk.land import Landed
from steps.plan import DiskFormat
from steps.providers import connect
from steps.stop import Stop
from tests.provider_contract import ignore
from tests.providers.ova.conftest import MakeAccess, Refused
from tests.providers.ova.make import build_files

STREAM = b"http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"


def export(access: MakeAccess, folder: Path, out: Path) -> Landed:
    with connect(access(folder)) as source:
        machine = source.describe("web", None)
        return source.export(machine, machine.disks[0], out, DiskFormat.QCOW2, ignore)


def package(tmp_path: Path, raws: list[Path], image: bytes, uri: bytes, suffix: str = ".vmdk") -> Path:
    """A folder with one disk, which is `image` whatever the descriptor says."""
    files = build_files(raws[:1], manifest=None)
    text = files.contents["web.ovf"].replace(STREAM, uri).replace(b"disk1.vmdk", b"disk1" + suffix.encode())
    files.contents = {"web.ovf": text, f"web-disk1{suffix}": image}
    files.write(tmp_path / "package")
    return tmp_path / "package"


@pytest.mark.parametrize(
    ("options", "uri", "suffix", "landed"),
    [
        (["vmdk", "-o", "subformat=monolithicSparse"], STREAM, ".vmdk", "vmdk"),
        (["vmdk", "-o", "subformat=monolithicSparse"], b"", ".vmdk", "vmdk"),
        (
            ["vpc", "-o", "subformat=dynamic,force_size=on"],
            b"http://go.microsoft.com/fwlink/?LinkId=137171",
            ".x",
            "vpc",
        ),
        (["vhdx"], b"", ".vhdx", "vhdx"),
        (["qcow2"], b"http://www.gnome.org/~markmc/qcow-image-format.html", ".x", "qcow2"),
        (["raw"], b"", ".img", "qcow2"),
        (["raw"], b"http://en.wikipedia.org/wiki/Byte", ".x", "qcow2"),
    ],
)
def test_a_format_arrives_and_holds_the_same(
    tmp_path: Path,
    raws: list[Path],
    access: MakeAccess,
    options: list[str],
    uri: bytes,
    suffix: str,
    landed: str,
) -> None:
    image = tmp_path / "image"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", *options, raws[0], image], check=True)
    folder = package(tmp_path, raws, image.read_bytes(), uri, suffix)
    found = export(access, folder, tmp_path / "disk.qcow2")
    assert found.format == landed
    assert qemu.compare(raws[0], "raw", found.path, found.format)


@pytest.mark.parametrize(
    ("image", "uri", "code"),
    [
        (b"QFI\xfb" + bytes(1 << 20), STREAM, Exit.CORRUPT),
        (b'# Disk DescriptorFile\nRW 12288 FLAT "/etc/passwd" 0\n'.ljust(4096), STREAM, Exit.UNSUPPORTED),
        (b"KDMV" + bytes(1 << 20), b"http://www.gnome.org/~markmc/qcow-image-format.html", Exit.CORRUPT),
        (bytes(1 << 20), b"http://example.com/vhdx", Exit.CORRUPT),
        (bytes(1 << 20), b"http://en.wikipedia.org/wiki/Byte", Exit.CORRUPT),
    ],
)
def test_what_is_not_as_the_descriptor_says(
    tmp_path: Path,
    raws: list[Path],
    access: MakeAccess,
    refused: Refused,
    image: bytes,
    uri: bytes,
    code: Exit,
) -> None:
    folder = package(tmp_path, raws, image, uri)
    assert refused(lambda: export(access, folder, tmp_path / "disk.qcow2")).code is code
    assert not (tmp_path / "disk.qcow2").exists()


def test_a_raw_disk_that_looks_like_another_is_raw(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    """What a guest writes into its first sector does not choose how its disk is read."""
    content = bytearray(raws[0].read_bytes())
    content[:4] = b"QFI\xfb"
    raws[0].write_bytes(content)
    folder = package(tmp_path, raws, bytes(content), b"", ".img")
    found = export(access, folder, tmp_path / "disk.qcow2")
    assert qemu.compare(raws[0], "raw", found.path, found.format)


def test_a_disk_named_by_its_file(tmp_path: Path, raws: list[Path], access: MakeAccess) -> None:
    files = build_files(raws[:1], manifest=None)
    text = files.contents["web.ovf"].replace(b"ovf:/disk/vmdisk1", b"ovf:/file/file1")
    files.contents["web.ovf"] = text
    files.write(tmp_path / "package")
    found = export(access, tmp_path / "package", tmp_path / "disk.qcow2")
    assert qemu.compare(raws[0], "raw", found.path, found.format)


def test_a_disk_that_leans_on_a_file_of_this_machine_is_refused(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused
) -> None:
    image, out = tmp_path / "image", tmp_path / "disk.qcow2"
    size = str(raws[0].stat().st_size)
    argv = ["create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", str(image), size]
    subprocess.run(["qemu-img", *argv], check=True)
    uri = b"http://www.gnome.org/~markmc/qcow-image-format.html"
    found = export(access, package(tmp_path, raws, image.read_bytes(), uri), out)
    wanted = DiskFormat.QCOW2
    error = refused(lambda: hand_on(found, out, wanted, int(size), report=ignore, stop=Stop()))
    assert error.code is Exit.UNSUPPORTED
