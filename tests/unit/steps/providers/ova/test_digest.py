"""Digests are checked during the transfer; resuming after a kill; compressed and split files; memory."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
from pathlib import Path

import pytest

from steps.disk.land import Landed
from steps.disk.landed import LandingFiles
from steps.model.contract import Exit, StepError, Stopped
from steps.model.plan import DiskFormat
from steps.providers import Access, connect
from steps.runtime.stop import Stop
from tests.provider_contract import ignore
from tests.unit.steps.disk.conftest import make_disk
from tests.unit.steps.disk.server import Behaviour
from tests.unit.steps.providers.ova.conftest import MakeAccess, Refused
from tests.unit.steps.providers.ova.make import Files as PackageFiles
from tests.unit.steps.providers.ova.make import build_files
from tests.unit.steps.providers.ova.site import Page, Site

MIB = 1 << 20


def export(access: Access, out: Path, number: int = 0) -> Landed:
    with connect(access) as source:
        machine = source.describe("web", None)
        return source.export(machine, machine.disks[number], out, DiskFormat.RAW, ignore)


def packed(path: Path, files: PackageFiles) -> Path:
    files.pack(path, "ustar")
    return path


def test_a_wrong_digest_of_the_descriptor_is_refused(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused
) -> None:
    files = build_files(raws)
    files.contents["web.ovf"] = files.contents["web.ovf"].replace(b"<Name>web<", b"<Name>sly<")
    path = packed(tmp_path / "m.ova", files)
    error = refused(lambda: export(access(path), tmp_path / "out"))
    assert (error.code, "web.ovf" in str(error)) == (Exit.CORRUPT, True)


def test_a_missing_manifest_or_entry_is_reported(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    files = build_files(raws)
    lines = files.contents["web.mf"].decode().splitlines()
    files.contents["web.mf"] = "\n".join(line for line in lines if "disk1" not in line).encode()
    for code in ("manifest-entry", "manifest-missing"):
        path = packed(tmp_path / f"{code}.ova", files)
        with connect(access(path)) as source:
            assert code in {each.code for each in source.describe("web", None).concerns}
        out = tmp_path / code
        assert export(access(path), out).path.read_bytes() == raws[0].read_bytes()
        files.contents.pop("web.mf", None)


def test_a_disk_that_landed_without_a_digest_is_read_again(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused
) -> None:
    folder, out = tmp_path / "package", tmp_path / "d.raw"
    build_files(raws, manifest=None).write(folder)
    assert export(access(folder), out).source_bytes
    assert not export(access(folder), out).source_bytes
    (folder / "web.mf").write_text(f"SHA256(web-disk1.vmdk)= {'0' * 64}\n")
    assert refused(lambda: export(access(folder), out)).code is Exit.CORRUPT


def test_a_certificate_is_reported_as_not_verified(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    files = build_files(raws)
    files.contents["web.cert"] = b"SHA256(web.mf)= 00\n-----BEGIN CERTIFICATE-----\n"
    with connect(access(packed(tmp_path / "m.ova", files))) as source:
        assert "signature" in {each.code for each in source.describe("web", None).concerns}


@pytest.mark.parametrize("chunk", [0, 100_000, 1 << 20])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("where", ["tar", "folder"])
def test_compressed_and_split_files_are_read(
    tmp_path: Path, raws: list[Path], access: MakeAccess, chunk: int, compress: bool, where: str
) -> None:
    files = build_files(raws, chunk=chunk, compress=compress)
    path = tmp_path / "m.ova"
    if where == "tar":
        files.pack(path, "gnu")
    else:
        files.write(path)
    for number, raw in enumerate(raws):
        landed = export(access(path), tmp_path / f"{number}.raw", number)
        assert landed.path.read_bytes() == raw.read_bytes()


def test_a_missing_or_damaged_part_is_detected(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused
) -> None:
    files = build_files(raws[:1], chunk=300_000)
    second = "web-disk1.vmdk.000000001"
    good = files.contents.pop(second)
    error = refused(lambda: export(access(packed(tmp_path / "1.ova", files)), tmp_path / "a"))
    assert error.code is Exit.NOT_FOUND
    files.contents[second] = good[:-1] + bytes([good[-1] ^ 1])
    error = refused(lambda: export(access(packed(tmp_path / "2.ova", files)), tmp_path / "b"))
    assert (error.code, second in str(error)) == (Exit.CORRUPT, True)


def test_several_gzip_members_are_read_and_damage_is_detected(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused
) -> None:
    files = build_files(raws[:1], compress=True, manifest=None)
    name = "web-disk1.vmdk.gz"
    image = gzip.decompress(files.contents[name])
    whole = gzip.compress(image[:70000]) + gzip.compress(image[70000:]) + bytes(512)
    files.contents[name] = whole
    landed = export(access(packed(tmp_path / "1.ova", files)), tmp_path / "a")
    assert landed.path.read_bytes() == raws[0].read_bytes()
    for number, content in enumerate((whole[:-600], whole[:5000] + b"\xff" + whole[5001:], whole + b"x"), 2):
        files.contents[name] = content
        path = packed(tmp_path / f"{number}.ova", files)
        error = refused(lambda: export(access(path), tmp_path / "b"))  # noqa: B023 - called at once
        assert error.code is Exit.BROKEN_STREAM


class StopAfter(Stop):
    """Stops a landing after this number of bytes of the source."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def report(self, done: int, _total: int) -> None:
        if done >= self._size:
            self.set()


