"""A vCenter that restarts: a step waits, resumes by itself, and what is left there is released afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from controller.step_program import folder_options
from steps.disk import qemu
from steps.model import leftovers, scratch
from steps.model.contract import PROGRESS_FILE_ENV, TERMINATION_LOG_ENV, Exit
from steps.model.plan import DiskFormat, ImportRef, Plan, SourcePlan, TargetKind, TargetPlan
from steps.model.sources import SourceKind
from steps.providers import connect
from steps.runtime.program import MACHINE, PLAN
from tests.real.providers.vmware.test_export import MIB, image
from tests.real.simulator import Simulator, make_access, write_credentials

pytestmark = pytest.mark.vcenter

MODES: Final = ("refuse", "reset", "503", "notReady")
WAIT: Final = 300
"""Far longer than any test needs: a test fails by its own time limit."""
END_SECONDS: Final = 120.0


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image(tmp_path_factory.mktemp("outage") / "disk", 8 * MIB, 7)


@pytest.fixture(scope="module")
def shared(disk: Path, simulator_states: Callable[[str], Path]) -> Iterator[Simulator]:
    vms = [
        {"name": "off", "disks": [{"file": str(disk)}]},
        *({"name": f"on-{mode}", "power": "on", "shutdownSeconds": 0.5, "disks": [{}]} for mode in MODES),
    ]
    with Simulator.start({"datacenters": [{"vms": vms}]}, simulator_states("outage")) as simulator:
        yield simulator


def until(true: Callable[[], object]) -> None:
    """Poll. A broken stream is asked for again for 11 s before the step waits."""
    end = time.monotonic() + END_SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


class Steps:
    """The step programs of one import, as in a pod."""

    def __init__(self, vcenter: Simulator, folder: Path, vm: str) -> None:
        self.vcenter = vcenter
        self.folder = folder
        self.words = folder / "words"
        self.progress = folder / "progress"
        write_credentials(folder / "credentials", vcenter)
        for name in ("request", "scratch", "outputs"):
            (folder / name).mkdir()
        source = SourcePlan(
            kind=SourceKind.VMWARE,
            name="vc",
            endpoint=vcenter.url,
            datacenter="DC0",
            verified=True,
            wait_seconds=WAIT,
        )
        plan = Plan(
            run=f"run-{os.getpid()}",
            import_=ImportRef(name="web"),
            source=source,
            vm=vm,
            target=TargetPlan(kind=TargetKind.DIRECTORY, format=DiskFormat.RAW),
        )
        plan.save(folder / "request" / PLAN)

    def describe(self) -> None:
        """As preflight does."""
        access = make_access(self.vcenter, self.folder, step="preflight", datacenter="DC0")
        with connect(access) as source:
            source.describe(Plan.load(self.folder / "request" / PLAN).vm, None).save(
                self.folder / "request" / MACHINE
            )

    @contextmanager
    def running(self, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        folders = {key: self.folder / key for key in ("request", "scratch", "credentials", "outputs")}
        argv = [sys.executable, "-P", "-m", f"steps.{name}", *folder_options(**folders), *arguments]
        environment = {
            **os.environ,
            PROGRESS_FILE_ENV: str(self.progress),
            TERMINATION_LOG_ENV: str(self.words),
        }
        with (
            (self.folder / "log").open("ab") as log,
            subprocess.Popen(argv, stderr=log, env=environment) as step,
        ):
            timer = threading.Timer(END_SECONDS, step.kill)
            timer.start()
            try:
                yield step
            finally:
                timer.cancel()
                step.kill()

    def waits(self) -> bool:
        """Whether the running step says that it waits."""
        return self.progress.exists() and "waits for the source since" in self.progress.read_text()

    def log(self) -> list[dict[str, Any]]:
        lines = (self.folder / "log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def left(self) -> tuple[str, ...] | None:
        return leftovers.from_text((self.folder / "outputs" / leftovers.OUTPUT).read_text())


@pytest.mark.parametrize("mode", MODES)
def test_preflight_waits_for_a_verified_vcenter(vcenter: Simulator, tmp_path: Path, mode: str) -> None:
    steps = Steps(vcenter, tmp_path, "off")
    vcenter.go_away(mode)
    with steps.running("preflight") as step:
        until(steps.waits)
        vcenter.come_back()
        assert step.wait() == Exit.DONE, steps.log()[-1]
    assert (tmp_path / "outputs" / MACHINE).exists()


@pytest.mark.parametrize("mode", MODES)
def test_a_power_off_continues_after_a_restart_and_asks_the_guest_once(
    vcenter: Simulator, tmp_path: Path, mode: str
) -> None:
    steps = Steps(vcenter, tmp_path, f"on-{mode}")
    steps.describe()
    vcenter.hold("ShutdownGuest", "after")
    with steps.running("poweroff") as step:
        assert vcenter.held(30)
        vcenter.release()
        vcenter.go_away(mode)
        until(steps.waits)
        vcenter.come_back()
        assert step.wait() == Exit.DONE, steps.log()[-1]
    assert vcenter.vm(f"on-{mode}")["shutdowns"] == 1


@pytest.mark.parametrize("mode", MODES)
def test_an_export_resumes_after_a_restart_in_the_same_attempt(
    vcenter: Simulator, tmp_path: Path, disk: Path, mode: str
) -> None:
    """The lease ends with its session, and the stream with the lease."""
    steps = Steps(vcenter, tmp_path, "off")
    steps.describe()
    vcenter.faults(pauseAt=64 << 10)
    with steps.running("export", "--disk", "disk-0") as step:
        assert vcenter.held(30)
        vcenter.go_away(mode)
        vcenter.release()
        until(steps.waits)
        vcenter.come_back()
        assert step.wait() == Exit.DONE, steps.log()[-1]
    landed = scratch.landing(tmp_path / "scratch", DiskFormat.RAW)
    assert qemu.compare(disk, "raw", landed, "raw")
    assert not steps.words.exists(), "an attempt that waits has no last words"
    assert any("the source does not answer" in line["event"] for line in steps.log())


def test_a_stop_ends_the_wait_and_nothing_is_held(vcenter: Simulator, tmp_path: Path) -> None:
    steps = Steps(vcenter, tmp_path, "off")
    steps.describe()
    vcenter.faults(pauseAt=64 << 10)
    with steps.running("export", "--disk", "disk-0") as step:
        assert vcenter.held(30)
        vcenter.go_away("refuse")
        vcenter.release()
        until(steps.waits)
        step.send_signal(signal.SIGTERM)
        assert step.wait() == Exit.STOPPED
    vcenter.come_back()
    assert vcenter.sessions() == []
    assert vcenter.leases() == []


def test_a_wrong_password_after_a_restart_is_tried_once(vcenter: Simulator, tmp_path: Path) -> None:
    steps = Steps(vcenter, tmp_path, "off")
    steps.describe()
    vcenter.go_away("refuse")
    with steps.running("export", "--disk", "disk-0") as step:
        until(steps.waits)
        vcenter.faults(loginFault=10)
        vcenter.come_back()
        assert step.wait() == Exit.DENIED
    assert len(vcenter.calls("Login")) == 2, "the one of `describe`, and one"


def test_the_session_of_a_killed_step_is_ended_by_a_cleanup_that_waits(
    vcenter: Simulator, tmp_path: Path
) -> None:
    """vCenter's API is away at the end of the import, but it has not restarted: the session lives."""
    steps = Steps(vcenter, tmp_path, "off")
    steps.describe()
    vcenter.faults(pauseAt=64 << 10)
    with steps.running("export", "--disk", "disk-0") as step:
        assert vcenter.held(30)
        step.kill()
        step.wait()
    assert len(vcenter.sessions()) == len(vcenter.leases()) == 1
    with steps.running("release_source") as step:
        assert step.wait() == Exit.DONE
    assert steps.left() == ()
    assert vcenter.sessions() == []
    assert vcenter.leases() == []


def test_a_cleanup_that_cannot_ask_the_source_says_so(vcenter: Simulator, tmp_path: Path) -> None:
    steps = Steps(vcenter, tmp_path, "off")
    plan = Plan.load(tmp_path / "request" / PLAN)
    impatient = plan.source.model_copy(update={"wait_seconds": 0})
    plan.model_copy(update={"source": impatient}).save(tmp_path / "request" / PLAN)
    vcenter.go_away("refuse")
    with steps.running("release_source") as step:
        assert step.wait() == Exit.DONE
    assert steps.left() is None
    vcenter.come_back()
    with steps.running("release_source") as step:
        assert step.wait() == Exit.DONE
    assert steps.left() == ()
