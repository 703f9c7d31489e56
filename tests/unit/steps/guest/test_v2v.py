"""The run of virt-v2v, with programs in its place: messages, bounds, ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steps.guest import run, supervise, v2v
from steps.model.adapting import NotAdaptableError
from steps.model.contract import Exit, StepError, Stopped
from steps.model.guest import GuestSystem
from steps.runtime.stop import Stop

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a shell script in the place of virt-v2v; `$messages` is the file for its messages."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def call(script: str) -> None:
        for name in v2v.PROGRAMS:
            text = (
                '[ "$1" = --version ] && { echo "virt-v2v 2.2.0"; exit; }\n'
                "for argument do case $argument in\n"
                "--machine-readable=file:*) messages=${argument#*file:} ;;\n"
                "esac; done\n"
                'say() { printf \'{"type": "%s", "message": "%s"}\\n\' "$1" "$2" >> "$messages"; }\n'
            )
            (folder / name).write_text(f"#!/bin/sh\n{text}{script}\n")
            (folder / name).chmod(0o755)

    return call


def convert(tmp_path: Path, stop: Stop | None = None, seconds: float = 60) -> tuple[Any, list[str]]:
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    said: list[str] = []
    order = v2v.Conversion(overlays=[tmp_path / "adapt.qcow2"], root="/dev/sda1", keys={})
    found = v2v.convert(
        order, folder, report=lambda _part, text: said.append(text), stop=stop or Stop(), seconds=seconds
    )
    return found, said


def test_messages_become_progress_and_warnings(tmp_path: Path, install: Install) -> None:
    install("say message 'Inspecting the source'; say warning 'odd grub'; say message 'Finishing off'")
    found, said = convert(tmp_path)
    assert said == ["inspecting the guest", "finishing"]
    assert (found.version, found.warnings) == ("virt-v2v 2.2.0", ("odd grub",))


def test_a_failure_has_its_reason(tmp_path: Path, install: Install) -> None:
    install("say error 'no bootloader detected'; exit 1")
    with pytest.raises(NotAdaptableError) as failure:
        convert(tmp_path)
    assert failure.value.code is Exit.UNSUPPORTED


def test_a_reason_that_is_only_on_standard_error(tmp_path: Path, install: Install) -> None:
    install("echo 'could not read key from user' >&2; exit 1")
    with pytest.raises(NotAdaptableError) as failure:
        convert(tmp_path)
    assert failure.value.code is Exit.INVALID


def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        StepError, match="virt-v2v-in-place and nbdkit and qemu-nbd are not installed"
    ) as failure:
        v2v.require()
    assert "apt-get install virt-v2v" in failure.value.remedy


def test_a_conversion_that_takes_too_long_ends(tmp_path: Path, install: Install) -> None:
    install("sleep 600")
    with pytest.raises(StepError, match="the conversion of the guest was ended") as failure:
        convert(tmp_path, seconds=0.5)
    assert failure.value.code is Exit.INTERNAL
    assert left(tmp_path) == []


def test_a_conversion_that_says_nothing_ends(
    tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(v2v, "SILENCE", 0.3)
    install("sleep 600")
    with pytest.raises(StepError) as failure:
        convert(tmp_path)
    assert "said nothing" in failure.value.why


def test_messages_without_end_are_not_read(
    tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(v2v, "MOST_MESSAGES", 10_000)
    install("while say message x; do :; done")
    with pytest.raises(StepError) as failure:
        convert(tmp_path)
    assert "without end" in failure.value.why


def left(tmp_path: Path) -> list[int]:
    """Processes that have this folder in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                if os.fsencode(f"TMPDIR={tmp_path}") in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


STRAYS = "setsid sleep 600 & (setsid sleep 600 &) ; "


@pytest.mark.parametrize(("end", "code"), [("say error 'no bootloader detected'; exit 1", 16), ("exit 0", 0)])
def test_what_it_leaves_behind_is_ended(tmp_path: Path, install: Install, end: str, code: int) -> None:
    install(STRAYS + end)
    if code:
        with pytest.raises(StepError):
            convert(tmp_path)
    else:
        convert(tmp_path)
    assert left(tmp_path) == []


def test_a_stop_ends_all_of_it(tmp_path: Path, install: Install) -> None:
    stop = Stop()
    stop.set()
    install(STRAYS + "sleep 600")
    with pytest.raises(Stopped):
        convert(tmp_path, stop)
    assert left(tmp_path) == []


