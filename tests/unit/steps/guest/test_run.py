"""The child that asks libguestfs, played by programs that answer, hang, flood and lie."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steps.guest import launch, run
from steps.guest.launch import LaunchWatch
from steps.guest.run import DiskImage, read_facts
from steps.model.contract import Exit, StepError, Stopped
from steps.model.guest_facts import Facts
from steps.runtime.stop import Stop

Child = Callable[[str], str]


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Child:
    """Makes a program that runs as the child, from the body of a shell script."""
    monkeypatch.setattr(run, "KVM", tmp_path / "no-kvm")

    def make(script: str) -> str:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return make


def facts(
    program: str, tmp_path: Path, *, stop: Stop | None = None, seconds: float = 200, **more: Any
) -> Facts:
    folder = tmp_path / "folder"
    folder.mkdir()
    given = {"report": lambda *_: None, **more}
    return read_facts(
        [DiskImage(tmp_path / "disk.img", "raw")],
        folder,
        stop=stop or Stop(),
        seconds=seconds,
        pythons=[program],
        **given,
    )


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    "line",
    [
        '{"progress": 5}',
        '{"progress": {"done": "x", "total": 4, "text": "reading"}}',
        '{"progress": {"done": -1, "total": 4, "text": "reading"}}',
        '{"facts": {"devices": 5}}',
        '{"facts": {"file_systems": [{"device": "a", "size": 1e400}]}}',
        '{"failed": 5}',
    ],
)
def test_a_line_that_cannot_be_used_ends_the_inspection(child: Child, tmp_path: Path, line: str) -> None:
    with pytest.raises(StepError, match="the disks cannot be described") as caught:
        facts(child(f"echo '{line}'; sleep 30"), tmp_path)
    assert caught.value.code is Exit.CORRUPT


def test_the_facts_and_the_progress_come_from_its_lines(child: Child, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    program = child(
        'read -r order; echo "$order" >"$TMPDIR/../order"\n'
        """echo 'a library prints this'
echo '{"progress": {"done": 1, "total": 4, "text": "reading\\u001b[2J"}}'
echo '{"facts": {"devices": ["/dev/sda"], "roots": 0}}'"""
    )
    found = facts(program, tmp_path, report=lambda *line: seen.append(line))
    assert found.devices == ("/dev/sda",)
    assert seen == [(1, 4, "reading?[2J")]
    assert str(tmp_path / "disk.img") in (tmp_path / "order").read_text()


def test_it_writes_temporary_files_only_into_the_given_folder(child: Child, tmp_path: Path) -> None:
    program = child(
        """read -r order
printf '{"facts": {"roots": 0, "trouble": ["%s", "%s"]}}\\n' "$TMPDIR" "$LIBGUESTFS_BACKEND" """
    )
    assert facts(program, tmp_path).trouble == (str(tmp_path / "folder"), "direct")


@pytest.mark.parametrize(
    ("script", "code", "text"),
    [
        ('echo \'{"facts": {"roots": 0, "shell": "rm"}}\'', Exit.CORRUPT, "exceeds the bounds"),
        ('echo \'{"facts": {"roots": -1}}\'', Exit.CORRUPT, "exceeds the bounds"),
        ("yes", Exit.CORRUPT, "the description is too long"),
        ("yes | tr -d '\\n'", Exit.CORRUPT, "the description is too long"),
        ("echo 'guestfsd: oops' >&2; exit 3", Exit.INTERNAL, "ended with code 3: guestfsd: oops"),
        ("kill -9 $$", Exit.INTERNAL, "was killed by SIGKILL"),
        (
            'echo "supermin: bad" >&2; echo \'{"failed": {"kind": "launch", "text": "no start"}}\'',
            Exit.INTERNAL,
            "the appliance of libguestfs does not start: no start",
        ),
        (
            'echo \'{"failed": {"kind": "missing", "text": "x"}}\'',
            Exit.INVALID,
            "libguestfs is not installed",
        ),
    ],
)
def test_a_child_that_fails_or_lies_is_one_error(
    child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, code: Exit, text: str
) -> None:
    monkeypatch.setattr(run, "MOST_OUTPUT", 1 << 20)
    with pytest.raises(StepError) as failure:
        facts(child(f"read -r order\n{script}"), tmp_path)
    assert failure.value.code is code
    assert text in str(failure.value)


@pytest.mark.parametrize(
    ("script", "limit", "text"),
    [
        ("while :; do :; done", "MOST_WORK", "s of a processor and is not ready"),
        ("echo 'Booting...' >&2; sleep 100", "IDLE_SECONDS", "it has done almost nothing for"),
        ("while :; do echo noise; sleep 0.2; done", "IDLE_SECONDS", "it has done almost nothing for"),
    ],
)
def test_an_appliance_that_hangs_at_its_start_is_ended(
    child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, limit: str, text: str
) -> None:
    monkeypatch.setattr(launch, limit, 2.0)
    with pytest.raises(StepError, match="the appliance of libguestfs does not start") as failure:
        facts(child(f"read -r order; echo $$ >{tmp_path}/pid\n{script}"), tmp_path)
    assert failure.value.code is Exit.INTERNAL
    assert text in str(failure.value)
    assert "libguestfs-test-tool" in str(failure.value)
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_an_appliance_that_hangs_with_kvm_is_tried_without(
    child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "IDLE_SECONDS", 2.0)
    monkeypatch.setattr(run, "KVM", tmp_path)
    program = child(
        """read -r order
