from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from controller.local.tempdir import delete_stale, temporary_folder

HOLDER = """\
import os, sys
from controller.local.tempdir import temporary_folder
with temporary_folder() as made:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        if sys.argv[1] == "orphan":
            os.read(0, 1)
        os._exit(0)
    if sys.argv[1] != "orphan":
        os.waitpid(child, 0)
    print(made.path, flush=True)
    os.kill(os.getpid(), 9)
"""


@pytest.fixture(autouse=True)
def _own_temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def killed(orphan: str) -> tuple[Path, subprocess.Popen[str]]:
    """A process that made a temporary folder and was killed, possibly with a child left that has its lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, orphan],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[4],
    )
    assert process.stdout is not None
    path = Path(process.stdout.readline().strip())
    assert process.wait() == -signal.SIGKILL
    return path, process


def done(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def test_a_temporary_folder_is_private_and_deleted() -> None:
    with temporary_folder() as made:
        assert made.path.stat().st_mode & 0o777 == 0o700
        assert delete_stale() == []
        assert made.path.exists()
    assert not made.path.exists()


def test_folders_of_killed_processes_are_deleted() -> None:
    path, process = killed("alone")
    (path / "password").write_text("hunter2")
    assert delete_stale() == [path]
    assert not path.exists()
    done(process)


def test_a_folder_in_use_by_an_orphan_stays_until_it_ends() -> None:
    path, process = killed("orphan")
    assert delete_stale() == []
    assert path.exists()
    assert process.stdin is not None
    process.stdin.close()  # the orphan's read ends, and then the orphan ends
    while not delete_stale():
        assert path.exists()
    assert not path.exists()
    done(process)


def test_folders_without_a_lock_are_not_deleted(tmp_path: Path) -> None:
    for name in ("vmferry-other", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "other" / "lock").touch()
    assert delete_stale() == []
    assert {path.name for path in tmp_path.iterdir()} == {"vmferry-other", "other"}


def test_a_link_to_another_folder_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "lock").touch()
    (tmp_path / "vmferry-link").symlink_to(tmp_path / "home")
    assert delete_stale() == []
    assert (tmp_path / "home" / "lock").exists()


def test_a_folder_of_another_user_is_not_deleted(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    folder = tmp_path / "vmferry-theirs"
    folder.mkdir()
    (folder / "lock").touch()
    os.chown(folder, 65534, 65534)
    assert delete_stale() == []
    assert folder.exists()
