"""Results of qemu-img, and how a failure of qemu-img itself is reported."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.disk import qemu
from steps.model.contract import StepError, is_retryable
from steps.runtime.stop import Stop

Program = Callable[[str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Returns a function that replaces qemu-img by a shell script; `$REAL` is the real one."""

    def put(script: str) -> None:
        (tmp_path / "bin").mkdir()
        path = tmp_path / "bin" / "qemu-img"
        path.write_text(f"#!/bin/sh\nREAL={shutil.which('qemu-img')}\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(path.parent), prepend=":")

    return put


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(b"disk".ljust(1 << 16, b"\0"))
    return path


def asked(act: Callable[[], object]) -> StepError:
    with pytest.raises(StepError) as caught:
        act()
    return caught.value


@pytest.mark.programs
@pytest.mark.parametrize("verb", ["info", "check", "compare", "measure", "convert"])
def test_a_killed_qemu_img_is_reported(program: Program, image: Path, tmp_path: Path, verb: str) -> None:
    """As the kernel kills a program that uses too much memory, in the step's container."""
    acts: dict[str, Callable[[], object]] = {
        "info": lambda: qemu.info(image, "raw"),
        "check": lambda: qemu.check(image, "qcow2"),
        "compare": lambda: qemu.compare(image, "raw", image, "raw"),
        "measure": lambda: qemu.measure(image, "raw", "qcow2"),
        "convert": lambda: qemu.convert(
            image, "raw", tmp_path / "out", "qcow2", report=lambda done, total: None, stop=Stop()
        ),
    }
    program(f'[ "$1" != {verb} ] && exec "$REAL" "$@"\nkill -9 $$')
    error = asked(acts[verb])
    assert is_retryable(error.code)
    assert f"qemu-img {verb} was killed by SIGKILL" in str(error)
    assert "memory" in error.remedy
    assert not list(tmp_path.glob("out*"))


@pytest.mark.programs
def test_a_compare_that_cannot_start_is_not_a_difference(program: Program, image: Path) -> None:
    """In that case, too, qemu-img compare ends with 1."""
    program('exec prlimit --nofile=7 "$REAL" "$@"')
    error = asked(lambda: qemu.compare(image, "raw", image, "raw"))
    assert "Too many open files" in str(error)


@pytest.mark.programs
def test_compare_accepts_equal_and_rejects_different_images(image: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.raw"
    other.write_bytes(image.read_bytes() + bytes(1 << 16))
    assert qemu.compare(image, "raw", other, "raw")
    other.write_bytes(image.read_bytes()[:-1] + b"x")
    assert not qemu.compare(image, "raw", other, "raw")
