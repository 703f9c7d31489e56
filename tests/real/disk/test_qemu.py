"""Results of qemu-img, and how a failure of qemu-img itself is reported."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@pytest.fixture
def overlay(image: Path) -> Path:
    path = image.parent / "overlay.qcow2"
    qemu.create_overlay(path, image, "raw")
    return path


@contextmanager
def opened(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A qemu-io that holds the lock of an image until it gets the command `quit`."""
    argv = ["stdbuf", "-oL", "qemu-io", "-f", "qcow2", str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        print("read 0 512", file=process.stdin, flush=True)
        assert process.stdout.readline(), "qemu-io has not opened the image"
        try:
            yield process
        finally:
            process.kill()


def commit(overlay: Path, image: Path) -> None:
    qemu.commit(overlay, image, "raw", report=lambda part: None, stop=Stop())


@pytest.mark.programs
def test_a_commit_waits_for_the_qemu_img_of_a_killed_step(image: Path, overlay: Path) -> None:
    tried: list[float] = []
    with opened(overlay) as holder:

        class Noted(Stop):
            def sleep(self, seconds: float) -> None:
                tried.append(seconds)
                holder.kill()  # as the kernel does a moment after the step
                holder.wait()

        qemu.commit(overlay, image, "raw", report=lambda part: None, stop=Noted())
    assert len(tried) == 1
    assert overlay.exists()


@pytest.mark.programs
def test_a_disk_that_stays_in_use_is_named_and_can_be_retried(
    image: Path, overlay: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "_LOCK_SECONDS", 0.3)
    before = image.read_bytes()
    with opened(overlay):
        error = asked(lambda: commit(overlay, image))
    assert is_retryable(error.code)
    assert str(error).startswith("another program uses disk.raw")
    assert "end the program that uses the disk" in error.remedy
    assert image.read_bytes() == before
    commit(overlay, image)
