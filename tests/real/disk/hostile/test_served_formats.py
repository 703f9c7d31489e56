"""No receiver takes what is served for something else, whatever the guest wrote to its disk (F15).

The receivers are the stand-ins for Longhorn and CDI, which guess formats as their sources do. A canary file
shows whether one of them reads a file that the guest named.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from steps import convert
from steps.disk import qemu
from steps.disk.guesses import HEAD_BYTES, guess
from steps.disk.land import Landed
from steps.disk.source import Source
from steps.model.plan import DiskFormat
from steps.runtime.stop import Stop
from tests.real.standins.cdi import Import
from tests.real.standins.downloads import Faults, FetchError
from tests.real.standins.formats import FormatError
from tests.real.standins.longhorn import Backing
from tests.real.standins.web import Web
from tests.unit.steps.disk.conftest import fetch
from tests.unit.steps.disk.lookalikes import SIZE, disk, heads, ordinary

pytestmark = [pytest.mark.programs, pytest.mark.usefixtures("quick")]
SECRET = b"a file of the receiver".ljust(1 << 20, b"!")
HEADS = heads(Path("/canary"))


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    path = tmp_path / "canary"
    path.write_bytes(SECRET)
    return path


def prepared(folder: Path, content: bytes, wanted: DiskFormat = DiskFormat.RAW) -> convert.Prepared:
    """The disk after export and convert."""
    (folder / "source").write_bytes(content)
    out = folder / f"disk.{wanted}"
    landed = fetch(Source(f"file://{folder / 'source'}", format="raw"), out, format=str(wanted))
    return convert.ensure_format(landed, out, wanted, len(content), report=lambda *_: None, stop=Stop())


def by_longhorn(file: Path, folder: Path) -> bytes:
    """What a volume over the backing image holds."""
    download = shutil.copy(file, folder / "download")
    job = Backing(Web(), "http://unused", Path(download), Faults())
    job.target = folder / "longhorn"
    job.finish(Path(download))
    return job.target.read_bytes() if job.target.exists() else b""


def by_cdi(file: Path, folder: Path, *, block: bool) -> bytes:
    """What CDI writes to the volume."""
    download = shutil.copy(file, folder / "download")
    job = Import(Web(), "http://unused", Path(download), Faults())
    job.target, job.block, job.capacity = folder / "cdi.img", block, SIZE
    if block:  # a device is there already, and has a size
        job.target.write_bytes(bytes(SIZE))
    job.finish(Path(download))
    return job.target.read_bytes()


def receive(file: Path, folder: Path) -> dict[str, bytes]:
    return {"longhorn": by_longhorn(file, folder), "cdi": by_cdi(file, folder, block=True)}


@pytest.fixture(autouse=True)
def no_direct_io(monkeypatch: pytest.MonkeyPatch) -> None:
    """tmpfs has none; the users of volumes are not those of this computer."""
    real = subprocess.run
    monkeypatch.setattr("os.chown", lambda *_: None)
    monkeypatch.setattr(
        "tests.real.standins.downloads.subprocess.run",
        lambda argv, **more: real([word for word in argv if word not in ("-t", "none")], **more),
    )


@pytest.mark.parametrize("name", HEADS)
def test_each_receiver_gets_exactly_the_bytes_of_the_disk(tmp_path: Path, canary: Path, name: str) -> None:
    content = disk(heads(canary)[name])
    made = prepared(tmp_path, content)
    assert made.format is DiskFormat.QCOW2
    assert json.loads(info(made.path))["format"] == "qcow2"
    assert qemu.compare(made.path, "qcow2", tmp_path / "source", "raw")
    assert receive(made.path, tmp_path) == {"longhorn": content, "cdi": content}


@pytest.mark.parametrize("name", [name for name in HEADS if name != "tar"])
def test_without_the_image_around_it_a_receiver_gets_something_else(
    tmp_path: Path, canary: Path, name: str
) -> None:
    """The stand-ins notice the difference, so the test above can fail."""
    content = disk(heads(canary)[name])
    raw = tmp_path / "disk.raw"
    raw.write_bytes(content)
    with contextlib.suppress(FormatError, FetchError):
        assert receive(raw, tmp_path) != {"longhorn": content, "cdi": content}


def test_the_stand_in_would_read_the_file_that_the_guest_named(tmp_path: Path, canary: Path) -> None:
    (tmp_path / "disk.raw").write_bytes(disk(heads(canary)["vmdk descriptor"]))
    assert SECRET[:1000] in by_cdi(tmp_path / "disk.raw", tmp_path, block=True)


@pytest.mark.parametrize("name", ordinary())
def test_an_ordinary_disk_stays_raw(tmp_path: Path, name: str) -> None:
    content = disk(ordinary()[name])
    made = prepared(tmp_path, content)
    assert (made.format, made.path, made.guess) == (DiskFormat.RAW, tmp_path / "disk.raw", None)
    assert receive(made.path, tmp_path) == {"longhorn": content, "cdi": content}
    (tmp_path / "cdi.img").unlink()
    assert by_cdi(made.path, tmp_path, block=False) == content


def test_a_disk_that_ends_like_a_vhd_stays_raw_for_each_receiver(tmp_path: Path) -> None:
    content = disk(b"")[:-512] + b"conectix".ljust(512, b"\0")
    made = prepared(tmp_path, content)
    assert made.format is DiskFormat.RAW
    assert receive(made.path, tmp_path) == {"longhorn": content, "cdi": content}


@pytest.mark.parametrize("name", HEADS)
def test_qemu_takes_the_disk_for_what_we_expect(tmp_path: Path, name: str) -> None:
    """Our table agrees with the probe functions of the qemu-img on this computer."""
    content = disk(HEADS[name])
    (tmp_path / "disk.raw").write_bytes(content)
    argv = ["qemu-img", "info", "--output=json", str(tmp_path / "disk.raw")]
    found = subprocess.run(argv, capture_output=True, text=True, check=False)
    is_raw = found.returncode == 0 and json.loads(found.stdout)["format"] == "raw"
    ours = guess(content[:HEAD_BYTES])
    assert ours is not None
    assert is_raw != ours.by_qemu


def test_the_reason_is_in_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared(tmp_path, disk(b"LUKS\xba\xbe\0\1"))
    captured = capsys.readouterr()
    expected = "disk.raw is served as qcow2: receivers would take the raw disk for luks"
    assert expected in captured.out + captured.err


def test_a_second_attempt_finds_the_finished_image(tmp_path: Path) -> None:
    made = prepared(tmp_path, disk(b"QED\0"))
    before = made.path.stat().st_ino
    out = tmp_path / "disk.raw"
    again = convert.ensure_format(
        Landed.load(out), out, DiskFormat.RAW, SIZE, report=lambda *_: None, stop=Stop()
    )
    assert again == made
    assert again.path.stat().st_ino == before


def test_a_qcow2_image_tells_what_its_inside_looks_like(tmp_path: Path) -> None:
    """CDI looks at what it wrote to a filesystem: `image` has to know."""
    made = prepared(tmp_path, disk(b"QED\0"), DiskFormat.QCOW2)
    assert made.guess is not None
    assert made.guess.format == "qed"


@pytest.mark.parametrize("name", [name for name in HEADS if guess(disk(HEADS[name])[:512]).by_qemu])  # type: ignore[union-attr]
def test_cdi_fails_or_keeps_the_bytes_on_a_filesystem(tmp_path: Path, name: str) -> None:
    """It guesses the format of what it wrote. `image` refuses such a disk before: see refuse_filesystem."""
    made = prepared(tmp_path, disk(HEADS[name]))
    with contextlib.suppress(FormatError, FetchError):
        assert by_cdi(made.path, tmp_path, block=False) == disk(HEADS[name])


def info(path: Path) -> str:
    argv = ["qemu-img", "info", "--output=json", str(path)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
