"""Archives whose files lie in a folder: names are relative to the descriptor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.model.contract import Exit
from steps.model.machine import Machine
from steps.model.plan import DiskFormat
from steps.providers import connect
from tests.provider_contract import ignore
from tests.unit.steps.disk.server import Behaviour
from tests.unit.steps.providers.ova.conftest import MakeAccess, Refused
from tests.unit.steps.providers.ova.make import Files, Packer, build_files
from tests.unit.steps.providers.ova.site import Page, Site

DISK = "web-disk1.vmdk"


def moved(files: Files, folder: str, *kept: str) -> Files:
    """All files in a folder of the archive, except `kept`."""
    return Files({name if name in kept else folder + name: text for name, text in files.contents.items()})


def imported(access: MakeAccess, place: object, out: Path) -> tuple[Machine, bytes]:
    with connect(access(place)) as source:
        machine = source.describe("web", None)
        source.export(machine, machine.disks[0], out, DiskFormat.RAW, ignore)
    return machine, out.read_bytes()


@pytest.mark.parametrize("packer", ["ustar", "pax", "gnu", "tar"])
@pytest.mark.parametrize("folder", ["web/", "./web/", "exports/My VMs/web/"])
def test_files_in_one_folder_of_the_archive_are_found(
    tmp_path: Path, raws: list[Path], access: MakeAccess, folder: str, packer: Packer
) -> None:
    moved(build_files(raws[1:]), folder).pack(tmp_path / "m.ova", packer)
    machine, content = imported(access, tmp_path / "m.ova", tmp_path / "out")
    assert content == raws[1].read_bytes()
    assert not machine.concerns


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("flavour", ["vmware", "virtualbox"])
def test_files_in_a_folder_of_an_archive_on_a_server_are_found(
    tmp_path: Path, raws: list[Path], access: MakeAccess, flavour: str, *, ranges: bool
) -> None:
    moved(build_files(raws[1:], flavour), "web/").pack(tmp_path / "m.ova", "ustar")  # type: ignore[arg-type]
    page = Page(Behaviour((tmp_path / "m.ova").read_bytes(), ranges=ranges))
    with Site({"/m.ova": page}) as site:
        _, content = imported(access, site.base + "/m.ova", tmp_path / "out")
    assert content == raws[1].read_bytes()


def test_a_file_in_a_folder_is_checked_against_the_manifest_next_to_it(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused
) -> None:
    files = build_files(raws[1:])
    digest = hashlib.sha256(b"other").hexdigest()
    files.contents["web.mf"] = f"SHA256({DISK})= {digest}\n".encode()
    moved(files, "web/").pack(tmp_path / "m.ova", "ustar")
    error = refused(lambda: imported(access, tmp_path / "m.ova", tmp_path / "out"))
    assert (error.code, DISK in str(error)) == (Exit.CORRUPT, True)


def with_folder(good: bool) -> Callable[[Files], bytes]:
    """A manifest by `sha256sum web/*`."""

    def manifest(files: Files) -> bytes:
        texts = {name: text if good or name != DISK else b"other" for name, text in files.contents.items()}
        return b"".join(
            f"{hashlib.sha256(text).hexdigest()}  web/{name}\n".encode() for name, text in texts.items()
        )

    return manifest


@pytest.mark.parametrize("tar", [True, False], ids=["tar", "folder"])
@pytest.mark.parametrize("good", [True, False], ids=["right", "wrong"])
def test_a_manifest_may_name_the_folder_of_the_package(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused, *, tar: bool, good: bool
) -> None:
    files = build_files(raws[1:], manifest=None)
    files.contents["web.mf"] = with_folder(good)(files)
    place = tmp_path / "web"
    if tar:
        place = tmp_path / "m.ova"
        moved(files, "web/").pack(place, "ustar")
    else:
        files.write(place)
    if good:
        machine, content = imported(access, place, tmp_path / "out")
        assert content == raws[1].read_bytes()
        assert not machine.concerns
    else:
        error = refused(lambda: imported(access, place, tmp_path / "out"))
        assert (error.code, DISK in str(error)) == (Exit.CORRUPT, True)


def test_the_file_next_to_the_descriptor_counts_more_than_one_at_the_top(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    files = moved(build_files(raws[1:], manifest=None), "web/")
    files.contents = {DISK: b"this is another file", **files.contents}
    files.pack(tmp_path / "m.ova", "ustar")
    assert imported(access, tmp_path / "m.ova", tmp_path / "out")[1] == raws[1].read_bytes()


def test_a_reference_that_names_the_folder_of_the_archive_is_found(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    files = build_files(raws[1:], manifest=None)
    files.contents["web.ovf"] = files.contents["web.ovf"].replace(DISK.encode(), b"web/" + DISK.encode())
    moved(files, "web/").pack(tmp_path / "m.ova", "ustar")
    assert imported(access, tmp_path / "m.ova", tmp_path / "out")[1] == raws[1].read_bytes()


def test_a_missing_file_is_missing_also_in_a_folder(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    files = build_files(raws[1:], manifest=None)
    del files.contents[DISK]
    moved(files, "web/").pack(tmp_path / "m.ova", "ustar")
    with connect(access(tmp_path / "m.ova")) as source:
        assert "file-missing" in {concern.code for concern in source.describe("web", None).concerns}


def test_descriptors_in_several_folders_are_several_packages(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused
) -> None:
    files = build_files(raws[1:], manifest=None)
    Files({**moved(files, "a/").contents, **moved(files, "b/").contents}).pack(tmp_path / "m.ova", "ustar")
    error = refused(lambda: imported(access, tmp_path / "m.ova", tmp_path / "out"))
    assert error.code is Exit.AMBIGUOUS
    assert "a/web.ovf, b/web.ovf" in str(error)
