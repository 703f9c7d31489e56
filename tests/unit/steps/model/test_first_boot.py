"""Scripts for the first start: which are accepted, and that they run once and in order."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from steps.model import first_boot
from steps.model.contract import StepError
from steps.model.first_boot import Script


def test_they_have_an_order_and_an_interpreter() -> None:
    given = first_boot.scripts({"b.sh": b"echo b", "a.py": b"#!/usr/bin/python3\n"})
    files = {path: content for path, content, _ in first_boot.linux_files(given, agent=True)}
    names = [path.rpartition("/")[2] for path in files if path.startswith(first_boot.FOLDER + "/")]
    assert names == ["01-a.py", "02-b.sh", "00-qemu-guest-agent"]
    assert files[f"{first_boot.FOLDER}/02-b.sh"] == b"#!/bin/sh\necho b"
    assert first_boot.UNIT in files


def test_they_wait_for_those_of_virt_v2v() -> None:
    """Both may install a package, and a package manager refuses a second one at the same time."""
    unit = {path: content for path, content, _ in first_boot.linux_files([], agent=True)}[
        first_boot.UNIT
    ].decode()
    (after,) = (line for line in unit.splitlines() if line.startswith("After="))
    assert "guestfs-firstboot.service" in after.split()


@pytest.mark.parametrize("name", ["../x", ".hidden", "a b", "a\nb", "", "a" * 101])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(StepError, match="has no usable name"):
        first_boot.scripts({name: b""})


@pytest.mark.parametrize("given", [{"a": b"x" * (1 << 20) + b"x"}, {f"s{n}": b"" for n in range(33)}])
def test_too_much_is_refused(given: dict[str, bytes]) -> None:
    with pytest.raises(StepError, match="cannot be used"):
        first_boot.scripts(given)


def test_windows_takes_batch_files_only() -> None:
    rows = list(first_boot.windows_files([Script("a.cmd", b"x"), Script("b.BAT", b"y")]))
    assert [path.rpartition("/")[2] for path, _, _ in rows] == ["8000-a.bat", "8001-b.BAT"]
    with pytest.raises(StepError, match=r"neither \.bat nor \.cmd"):
        list(first_boot.windows_files([Script("a.ps1", b"")]))


def test_each_runs_once_and_a_failure_does_not_stop_the_others(tmp_path: Path) -> None:
    given = [Script("a", b"echo a >> log; exit 3"), Script("b", b"echo b >> log")]
    moved = {
        path: content.replace(b"/usr/local", str(tmp_path).encode())
        .replace(b"/var/lib", str(tmp_path).encode())
        .replace(b"/etc/systemd", str(tmp_path).encode())
        for path, content, _ in first_boot.linux_files(given, agent=False)
    }
    for path, content in moved.items():
        file = Path(path.replace("/usr/local", str(tmp_path)).replace("/etc/systemd", str(tmp_path)))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(0o700)
    runner = tmp_path / "lib/vmferry/first-boot.sh"
    for _ in range(2):
        subprocess.run([runner], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "log").read_text() == "a\nb\n"
