"""A raw disk becomes a qcow2 image in place, also after kills."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steps.disk import qemu, wrap
from steps.disk.land import Landed, land
from steps.disk.landed import LandingFiles
from steps.disk.sink import CLUSTER
from steps.disk.source import Source
from steps.model.contract import Exit, StepError
from steps.runtime.stop import Stop
from tests.unit.steps.disk.conftest import fetch
from tests.unit.steps.disk.lookalikes import disk

pytestmark = [pytest.mark.programs, pytest.mark.usefixtures("quick")]
MIB = 1 << 20
GIB = 1 << 30


def landed_disk(folder: Path, content: bytes) -> tuple[Landed, Path]:
    """A raw disk that landed in `folder` and a copy of it."""
    (folder / "source").write_bytes(content)
    copy = folder / "copy.raw"
    copy.write_bytes(content)
    return fetch(Source(f"file://{folder / 'source'}", format="raw"), folder / "disk.raw", format="raw"), copy


def sparse_disk(folder: Path, size: int, *places: int) -> tuple[Landed, Path]:
    """A raw disk with data at its start, its end and `places`, as `land` would leave it, and a copy."""
    out, copy = folder / "disk.raw", folder / "copy.raw"
    for path in (out, copy):
        with path.open("wb") as file:
            for place in (0, *places, size - 512):
                file.seek(place)
                file.write(f"data at {place}".encode().ljust(512, b"."))
            file.truncate(size)
    return Landed(out, "raw", size, size, 0, "", size, "key"), copy


def is_equal(wrapped: Landed, copy: Path) -> bool:
    """Whether the image is without fault or leak, and holds exactly the bytes of the copy."""
    argv = ["qemu-img", "check", "-f", "qcow2", str(wrapped.path)]
    checked = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    size = qemu.info(wrapped.path, "qcow2").virtual_size
    return qemu.compare(wrapped.path, "qcow2", copy, "raw") and size == copy.stat().st_size


@pytest.mark.parametrize("size", [512, CLUSTER - 512, CLUSTER, CLUSTER + 512, 3 * MIB, 3 * MIB + 512])
def test_the_image_holds_exactly_the_bytes_of_the_disk(tmp_path: Path, size: int) -> None:
    landed, copy = landed_disk(tmp_path, disk(b"LUKS\xba\xbe\0\1", 4 * MIB)[-size:])
    wrapped = wrap.wrap(landed, tmp_path / "disk.raw", "luks")
    assert is_equal(wrapped, copy)
    assert not (tmp_path / "disk.raw").exists()
    assert wrapped.size == wrapped.path.stat().st_size
    assert Landed.load(tmp_path / "disk.raw") == wrapped


@pytest.mark.parametrize(
    ("size", "places"),
    [
        (GIB // 2, ()),  # exactly one L2 table
        (GIB // 2 + 512, (GIB // 2,)),
        (5 * GIB // 2, (GIB, 2 * GIB - CLUSTER, 2 * GIB)),  # more than one refcount block
        (700 * GIB, (1, 512 * GIB + 4096)),
    ],
)
def test_holes_stay_holes_in_a_disk_with_many_tables(
    tmp_path: Path, size: int, places: tuple[int, ...]
) -> None:
    landed, copy = sparse_disk(tmp_path, size, *places)
    used = landed.path.stat().st_blocks * 512
    wrapped = wrap.wrap(landed, tmp_path / "disk.raw", "qed")
    layout = wrap.Layout(size)
    assert wrapped.path.stat().st_blocks * 512 <= used + (layout.end - layout.moved + 2) * CLUSTER
    assert is_equal(wrapped, copy)


def test_a_wrapped_disk_is_not_exported_again(tmp_path: Path) -> None:
    landed, _ = landed_disk(tmp_path, disk(b"QED\0"))
    wrapped = wrap.wrap(landed, tmp_path / "disk.raw", "qed")
    (tmp_path / "source").unlink()
    source = Source(f"file://{tmp_path / 'source'}", format="raw")
    again = land(
        source, tmp_path / "disk.raw", format="raw", capacity=None, report=lambda *_: None, stop=Stop()
    )
    assert (again.path, again.format, again.taken_for) == (wrapped.path, "qcow2", "qed")


class Killed(BaseException):
    """The attempt ends here."""


def kill_at(monkeypatch: pytest.MonkeyPatch, number: int) -> Callable[[], int]:
    """Let the call with this number, of all calls that change the disk or its folder, never happen."""
    calls = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                raise Killed
            return real(*args, **more)

        return call

    for target in ("os.pwrite", "os.ftruncate", "os.fsync", "pathlib.Path.replace", "os.truncate"):
        module, _, name = target.rpartition(".")
        real = getattr(os if module == "os" else Path, name)
        monkeypatch.setattr(target, counted(real))
    return lambda: calls


def calls_of_a_wrap(folder: Path) -> int:
    """How many calls a wrap makes that nobody interrupts."""
    with pytest.MonkeyPatch.context() as patch:
        landed, _ = landed_disk(folder, disk(b"QED\0"))
        count = kill_at(patch, -1)
        wrap.wrap(landed, folder / "disk.raw", "qed")
        return count()


def test_a_wrap_that_was_killed_anywhere_is_repeated(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    total = calls_of_a_wrap(tmp_path / "whole")
    assert total > 8
    for number in range(1, total + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        landed, copy = landed_disk(folder, disk(b"QED\0"))
        out = folder / "disk.raw"
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, number)
            with pytest.raises(Killed):
                wrap.wrap(landed, out, "qed")
        found = wrap.recover(Landed.load(out), out)
        if not found.taken_for:
            assert found.path.read_bytes() == copy.read_bytes(), "an undone wrap is the raw disk"
            found = wrap.wrap(found, out, "qed")
        assert is_equal(found, copy)


def test_a_disk_that_grew_by_itself_is_not_cut(tmp_path: Path) -> None:
    """Only what a wrap can have appended is removed."""
    landed, _ = landed_disk(tmp_path, disk(b"QED\0"))
    longer = wrap.Layout(landed.size).end * CLUSTER + 512
    os.truncate(landed.path, longer)
    wrap.recover(landed, tmp_path / "disk.raw")
    assert landed.path.stat().st_size == longer


def test_a_full_scratch_is_reported_and_the_disk_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed, copy = landed_disk(tmp_path, disk(b"QED\0"))
    out = tmp_path / "disk.raw"
    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", _no_space)
        with pytest.raises(StepError) as caught:
            wrap.wrap(landed, out, "qed")
    assert caught.value.code is Exit.NO_SPACE
    assert out.read_bytes() == copy.read_bytes()
    (tmp_path / "source").unlink()
    source = Source(f"file://{tmp_path / 'source'}", format="raw")
    again = land(source, out, format="raw", capacity=None, report=lambda *_: None, stop=Stop())
    assert again.path == out, "it is not exported again"


def _no_space(file: int, data: bytes, offset: int) -> int:
    """The first cluster fits, the tables do not."""
    if len(data) != CLUSTER:
        raise OSError(28, "No space left on device")
    return int(os.pwritev(file, [data], offset))


def test_starting_over_removes_the_wrapped_disk(tmp_path: Path) -> None:
    landed, _ = landed_disk(tmp_path, disk(b"QED\0"))
    wrap.wrap(landed, tmp_path / "disk.raw", "qed")
    other = disk(b"another")
    (tmp_path / "new").write_bytes(other)
    again = fetch(Source(f"file://{tmp_path / 'new'}", format="raw"), tmp_path / "disk.raw", format="raw")
    assert again.path.read_bytes() == other
    assert not LandingFiles(tmp_path / "disk.raw").wrapped.exists()
