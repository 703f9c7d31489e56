"""`vmferry inspect` on real file systems. The systems on them are phony, apart from the project's guest."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.real.inspection.conftest import ROOT, Inspect, Inspected
from tests.real.processes import command_lines

pytestmark = pytest.mark.timeout(900)


def verdict(found: Inspected) -> tuple[str, str]:
    return found.document["verdict"]["answer"], found.document["verdict"]["reason"]


def test_the_debian_that_boots_everywhere_fits(inspect: Inspect, guest: Path) -> None:
    found = inspect(str(guest))
    system = found.document["system"]
    assert verdict(found) == ("fits", "")
    assert found.buses == ["virtio", "scsi", "sata"]
    assert [model["name"] for model in found.document["nicModels"]] == ["virtio", "e1000e", "e1000"]
    assert (system["os"], system["arch"], system["bootDisk"]) == ("debian12", "x86_64", "/dev/sda")
    assert system["bootLoaders"] == ["grub"]
    firmware = found.document["firmware"]
    assert (firmware["bios"], firmware["efi"], firmware["fallbackLoader"]) == (True, True, True)


def test_a_debian_without_virtio_on_lvm_over_two_disks_boots_from_sata(inspect: Inspect) -> None:
    found = inspect("lvm-0.img", "lvm-1.img")
    system = found.document["system"]
    assert verdict(found) == ("convert", "")
    assert found.buses == ["sata"]
    assert (system["root"], system["bootDisk"], system["lvm"]) == ("/dev/vg0/root", "/dev/sda", True)
    assert sorted(room["mount"] for room in system["rooms"]) == ["/", "/boot"]
    assert system["agents"] == ["open_vm_tools"]
    assert [(one["name"], one["addresses"]) for one in system["network"] if one["addresses"]] == [
        ("ens192", ["192.0.2.10/24"])
    ]
    assert {"guest-no-virtio", "guest-addresses", "guest-no-agent", "guest-vmware-tools"} <= set(found.codes)
    assert "open-vm-tools is removed" in found.document["changes"]
    assert "hunter2" not in found.out + found.err


@pytest.mark.parametrize(
    ("image", "reason", "text"),
    [
        ("luks.img", "guest-locked", "/dev/sda1 is encrypted by LUKS"),
        ("blank.img", "guest-none", "no operating system was found"),
        (
            "two.img",
            "guest-several",
            "Debian 12.9 on /dev/sda1, Ubuntu 22.04 (phony) on /dev/sda2",
        ),
        ("alpine.img", "guest-not-convertible", "virt-v2v does not convert Alpine Linux v3.20 (phony)"),
        ("unknown.img", "guest-unknown", "the operating system on /dev/sda1 is not known: Nobody knows 1"),
        ("full.img", "guest-full", "/ on /dev/sda1 is too full for a conversion"),
        ("dirty.img", "guest-dirty", "the NTFS file system on /dev/sda1 is marked dirty"),
    ],
)
def test_a_disk_that_is_left_alone_has_one_clear_reason(
    inspect: Inspect, image: str, reason: str, text: str
) -> None:
    found = inspect(image)
    assert verdict(found) == ("leave", reason)
    assert text in found.document["verdict"]["text"]
    assert found.codes.count(reason) == 1


def test_a_phony_windows_that_is_suspended_by_fast_startup(inspect: Inspect) -> None:
    found = inspect("asleep.img")
    system = found.document["system"]
    assert verdict(found) == ("leave", "guest-hibernated")
    assert "fast start-up, which Windows uses when it shuts down" in found.document["verdict"]["text"]
    assert found.buses == ["virtio", "sata"]
    assert (system["family"], system["arch"], system["hibernated"]) == ("windows", "x86_64", True)
    assert system["product"] == "Windows Server 2022 Standard (phony)"
    assert system["windowsDrivers"] == ["viostor (boot)", "netkvm (on demand)"]
    assert system["agents"] == ["vmware_tools"]
    assert [one["addresses"] for one in system["network"]] == [["192.0.2.20/24"]]
    assert "guest-vmware-tools" in found.codes


def test_a_hostile_disk_neither_hangs_nor_commands_the_terminal(inspect: Inspect) -> None:
    found = inspect("hostile.img", output="table")
    assert found.code == 0
    assert "\x1b" not in found.out + found.err
    assert "\x07" not in found.out + found.err
    assert "root:" not in found.out
    assert "cannot be read: it is cut short" in found.out
    assert "Fedora \\x1b[2J\\x07 12 (phony)" in found.out


# --- the end of an inspection


def started(images: Path, environment: dict[str, str], temporary: Path) -> subprocess.Popen[bytes]:
    temporary.mkdir()
    argv = [sys.executable, "-m", "controller.cli.main", "inspect", str(images / "blank.img")]
    return subprocess.Popen(
        argv,
        cwd=ROOT,
        env={**environment, "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def qemus(temporary: Path) -> list[int]:
    """The processes of QEMU with files in that folder."""
    return [
        pid
        for pid, line in command_lines()
        if b"qemu-system" in line.partition(b"\0")[0] and os.fsencode(temporary) in line
    ]


def socket_of(pid: int) -> Path:
    """The folder of the socket that QEMU uses: for root it is in /tmp, whatever TMPDIR says."""
    found = re.search(rb"path=([^,\0]*/libguestfs\w+)/", Path(f"/proc/{pid}/cmdline").read_bytes())
    assert found is not None
    return Path(os.fsdecode(found[1]))


def wait_for(condition: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_stop_leaves_no_qemu_and_no_file(
    images: Path, environment: dict[str, str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    temporary = tmp_path / "tmp"
    process = started(images, environment, temporary)
    wait_for(lambda: bool(qemus(temporary)))
    socket = socket_of(qemus(temporary)[0])
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    wait_for(lambda: not qemus(temporary))
    if number is not signal.SIGKILL:  # the next vmferry deletes what a killed one has left in TMPDIR
        assert list(temporary.iterdir()) == []
    wait_for(lambda: not socket.exists())


def test_an_inspection_that_takes_too_long_ends(
    images: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    argv = [
        sys.executable,
        "-m",
        "controller.cli.main",
        "inspect",
        str(images / "blank.img"),
        "--timeout",
        "1",
    ]
    ended = subprocess.run(
        argv,
        cwd=ROOT,
        env={**environment, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 70
    assert "the inspection took too long" in ended.stderr
    assert qemus(temporary) == []
    assert list(temporary.iterdir()) == []