[ "$LIBGUESTFS_BACKEND_SETTINGS" = force_tcg ] || sleep 100
echo '{"started": true}'
echo '{"facts": {"roots": 0}}'"""
    )
    assert facts(program, tmp_path).roots == 0


def test_an_appliance_that_has_started_may_be_silent(
    child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("IDLE_SECONDS", "MOST_WORK"):
        monkeypatch.setattr(launch, limit, 0.5)
    script = """read -r order; echo '{"started": true}'; sleep 4; echo '{"facts": {"roots": 0}}'"""
    assert facts(child(script), tmp_path).roots == 0


def test_a_start_that_goes_on_slowly_is_not_ended() -> None:
    """On a busy computer: a hundredth of a processor, but for an hour and more."""
    now = 0.0
    watch = LaunchWatch(1, clock=lambda: now, work=lambda _: now / 100)
    while now < 7200:
        now += 10
        assert watch.fault() == ""


def test_work_of_programs_that_have_ended_is_not_forgotten() -> None:
    now, used = 0.0, 250.0
    watch = LaunchWatch(1, clock=lambda: now, work=lambda _: used)
    now = 10
    assert watch.fault() == ""
    used, now = 3.0, 310.5
    assert "almost nothing" in watch.fault()


def test_a_missing_library_names_the_packages(child: Child, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="libguestfs is not installed") as failure:
        facts(str(tmp_path / "no-python"), tmp_path)
    assert "apt-get install python3-guestfs" in str(failure.value)


def stop_when(stop: Stop, condition: Callable[[], bool]) -> None:
    wait_for(condition)
    stop.set()


@pytest.mark.parametrize("why", ["stop", "time"])
def test_a_child_that_hangs_ends_with_all_that_it_started(child: Child, tmp_path: Path, why: str) -> None:
    pids = tmp_path / "pids"
    program = child(
        f"""trap "" TERM
sh -c 'trap "" TERM; sleep 300' &
echo "$$ $!" >{pids}.new
mv {pids}.new {pids}
wait"""
    )
    stop = Stop()
    if why == "stop":
        threading.Thread(target=stop_when, args=(stop, pids.exists)).start()
    with pytest.raises(Stopped if why == "stop" else StepError):
        facts(program, tmp_path, stop=stop, seconds=600 if why == "stop" else 2)
    for pid in map(int, pids.read_text().split()):
        wait_for(lambda pid=pid: not is_alive(pid))  # type: ignore[misc]


def test_a_kvm_that_does_not_work_is_followed_by_emulation(
    child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(run.SETTINGS_ENV, raising=False)
    program = child(
        """read -r order
if [ "$LIBGUESTFS_BACKEND_SETTINGS" = force_tcg ]; then echo '{"facts": {"roots": 0}}'
else echo '{"failed": {"kind": "launch", "text": "signal 6"}}'; fi"""
    )
    monkeypatch.setattr(run, "KVM", tmp_path)
    seen: list[str] = []
    assert facts(program, tmp_path, report=lambda _done, _total, text: seen.append(text)).roots == 0
    assert len(seen) == 1
    assert "KVM does not work here" in seen[0]


def test_the_child_notices_that_its_parent_was_killed(child: Child, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program = child(f"echo $$ >{pid}.new; mv {pid}.new {pid}; cat >/dev/null")
    parent = os.fork()
    if not parent:
        try:
            facts(program, tmp_path)
        finally:
            os._exit(1)
    wait_for(pid.exists)
    os.kill(parent, 9)
    os.waitpid(parent, 0)
    wait_for(lambda: not is_alive(int(pid.read_text())))