@pytest.mark.parametrize("manifest", ["sha256", None])
@pytest.mark.parametrize("ranges", [True, False], ids=["range", "no-range"])
def test_a_resumed_transfer_rereads_its_data_if_a_digest_needs_it(
    tmp_path: Path, access: MakeAccess, monkeypatch: pytest.MonkeyPatch, manifest: str | None, ranges: bool
) -> None:
    monkeypatch.setattr("steps.disk.checkpoint.SAVE_EVERY_BYTES", MIB)
    raw, out = tmp_path / "original.raw", tmp_path / "d.raw"
    raw.write_bytes(make_disk(24 * MIB, fill=0.9))
    files = build_files([raw], manifest=manifest, tables_last=True)
    size = len(files.contents["web-disk1.vmdk"])
    how = Behaviour(packed(tmp_path / "m.ova", files).read_bytes(), ranges=ranges)
    with Site({"/m.ova": Page(how)}) as site:
        stop = StopAfter(size // 2)
        with connect(access(site.base + "/m.ova", stop=stop)) as source:
            machine = source.describe("web", None)
            with pytest.raises(Stopped):
                source.export(machine, machine.disks[0], out, DiskFormat.RAW, stop.report)
        kept = LandingFiles(out).partial.stat().st_ino
        with connect(access(site.base + "/m.ova")) as source:
            machine = source.describe("web", None)
            landed = source.export(machine, machine.disks[0], out, DiskFormat.RAW, ignore)
    assert landed.path.read_bytes() == raw.read_bytes()
    assert landed.path.stat().st_ino == kept
    if manifest or not ranges:  # once, from the first byte on
        assert landed.resumed_at == 0
        assert landed.source_bytes == size
    else:
        assert landed.resumed_at >= size // 4
        assert landed.source_bytes == size - landed.resumed_at


CHILD = """
import re, sys
from pathlib import Path
from steps.model.plan import DiskFormat, SourceKind, SourcePlan
from steps.providers import Access, connect
from steps.runtime.stop import Stop
def peak():
    # Not ru_maxrss, which begins with that of the process that forked this one (getrusage(2)).
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
plan = SourcePlan(kind=SourceKind.OVA, name="m", endpoint=sys.argv[1])
folder = Path(sys.argv[2])
access = Access(plan=plan, credentials=folder, stop=Stop(), run="r", step="s", state_folder=folder)
with connect(access) as source:
    before = peak()
    machine = source.describe("web", None)
    source.export(machine, machine.disks[0], folder / "d.raw", DiskFormat.RAW, lambda done, total: None)
print(peak() - before)
"""


@pytest.mark.parametrize("compress", [False, True])
def test_memory_does_not_grow_with_the_archive(tmp_path: Path, compress: bool) -> None:
    raw = tmp_path / "original.raw"
    raw.write_bytes(random.Random(1).randbytes(48 * MIB))
    path = packed(tmp_path / "m.ova", build_files([raw], compress=compress, level=0))
    (tmp_path / "out").mkdir()
    argv = [sys.executable, "-c", CHILD, str(path), str(tmp_path / "out")]
    measured = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[5])
    assert 0 < int(measured.stdout) < 32 << 10, "KiB"  # the landing's own buffers have some 15 MiB
    assert (tmp_path / "out" / "d.raw").stat().st_size == 48 * MIB
    assert path.stat().st_size > 40 * MIB


def test_nothing_of_the_archive_is_stored(tmp_path: Path, raws: list[Path], access: MakeAccess) -> None:
    path = packed(tmp_path / "m.ova", build_files(raws))
    made = access(path)
    out = tmp_path / "out"
    out.mkdir()
    export(made, out / "d.raw")
    assert {file.name for file in out.iterdir()} == {"d.raw", "d.raw.landed.json"}
    assert list(made.state_folder.iterdir()) == []


def test_links_out_of_a_folder_are_refused(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused
) -> None:
    folder, secret = tmp_path / "package", tmp_path / "secret.vmdk"
    build_files(raws, manifest=None).write(folder)
    secret.write_bytes(b"secret" * 1000)
    (folder / "web-disk1.vmdk").unlink()
    (folder / "web-disk1.vmdk").symlink_to(secret)
    error = refused(lambda: export(access(folder), tmp_path / "out"))
    assert (error.code, "points outside" in str(error)) == (Exit.UNSUPPORTED, True)


def test_a_folder_without_exactly_one_descriptor_is_refused(tmp_path: Path, access: MakeAccess) -> None:
    for code in (Exit.NOT_FOUND, Exit.AMBIGUOUS):
        with pytest.raises(StepError) as caught:
            export(access(tmp_path), tmp_path / "out")
        assert caught.value.code is code
        for name in ("a.ovf", "b.ovf"):
            (tmp_path / name).write_text("<Envelope/>")
