"""Files that the package has under another name, or in another compression, than the descriptor says."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path
from typing import Any

import pytest

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine, Severity
from steps.model.plan import DiskFormat
from steps.providers import connect
from tests.provider_contract import ignore
from tests.unit.steps.disk.server import Behaviour
from tests.unit.steps.providers.ova.conftest import MakeAccess, Refused
from tests.unit.steps.providers.ova.make import Files, build_files, pieces
from tests.unit.steps.providers.ova.site import Page, Site

DISK = "web-disk1.vmdk"
STREAM = b"http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
RAW = b"http://en.wikipedia.org/wiki/Byte"
PLACES = ["tar", "folder", "server", "server-without-range", "archive-without-range"]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def imported(
    access: MakeAccess, files: Files, folder: Path, place: str = "tar", name: str = "out"
) -> tuple[Machine, bytes]:
    """The VM and the content of its disk, from a package at such a place."""
    out = folder / name
    if place == "folder":
        files.write(folder / "package")
        return _read(access, folder / "package", out)
    if place.startswith("server"):
        pages: dict[str, Any] = {
            f"/p/{file}": Page(Behaviour(content, ranges=place == "server"))
            for file, content in files.contents.items()
        }
        with Site(pages) as site:
            return _read(access, site.base + "/p/web.ovf", out)
    files.pack(folder / "m.ova", "ustar")
    if place == "tar":
        return _read(access, folder / "m.ova", out)
    with Site({"/m.ova": Page(Behaviour((folder / "m.ova").read_bytes(), ranges=False))}) as site:
        return _read(access, site.base + "/m.ova", out)


def _read(access: MakeAccess, where: object, out: Path) -> tuple[Machine, bytes]:
    with connect(access(where)) as source:
        machine = source.describe("web", None)
        landed = source.export(machine, machine.disks[0], out, DiskFormat.RAW, ignore)
    return machine, landed.path.read_bytes()


def described(access: MakeAccess, files: Files, folder: Path) -> Machine:
    files.pack(folder / "m.ova", "ustar")
    with connect(access(folder / "m.ova")) as source:
        return source.describe("web", None)


def codes(machine: Machine, severity: Severity) -> dict[str, str]:
    return {one.code: str(one) for one in machine.concerns if one.severity is severity}


def renamed(raws: list[Path], names: list[str], **more: Any) -> Files:
    """A package whose disk has another name; the manifest has the descriptor's name, or that one."""
    files = build_files(raws[1:], **more)
    content = files.contents.pop(DISK)
    files.contents |= dict.fromkeys(names, content)
    return files


# --- names


@pytest.mark.parametrize("manifest", ["sha256", None])
@pytest.mark.parametrize("number", [0, 7])
def test_the_numbered_file_of_a_vm_with_snapshots_is_used(
    tmp_path: Path, raws: list[Path], access: MakeAccess, place: str, manifest: str | None, number: int
) -> None:
    if number and place.startswith("server"):
        pytest.skip("a server is only asked for the first numbers")
    files = renamed(raws, [f"{DISK}.{number:09d}"], manifest=manifest)
    machine, content = imported(access, files, tmp_path, place)
    assert content == raws[1].read_bytes()
    if place != "archive-without-range":
        assert f"{DISK}.{number:09d} is used" in codes(machine, Severity.WARN)["file-renamed"]


def test_a_numbered_file_is_checked_by_the_digest_of_either_name(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused
) -> None:
    for listed in (DISK, f"{DISK}.000000000"):
        files = renamed(raws, [f"{DISK}.000000000"], manifest=None)
        files.contents["web.mf"] = f"SHA256({listed})= {'0' * 64}\n".encode()
        error = refused(lambda: imported(access, files, tmp_path, name=f"out-{listed}"))  # noqa: B023
        assert (error.code, DISK in str(error)) == (Exit.CORRUPT, True)