def test_nothing_outlives_a_killed_caller(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"{STRAYS} : > {ready}; trap '' TERM; while :; do sleep 1; done"
    caller = (
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, {str(Path(supervise.__file__))!r}, 'sh', '-c', {script!r}],"
        " stdin=subprocess.PIPE, start_new_session=True).wait()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", caller], env={**os.environ, "TMPDIR": str(tmp_path)})
    wait_for(ready.exists)
    assert len(left(tmp_path)) >= 4
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: left(tmp_path) == [])


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_appliance_has_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tmp_path / "real qemu"
    real.write_text('#!/bin/sh\nfor argument do printf "%s\\n" "$argument"; done\n')
    real.chmod(0o755)
    monkeypatch.setenv(v2v.HV_ENV, str(real))
    argv = ["-netdev", "user,id=usernet,net=169.254.0.0/16", "-smp", "2", "-name", "a b'c\"$HOME", "", "*"]
    for emulated, processors in ((False, "2"), (True, "1")):
        wrapper = v2v._hypervisor(tmp_path, emulated=emulated)
        ended = subprocess.run([wrapper, *argv], capture_output=True, text=True, check=True)
        assert ended.stdout.split("\n")[:-1] == [
            "-netdev",
            "user,id=usernet,net=169.254.0.0/16,restrict=on",
            "-smp",
            processors,
            *argv[4:],
        ]


@pytest.mark.parametrize(
    ("settings", "has_kvm", "smp"), [("", True, "2"), ("force_tcg", True, "1"), ("", False, "1")]
)
def test_an_emulated_appliance_has_one_processor(
    tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch, settings: str, has_kvm: bool, smp: str
) -> None:
    monkeypatch.setenv(run.SETTINGS_ENV, settings)
    monkeypatch.setattr(v2v, "KVM", tmp_path if has_kvm else tmp_path / "missing")
    monkeypatch.setenv(v2v.HV_ENV, "echo")
    install(f'"$LIBGUESTFS_HV" -smp 2 > {tmp_path}/said')
    convert(tmp_path)
    assert (tmp_path / "said").read_text() == f"-smp {smp}\n"


def test_an_environment_of_its_own(tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "x")
    install(f'env > {tmp_path}/env; cat "$3" > {tmp_path}/xml; ulimit -f > {tmp_path}/limit')
    convert(tmp_path)
    lines = (tmp_path / "env").read_text().splitlines()
    assert f"TMPDIR={tmp_path}/run/1/tmp" in lines
    assert "LIBGUESTFS_BACKEND=direct" in lines
    assert not any(line.startswith("PYTHONPATH=") for line in lines)
    assert int((tmp_path / "limit").read_text()) * 512 <= v2v.LARGEST_FILE
    assert str(tmp_path / "adapt.qcow2") in (tmp_path / "xml").read_text()


# --- Windows


def windows(release: str = "10.0") -> GuestSystem:
    return GuestSystem(family="windows", product="Windows Server 2022", release=release, root="/dev/sda1")


def test_a_virtio_win_without_drivers_for_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAdaptableError, match="cannot be converted"):
        v2v.require_drivers(tmp_path, windows())
    place = tmp_path / "viostor/2k22/amd64"
    place.mkdir(parents=True)
    (place / "viostor.INF").touch()
    v2v.require_drivers(tmp_path, windows())
    with pytest.raises(NotAdaptableError):
        v2v.require_drivers(tmp_path, windows("6.1"))


def test_windows_needs_a_program_for_its_first_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(v2v.TOOLS_ENV, str(tmp_path))
    with pytest.raises(StepError, match="neither rhsrvany"):
        v2v.require_windows(tmp_path)
    (tmp_path / "rhsrvany.exe").touch()
    v2v.require_windows(tmp_path)
    with pytest.raises(StepError, match="there is no virtio-win at"):
        v2v.require_windows(tmp_path / "missing")


def test_half_a_line_is_read_when_it_is_whole(tmp_path: Path, install: Install) -> None:
    line = json.dumps({"type": "message", "message": "Finishing off"})
    install(f"printf '%s' '{line}' >> \"$messages\"; sleep 0.2; echo >> \"$messages\"")
    assert convert(tmp_path)[1] == ["finishing"]
