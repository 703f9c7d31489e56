"""Digests are checked during the transfer; resuming after a kill; compressed and split files; memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from steps.disk.land import Landed
from steps.disk.landed import LandingFiles
from steps.model.contract import Exit, Stopped
from steps.model.plan import DiskFormat
from steps.providers import Access, connect
from tests.provider_contract import ignore
from tests.unit.steps.disk.conftest import make_disk
from tests.unit.steps.providers.ova.conftest import MakeAccess, Refused
from tests.unit.steps.providers.ova.make import Flavour, build_files
from tests.unit.steps.providers.ova.test_digest import MIB, StopAfter, export, packed


def nothing_landed(out: Path) -> bool:
    return not (out.exists() or LandingFiles(out).landed.exists() or LandingFiles(out).source.exists())


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("flavour", ["vmware", "virtualbox", "qemu"])
def test_a_wrong_digest_of_a_disk_is_refused(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused, algorithm: str, flavour: Flavour
) -> None:
    """For any damaged byte: one that no decoder would detect, or one that stops it half-way."""
    files = build_files(raws[:1], flavour, manifest=algorithm)
    name = next(name for name in files.contents if "disk1" in name)
    good = files.contents[name]
    for number, at in enumerate((-1, len(good) // 2)):
        damaged = bytearray(good)
        damaged[at] ^= 1
        files.contents[name] = bytes(damaged)
        path = packed(tmp_path / f"{number}.ova", files)
        out = tmp_path / f"{number}.raw"
        for _ in range(2):  # and it stays refused
            error = refused(lambda: export(access(path), out))  # noqa: B023 - called at once
            assert error.code is Exit.CORRUPT
            assert name in str(error)
            assert hashlib.new(algorithm, good).hexdigest() in str(error)
            assert hashlib.new(algorithm, bytes(damaged)).hexdigest() in str(error)
            assert nothing_landed(out)


def test_a_wrong_file_size_is_reported(tmp_path: Path, raws: list[Path], access: MakeAccess) -> None:
    """Without a digest, nothing else may show that the file was truncated."""
    files = build_files(raws[:1], "qemu", manifest=None)
    (name,) = [name for name in files.contents if "disk1" in name]
    for cut in (0, 1):
        content = files.contents[name]
        files.contents[name] = content[: len(content) - cut]
        with connect(access(packed(tmp_path / f"{cut}.ova", files))) as source:
            found = {one.code: one.message for one in source.describe("web", None).concerns}
        assert (found.get("file-size", "").startswith(f"{name} has {len(content) - 1} bytes")) == bool(cut)
    with_digest = build_files(raws[:1], "qemu")
    with_digest.contents["web.ovf"] = with_digest.contents["web.ovf"].replace(b'ovf:size="', b'ovf:size="1')
    with_digest.contents.pop("web.mf")
    with_digest.with_manifest("web.mf", "sha256", last=True)
    with connect(access(packed(tmp_path / "digest.ova", with_digest))) as source:
        assert "file-size" not in {one.code for one in source.describe("web", None).concerns}


def test_a_resumed_transfer_still_detects_a_wrong_digest(
    tmp_path: Path, access: MakeAccess, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wrong byte is in the part that landed before the kill; the decoder does not see it again."""
    monkeypatch.setattr("steps.disk.checkpoint.SAVE_EVERY_BYTES", MIB)
    raw, out = tmp_path / "original.raw", tmp_path / "d.raw"
    raw.write_bytes(make_disk(24 * MIB, fill=0.9))
    files = build_files([raw], "qemu")
    image = bytearray(files.contents["web-disk1.qcow2"])
    image[MIB] ^= 1
    files.contents["web-disk1.qcow2"] = bytes(image)
    path = packed(tmp_path / "m.ova", files)
    stop = StopAfter(len(image) // 2)
    with connect(access(path, stop=stop)) as source:
        machine = source.describe("web", None)
        with pytest.raises(Stopped):
            source.export(machine, machine.disks[0], out, DiskFormat.QCOW2, stop.report)
    assert LandingFiles(out).state.exists()
    error = refused(lambda: export_as(access(path), out))
    assert error.code is Exit.CORRUPT
    assert nothing_landed(out)


def export_as(access: Access, out: Path) -> Landed:
    with connect(access) as source:
        machine = source.describe("web", None)
        return source.export(machine, machine.disks[0], out, DiskFormat.QCOW2, ignore)