def test_of_several_snapshots_the_last_one_is_used(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    files = build_files(raws[1:], manifest=None)
    older = build_files(raws[:1], manifest=None).contents[DISK]
    last = files.contents.pop(DISK)
    files.contents |= {f"{DISK}.000000000": older, f"{DISK}.000000001": older, f"{DISK}.000000002": last}
    assert imported(access, files, tmp_path)[1] == raws[1].read_bytes()


@pytest.mark.parametrize("size", [100_000, 400_000])
def test_pieces_without_a_chunk_size_are_put_together(
    tmp_path: Path, raws: list[Path], access: MakeAccess, size: int
) -> None:
    files = build_files(raws[1:], manifest=None)
    files.contents |= dict(pieces(DISK, files.contents.pop(DISK), size))
    machine, content = imported(access, files, tmp_path)
    assert content == raws[1].read_bytes()
    assert "pieces" in codes(machine, Severity.WARN)["file-renamed"]


def test_a_gap_between_pieces_is_not_guessed(tmp_path: Path, raws: list[Path], access: MakeAccess) -> None:
    files = build_files(raws[1:], manifest=None)
    split = dict(pieces(DISK, files.contents.pop(DISK), 100_000))
    del split[f"{DISK}.000000001"]
    files.contents |= split
    assert f"{DISK}.000000000" in codes(described(access, files, tmp_path), Severity.BLOCK)["file-missing"]


def test_of_several_raw_files_none_is_guessed(tmp_path: Path, raws: list[Path], access: MakeAccess) -> None:
    """Their first bytes are the guest's: they cannot show whether these are snapshots or pieces."""
    files = renamed(raws, [f"{DISK}.000000000", f"{DISK}.000000001"], manifest=None)
    files.contents["web.ovf"] = files.contents["web.ovf"].replace(STREAM, RAW)
    found = codes(described(access, files, tmp_path), Severity.BLOCK)["file-missing"]
    assert f"{DISK}.000000000, {DISK}.000000001" in found


def test_the_exact_name_counts_more_than_a_numbered_one(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    files = build_files(raws[1:], manifest=None)
    files.contents[f"{DISK}.000000000"] = b"KDMV" + bytes(600)
    machine, content = imported(access, files, tmp_path)
    assert content == raws[1].read_bytes()
    assert "file-renamed" not in codes(machine, Severity.WARN)


# --- compression


def changed(files: Files, old: bytes, new: bytes) -> Files:
    assert old in files.contents["web.ovf"]
    files.contents["web.ovf"] = files.contents["web.ovf"].replace(old, new)
    return files


def test_a_disk_in_gzip_without_the_attribute_is_unpacked(
    tmp_path: Path, raws: list[Path], access: MakeAccess, place: str
) -> None:
    files = build_files(raws[1:], compress=True, manifest=None)
    files = changed(files, b' ovf:compression="gzip"', b"")
    machine, content = imported(access, files, tmp_path, place)
    assert content == raws[1].read_bytes()
    if place != "archive-without-range":
        assert "compression-differs" in codes(machine, Severity.WARN)
        assert machine.disks[0].capacity == raws[1].stat().st_size


def test_a_disk_in_gzip_whose_name_does_not_show_it_is_unpacked(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    files = build_files(raws[1:], manifest=None)
    files.contents[DISK] = gzip.compress(files.contents[DISK], 1)
    assert imported(access, files, tmp_path)[1] == raws[1].read_bytes()


def test_a_raw_disk_in_gzip_is_unpacked_if_its_name_says_so(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    files = build_files(raws[1:], manifest=None)
    files.contents[f"{DISK}.gz"] = gzip.compress(raws[1].read_bytes(), 1)
    del files.contents[DISK]
    files = changed(changed(files, STREAM, RAW), DISK.encode(), f"{DISK}.gz".encode())
    assert imported(access, files, tmp_path)[1] == raws[1].read_bytes()


def test_a_raw_disk_whose_guest_wrote_gzip_is_not_unpacked(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    files = build_files(raws[1:], manifest=None)
    disk = b"\x1f\x8b\x08" + raws[1].read_bytes()[3:]
    files.contents[DISK] = disk
    assert imported(access, changed(files, STREAM, RAW), tmp_path)[1] == disk


def test_a_disk_that_is_not_compressed_although_the_descriptor_says_so_is_read(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    files = build_files(raws[1:], manifest=None)
    files = changed(files, b'ovf:id="file1"', b'ovf:id="file1" ovf:compression="gzip"')
    machine, content = imported(access, files, tmp_path)
    assert content == raws[1].read_bytes()
    assert "compression-differs" in codes(machine, Severity.WARN)


@pytest.mark.parametrize(("pack", "word"), [(lzma.compress, "xz"), (bz2.compress, "bzip2")])
def test_another_compression_blocks_the_import_before_it_begins(
    tmp_path: Path, raws: list[Path], access: MakeAccess, pack: Any, word: str
) -> None:
    files = build_files(raws[1:], manifest=None)
    files.contents[DISK] = pack(files.contents[DISK][:100_000])
    assert word in codes(described(access, files, tmp_path), Severity.BLOCK)["disk-compression"]


# --- sizes


def test_a_raw_disk_that_is_cut_short_blocks_the_import(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    files = build_files(raws[1:], manifest=None)
    files.contents[DISK] = raws[1].read_bytes()[:-512]
    assert (
        "cut short"
        in codes(described(access, changed(files, STREAM, RAW), tmp_path), Severity.BLOCK)["file-size"]
    )


def test_a_raw_disk_that_is_larger_than_its_capacity_keeps_its_end(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    files = build_files(raws[1:], manifest=None)
    files.contents[DISK] = raws[1].read_bytes() + b"x" * 512
    machine, content = imported(access, changed(files, STREAM, RAW), tmp_path)
    assert content == raws[1].read_bytes() + b"x" * 512
    assert "capacity-differs" in codes(machine, Severity.WARN)


def test_a_missing_file_is_still_missing(tmp_path: Path, raws: list[Path], access: MakeAccess) -> None:
    files = build_files(raws[1:], manifest=None)
    del files.contents[DISK]
    assert (
        "get the complete package"
        in codes(described(access, files, tmp_path), Severity.BLOCK)["file-missing"]
    )
    with connect(access(tmp_path / "m.ova")) as source:
        machine = source.describe("web", None)
        with pytest.raises(StepError) as caught:
            source.export(machine, machine.disks[0], tmp_path / "out", DiskFormat.RAW, ignore)
    assert caught.value.code is Exit.NOT_FOUND
