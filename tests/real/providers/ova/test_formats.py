"""Disks in formats other than stream-optimized VMDK: the descriptor decides how they are read."""

from __future__ import annotations

import gzip
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from steps import convert
from steps.disk import qemu
from steps.model.contract import Exit
from steps.model.machine import Severity
from steps.model.plan import DiskFormat
from steps.model.sectors import whole_sectors
from steps.providers import connect
from steps.runtime.stop import Stop
from tests.provider_contract import ignore
from tests.real.disk.test_self_contained import stream, vhd
from tests.unit.steps.disk.test_self_contained import DISK, qcow2, vhdx
from tests.unit.steps.providers.ova.conftest import MakeAccess, Refused
from tests.unit.steps.providers.ova.make import build_files
from tests.unit.steps.providers.ova.test_formats import STREAM, export, package


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
def test_a_disk_in_another_format_keeps_its_content(
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


def test_a_raw_disk_that_looks_like_another_is_raw(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    """The content of the first sector, which a guest writes, does not decide how its disk is read."""
    content = bytearray(raws[0].read_bytes())
    content[:4] = b"QFI\xfb"
    raws[0].write_bytes(content)
    folder = package(tmp_path, raws, bytes(content), b"", ".img")
    found = export(access, folder, tmp_path / "disk.qcow2")
    assert qemu.compare(raws[0], "raw", found.path, found.format)


@pytest.mark.parametrize("declared", [0, 1, 512])
def test_a_raw_disk_that_ends_within_a_sector_is_completed(
    tmp_path: Path, raws: list[Path], access: MakeAccess, declared: int
) -> None:
    """Also if the descriptor has the exact size, or the size that QEMU shows for it."""
    content = raws[0].read_bytes()[:-100] + b"end"
    whole = tmp_path / "whole"
    whole.write_bytes(content.ljust(whole_sectors(len(content)), b"\0"))
    folder = package(tmp_path, raws, content, b"", ".img")
    text = (folder / "web.ovf").read_text()
    size = {0: 0, 1: len(content), 512: whole_sectors(len(content))}[declared]
    text = re.sub(r'ovf:capacity="\d+"', f'ovf:capacity="{size}"', text)
    (folder / "web.ovf").write_text(re.sub(r' ovf:capacityAllocationUnits="[^"]*"', "", text))
    with connect(access(folder)) as source:
        machine = source.describe("web", None)
    assert machine.disks[0].capacity == whole.stat().st_size
    concerns = {concern.code: concern.severity for concern in machine.concerns}
    assert concerns["odd-size"] is Severity.LOG
    assert "capacity-differs" not in concerns
    out = tmp_path / "disk.qcow2"
    found = export(access, folder, out)
    made = convert.ensure_format(
        found, out, DiskFormat.QCOW2, whole.stat().st_size, report=ignore, stop=Stop()
    )
    assert qemu.compare(whole, "raw", made.path, made.format)


def test_a_raw_disk_that_is_cut_short_is_still_refused(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    folder = package(tmp_path, raws, raws[0].read_bytes()[:-1000], b"", ".img")
    with connect(access(folder)) as source:
        concerns = source.describe("web", None).concerns
    assert ("file-size", Severity.BLOCK) in [(concern.code, concern.severity) for concern in concerns]


def test_a_disk_may_be_referenced_by_its_file(tmp_path: Path, raws: list[Path], access: MakeAccess) -> None:
    files = build_files(raws[:1], manifest=None)
    text = files.contents["web.ovf"].replace(b"ovf:/disk/vmdisk1", b"ovf:/file/file1")
    files.contents["web.ovf"] = text
    files.write(tmp_path / "package")
    found = export(access, tmp_path / "package", tmp_path / "disk.qcow2")
    assert qemu.compare(raws[0], "raw", found.path, found.format)


QCOW2 = b"http://www.gnome.org/~markmc/qcow-image-format.html"
VHD = b"http://go.microsoft.com/fwlink/?LinkId=137171"


@pytest.mark.parametrize("how", ["plain", "compressed", "split"])
@pytest.mark.parametrize(("make", "uri"), [(qcow2, QCOW2), (vhd, VHD), (stream, STREAM)])
def test_a_part_of_a_disk_is_refused_in_preflight(
    tmp_path: Path,
    raws: list[Path],
    access: MakeAccess,
    refused: Refused,
    make: Callable[[Path], bytes],
    uri: bytes,
    how: str,
) -> None:
    image = make(tmp_path)
    raws[0].write_bytes(DISK)
    packed = {"compressed": gzip.compress(image), "split": image[:1000]}.get(how, image)
    folder = package(tmp_path, raws, packed, uri, ".vmdk")
    text = (folder / "web.ovf").read_text()
    more = {"compressed": ' ovf:compression="gzip"', "split": ' ovf:chunkSize="1000"'}.get(how, "")
    (folder / "web.ovf").write_text(
        text.replace('ovf:id="file1"', f'ovf:id="file1"{more}').replace(
            f'ovf:size="{text.partition("ovf:size=")[2].split(chr(34))[1]}"', ""
        )
    )
    if how == "split":
        (folder / "web-disk1.vmdk").unlink()
        for number in range(-(-len(image) // 1000)):
            piece = folder / f"web-disk1.vmdk.{number:09d}"
            piece.write_bytes(image[number * 1000 : (number + 1) * 1000])
    with connect(access(folder)) as source:
        machine = source.describe("web", None)
        assert "delta-disk" in {one.code for one in machine.concerns if one.severity is Severity.BLOCK}
        error = refused(
            lambda: source.export(machine, machine.disks[0], tmp_path / "out", DiskFormat.QCOW2, ignore)
        )
    assert (error.code, "not a whole disk" in str(error)) == (Exit.UNSUPPORTED, True)
    assert not (tmp_path / "out").exists()


def test_the_parent_of_a_vhdx_is_found_in_its_tables(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    """It is far after the part that the first read of a file returns."""
    raws[0].write_bytes(DISK)
    image = vhdx(tmp_path)
    files = build_files(raws[:1], manifest=None)
    text = files.contents["web.ovf"].replace(STREAM, b"").replace(b"disk1.vmdk", b"disk1.vhdx")
    files.contents = {"web.ovf": text, "web-disk1.vhdx": image}
    files.pack(tmp_path / "m.ova", "ustar")
    with connect(access(tmp_path / "m.ova")) as source:
        (concern,) = [one for one in source.describe("web", None).concerns if one.severity is Severity.BLOCK]
    assert (concern.code, "differencing VHDX" in concern.message) == ("delta-disk", True)
