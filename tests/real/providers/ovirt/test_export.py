"""Disks through the real ovirt-imageio: only their data, over lost tickets, other ways, killed attempts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.disk.land import Landed
from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.plan import DiskFormat, ImportRef, Plan, PowerPlan, TargetKind, TargetPlan
from steps.providers import connect
from tests.real.ovirt.conftest import MIB, Images
from tests.real.ovirt.lab import Lab
from tests.real.ovirt.layout import ROOT
from tests.real.providers.ovirt.conftest import RUN, MakeAccess, ignore


def land(access: MakeAccess, machine: Machine, out: Path, number: int = 0) -> Landed:
    with connect(access(f"export-disk-{number}")) as source:
        return source.export(machine, machine.disks[number], out, DiskFormat.RAW, ignore)


def sent(lab: Lab) -> int:
    """The bytes of disks that were sent."""
    reads = [call for call in lab.calls("image", "GET") if "/extents" not in call["path"]]
    return sum(int(call["bytes"]) for call in reads)


@pytest.mark.parametrize("number", [0, 1], ids=["raw", "chain"])
def test_only_the_data_of_a_disk_is_transferred(
    lab: Lab, images: Images, access: MakeAccess, stopped: Machine, tmp_path: Path, number: int
) -> None:
    land(access, stopped, tmp_path / "out", number)
    assert (tmp_path / "out").read_bytes() == images.raw.read_bytes()
    used = images.raw.stat().st_blocks * 512
    print(f"{sent(lab)} bytes of {images.size} were sent, {used} are in use")  # noqa: T201 - a figure
    assert sent(lab) < 5 * MIB
    assert lab.transfers(live=True) == []


def test_the_proxy_is_used_if_the_host_cannot_be_reached(
    lab: Lab, images: Images, access: MakeAccess, stopped: Machine, tmp_path: Path
) -> None:
    lab.settings(host_refuses=True)
    land(access, stopped, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == images.raw.read_bytes()


def test_a_lost_ticket_costs_a_new_transfer_but_no_data(
    lab: Lab,
    images: Images,
    access: MakeAccess,
    stopped: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("steps.disk.ranges.RESUME_PAUSES", (0.0,))
    monkeypatch.setattr("steps.disk.pump.CHUNK", MIB)
    lab.fault(kind="image", method="GET", path="/images/[^/]*$", nth=3, status=403, times=0)
    with pytest.raises(StepError) as caught:
        land(access, stopped, tmp_path / "out")
    assert caught.value.code is Exit.BROKEN_STREAM
    lab.clear()
    landed = land(access, stopped, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == images.raw.read_bytes()
    assert landed.resumed_at > 0
    assert lab.transfers(live=True) == []


def test_a_vm_that_was_started_in_between_is_read_again(
    lab: Lab, access: MakeAccess, stopped: Machine, tmp_path: Path
) -> None:
    land(access, stopped, tmp_path / "out")
    transfers = len(lab.transfers())
    lab.set_vm("web", extra={"stop_time": "2026-01-02T03:04:05.678+00:00"})
    land(access, stopped, tmp_path / "out")
    assert len(lab.transfers()) == transfers + 1


def test_an_illegal_disk_is_noticed_before_the_vm_is_stopped(
    lab: Lab, access: MakeAccess, described: Machine
) -> None:
    lab.set_disk(described.disks[0].key, "illegal")
    with connect(access("poweroff")) as source, pytest.raises(StepError) as caught:
        source.power_off(described, PowerPlan())
    assert caught.value.code is Exit.UNSUPPORTED
    assert lab.vm("web")["status"] == "up"


# Killed attempts: the step as a process, held at each of its calls in turn.


@pytest.fixture
def step(
    lab: Lab, access: MakeAccess, stopped: Machine, tmp_path: Path
) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts a step of an import of the VM."""
    made = access("export-disk-0")
    request = tmp_path / "request"
    request.mkdir()
    plan = Plan(
        run=RUN,
        import_=ImportRef(name="web", uid="6f1d"),
        source=made.plan,
        vm="web",
        target=TargetPlan(kind=TargetKind.DIRECTORY, format=DiskFormat.RAW),
    )
    plan.save(request / "plan.json")
    stopped.save(request / "machine.json")

    def start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        folders = {"request": request, "scratch": tmp_path / "scratch", "credentials": made.credentials}
        (tmp_path / "scratch").mkdir(exist_ok=True)
        options = [f"--{key}={value}" for key, value in folders.items()]
        argv = [sys.executable, "-m", f"steps.{name}", *arguments, *options, f"--outputs={tmp_path}"]
        with (tmp_path / "log").open("ab") as log:
            return subprocess.Popen(argv, cwd=ROOT, stderr=log)

    return start


def is_held(lab: Lab, process: subprocess.Popen[bytes]) -> bool:
    """Wait until a call of the step is held, or the step has ended."""
    while process.poll() is None:
        if lab.held(1):
            return True
    return False


def test_an_export_killed_at_every_call_leaves_nothing(
    lab: Lab,
    images: Images,
    tmp_path: Path,
    step: Callable[..., subprocess.Popen[bytes]],
) -> None:
    calls = [
        ("POST", "/imagetransfers$", "engine"),
        ("GET", "/imagetransfers/", "engine"),
        ("GET", "/extents$", "image"),
        ("GET", "/images/[^/]*$", "image"),
        ("POST", "/finalize$", "engine"),
    ]
    for method, path, kind in calls:
        for when in ("before", "after"):
            lab.hold(path, when, method=method, kind=kind)
            process = step("export", "--disk", "disk-0")
            if is_held(lab, process):
                process.kill()
                process.wait(60)
            else:
                assert process.returncode == 0  # nothing was left to do
            lab.clear()
    process = step("export", "--disk", "disk-0")
    assert process.wait(300) == 0, (tmp_path / "log").read_text()
    assert (tmp_path / "scratch" / "disk.raw").read_bytes() == images.raw.read_bytes()
    assert step("release_source").wait(300) == 0
    assert (tmp_path / "left").read_text().strip() == "[]"
    assert lab.transfers(live=True) == []
    assert {disk["status"] for disk in lab.disks()} == {"ok"}
    assert lab.vm("web")["shutdowns"] == 0


def test_a_transfer_of_a_killed_export_is_released(
    lab: Lab, tmp_path: Path, step: Callable[..., subprocess.Popen[bytes]]
) -> None:
    lab.hold("/extents$", "before", method="GET", kind="image")
    process = step("export", "--disk", "disk-0")
    assert is_held(lab, process)
    process.kill()
    process.wait(60)
    lab.clear()
    assert len(lab.transfers(live=True)) == 1
    assert step("release_source").wait(300) == 0
    assert lab.transfers(live=True) == []
