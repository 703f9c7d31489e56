"""Steps are killed between their calls to the engine and to ovirt-imageio; then they are tried again.

The step is a process. The stand-in holds one of its calls, before or after it was carried out.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from steps.model.machine import Machine
from steps.model.plan import DiskFormat, ImportRef, Plan, TargetKind, TargetPlan
from tests.real.ovirt.conftest import Images
from tests.real.ovirt.lab import Lab
from tests.real.ovirt.layout import ROOT
from tests.real.providers.ovirt.conftest import RUN, MakeAccess

StartStep = Callable[..., subprocess.Popen[bytes]]
Call = tuple[str, str, str]
ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture
def step(lab: Lab, access: MakeAccess, described: Machine, tmp_path: Path) -> StartStep:
    """Starts a step of an import of the VM, which runs."""
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
    described.save(request / "machine.json")

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


def killed(lab: Lab, start: Callable[[], subprocess.Popen[bytes]], call: Call, when: str) -> None:
    """Start a step and kill it at this call; a step that does not make the call must succeed."""
    kind, method, path = call
    lab.hold(path, when, method=method, kind=kind)
    process = start()
    if is_held(lab, process):
        process.kill()
        process.wait(60)
    else:
        assert process.returncode == 0  # nothing was left to do
    lab.clear()


def calls_of(lab: Lab) -> list[Call]:
    """What the record has, each kind of call once: kind, method and a pattern of the path."""
    found: dict[Call, None] = {}
    for call in lab.calls():
        words = (re.escape(word) for word in ID.split(call["path"].split("?")[0]))
        found[call["kind"], call["method"], "[^/]+".join(words) + r"(\?|$)"] = None
    return list(found)


def test_a_vm_is_shut_down_once_however_often_its_poweroff_is_killed(lab: Lab, step: StartStep) -> None:
    lab.forget_calls()
    assert step("poweroff").wait(300) == 0
    calls = calls_of(lab)
    assert any(method == "POST" and "/shutdown" in path for _, method, path in calls), calls
    lab.set_vm("web", status="up")
    before = lab.vm("web")["shutdowns"]
    for call in calls:
        killed(lab, lambda: step("poweroff"), call, "after")
    assert step("poweroff").wait(300) == 0
    vm = lab.vm("web")
    assert (vm["status"], vm["shutdowns"] - before, vm["stops"]) == ("down", 1, 0)


def test_an_export_killed_at_every_call_leaves_nothing(
    lab: Lab, images: Images, tmp_path: Path, stopped: Machine, step: StartStep
) -> None:
    calls = [
        ("engine", "POST", "/imagetransfers$"),
        ("engine", "GET", "/imagetransfers/"),
        ("image", "GET", "/extents$"),
        ("image", "GET", "/images/[^/]*$"),
        ("engine", "POST", "/finalize$"),
    ]
    for call in calls:
        for when in ("before", "after"):
            killed(lab, lambda: step("export", "--disk", "disk-0"), call, when)
    process = step("export", "--disk", "disk-0")
    assert process.wait(300) == 0, (tmp_path / "log").read_text()
    assert (tmp_path / "scratch" / "disk.raw").read_bytes() == images.raw.read_bytes()
    assert step("release_source").wait(300) == 0
    assert (tmp_path / "left").read_text().strip() == "[]"
    assert lab.transfers(live=True) == []
    assert {disk["status"] for disk in lab.disks()} == {"ok"}
    assert lab.vm("web")["shutdowns"] == 0


def left_by_a_killed_export(lab: Lab, step: StartStep) -> None:
    killed(lab, lambda: step("export", "--disk", "disk-0"), ("image", "GET", "/extents$"), "before")
    assert len(lab.transfers(live=True)) == 1


def test_a_release_killed_at_every_call_leaves_nothing(
    lab: Lab, tmp_path: Path, stopped: Machine, step: StartStep
) -> None:
    left_by_a_killed_export(lab, step)
    lab.forget_calls()
    assert step("release_source").wait(300) == 0
    assert lab.transfers(live=True) == []
    calls = calls_of(lab)
    assert any(method == "POST" and "imagetransfers" in path for _, method, path in calls)
    left_by_a_killed_export(lab, step)
    for call in calls:
        killed(lab, lambda: step("release_source"), call, "after")
    assert step("release_source").wait(300) == 0
    assert (tmp_path / "left").read_text().strip() == "[]"
    assert lab.transfers(live=True) == []
    assert {disk["status"] for disk in lab.disks()} == {"ok"}
