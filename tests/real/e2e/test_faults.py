"""Faults during an import: it recovers by itself if it can, and by `retry` if a person must act."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.contract import Exit
from tests.real import scenario
from tests.real.e2e import harness
from tests.real.e2e.conftest import MakeDisk
from tests.real.e2e.harness import CANCELED, EXPORT, MIB, QUICK, SHUTDOWN, Json
from tests.real.simulator import Simulator
from workflows.status.nodes import progress_of

pytestmark = [pytest.mark.vcenter, pytest.mark.programs]

INTERRUPTED: Final = 130


@pytest.fixture(scope="module")
def running_vcenter(disks: MakeDisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    disk = disks("one", 5)
    names = ("web", "slow", "full-ext4", "full-tmpfs", "locked", "SIGINT", "SIGTERM")
    machines = [harness.machine(name, disk) for name in names]
    machines.extend(harness.machine(name, disk, power="on") for name in ("busy", "left-off"))
    with harness.vcenter(tmp_path_factory.mktemp("faults"), *machines) as simulator:
        yield simulator


@pytest.fixture
def vcenter(running_vcenter: Simulator) -> Iterator[Simulator]:
    """The simulator; every test must leave it without rules, leases and sessions."""
    yield running_vcenter
    running_vcenter.clear()
    assert harness.left(running_vcenter) == []


@pytest.fixture
def disk(disks: MakeDisk) -> Path:
    return disks("one", 5)


def manifests(simulator: Simulator, tmp_path: Path, vm: str, **spec: Any) -> Path:
    return harness.manifests(simulator, tmp_path / "manifests.yaml", vm, **spec)


def done(simulator: Simulator, vm: str) -> list[str]:
    """The results of a VM's exports, oldest first: their faults."""
    return [error for name, error in harness.tasks(simulator, vm) if name == EXPORT]


@pytest.mark.parametrize(("vm", "is_noted"), [("left-off", True), ("web", False)])
def test_a_failure_after_power_off_says_how_to_start_the_vm(
    vcenter: Simulator, tmp_path: Path, vm: str, *, is_noted: bool
) -> None:
    """Nothing is reported if the VM was off when the import started."""
    into = tmp_path / "out"
    vcenter.faults(vm=vm, exportFault="NoPermission")
    ended = harness.vmferry("run", "-f", manifests(vcenter, tmp_path, vm), "--into", into, *QUICK)
    assert (ended.code, len(harness.finished(into, "poweroff"))) == (Exit.DENIED, 1)
    assert (f"VM /DC0/vm/{vm} is off at its source" in ended.err) is is_noted
    assert ("power it on in the vSphere Client" in ended.err) is is_noted
    retried = harness.vmferry("retry", into)
    assert (retried.code, "off at its source" in retried.err) == (Exit.DONE, False)


@pytest.mark.parametrize(
    ("rule", "tasks", "codes"),
    [
        ({"cutAfterBytes": 2 * MIB}, [CANCELED, ""], [Exit.BROKEN_STREAM, Exit.DONE]),
        ({"truncateAt": 2 * MIB}, [CANCELED, ""], [Exit.BROKEN_STREAM, Exit.DONE]),
        ({"corruptAt": 3 * MIB}, [CANCELED, ""], [Exit.BROKEN_STREAM, Exit.DONE]),
        ({"http500": 1}, [CANCELED, ""], [Exit.UNREACHABLE, Exit.DONE]),
        ({"http401": 1}, [CANCELED, ""], [Exit.BROKEN_STREAM, Exit.DONE]),
        ({"exportFault": "InvalidState"}, [""], [Exit.DONE]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_temporary_fault_is_retried(
    vcenter: Simulator, disk: Path, tmp_path: Path, rule: Json, tasks: list[str], codes: list[Exit]
) -> None:
    before = len(done(vcenter, "web"))
    vcenter.faults(vm="web", times=1, **rule)
    into = tmp_path / "out"
    ended = harness.vmferry("run", "-f", manifests(vcenter, tmp_path, "web"), "--into", into, *QUICK)
    assert ended.code == Exit.DONE, ended.err
    assert harness.imported(into, disk)
    assert done(vcenter, "web")[before:] == tasks
    exports = harness.attempts(into, "export")
    assert [int(node["outputs"]["exitCode"]) for node in exports] == codes
    assert all(node["message"] for node in exports[:-1])
    assert "Traceback" not in (into / ".vmferry" / "logs" / "export-disk-0.log").read_text()


def test_a_lease_that_fails_at_once_is_retried(vcenter: Simulator, disk: Path, tmp_path: Path) -> None:
    vcenter.faults(leaseError=1)
    into = tmp_path / "out"
    ended = harness.vmferry("run", "-f", manifests(vcenter, tmp_path, "web"), "--into", into, *QUICK)
    assert ended.code == Exit.DONE, ended.err
    assert harness.imported(into, disk)
    assert len(harness.attempts(into, "export")) == 2


@pytest.mark.parametrize("ends", ["expireLease", "expireSession"])
def test_an_expired_lease_is_replaced(vcenter: Simulator, disk: Path, tmp_path: Path, ends: str) -> None:
    vcenter.faults(pauseAt=2 * MIB)
    into = tmp_path / "out"
    arguments = ("run", "-f", manifests(vcenter, tmp_path, "web"), "--into", into, *QUICK)
    with harness.started(tmp_path, *arguments) as running:
        running.held(vcenter)
        vcenter.faults(**{ends: "now"})
        ended = running.wait()
    assert ended.code == Exit.DONE, ended.err
    assert harness.imported(into, disk)
    first, second = harness.attempts(into, "export")
    assert (int(first["outputs"]["exitCode"]), second["phase"]) == (Exit.BROKEN_STREAM, "Succeeded")
    log = (into / ".vmferry" / "logs" / "export-disk-0.log").read_text()
    assert "bytes, then resuming" in log  # what had landed was kept


def test_a_refused_login_ends_the_import_and_retry_resumes(
    vcenter: Simulator, disk: Path, tmp_path: Path
) -> None:
    vcenter.faults(loginFault=1)
    into = tmp_path / "out"
    ended = harness.vmferry("run", "-f", manifests(vcenter, tmp_path, "web"), "--into", into, *QUICK)
    assert ended.code == Exit.DENIED, ended.err
    ended = harness.vmferry("retry", into, *QUICK)
    assert ended.code == Exit.DONE, ended.err
    assert harness.imported(into, disk)


def test_a_wrong_password_is_replaced_by_retry_with_manifests(
    vcenter: Simulator, disk: Path, tmp_path: Path
) -> None:
    wrong = scenario.manifests(vcenter, virtualMachineName="web", folder=None, networkMapping=[])
    wrong[0]["stringData"]["password"] = "old"  # noqa: S105
    wrong[2]["metadata"]["name"] = "test"
    path = scenario.write(tmp_path / "wrong.yaml", wrong)
    into = tmp_path / "out"
    assert harness.vmferry("run", "-f", path, "--into", into).code == Exit.DENIED
    assert harness.vmferry("retry", into).code == Exit.DENIED
    ended = harness.vmferry("retry", into, "-f", manifests(vcenter, tmp_path, "web"))
    assert ended.code == Exit.DONE, ended.err
    assert harness.imported(into, disk)


def test_progress_is_reported_during_a_slow_stream(vcenter: Simulator, disk: Path, tmp_path: Path) -> None:
    vcenter.faults(bytesPerSecond=2 * MIB, vm="slow")
    into = tmp_path / "out"
    seen: set[int] = set()

    def halfway() -> bool:
        if (into / "run.json").exists():
            seen.update(progress_of(node)[0] for node in harness.attempts(into, "export"))
        return len({count for count in seen if 1 < count < 5 * MIB}) >= 2

    arguments = ("run", "-f", manifests(vcenter, tmp_path, "slow"), "--into", into)
    with harness.started(tmp_path, *arguments) as running:
        running.until(halfway, why="bytes moved in run.json")
        shown = harness.vmferry("status", into)
        assert (shown.code, "export disk-0" in shown.out) == (Exit.DONE, True)
        assert running.wait().code == Exit.DONE
    assert harness.imported(into, disk)


@pytest.fixture
def behind_a_gate(disk: Path, tmp_path: Path) -> Iterator[Simulator]:
    """Its API is used through another port than that of its disks, which need no cookie, as those of ESXi."""
    gone = harness.machine("gone", disk)
    with harness.vcenter(tmp_path, gone, requireCookie=False) as simulator:
        yield simulator
        assert harness.left(simulator) == []


def test_an_outage_of_vcenter_is_survived(behind_a_gate: Simulator, disk: Path, tmp_path: Path) -> None:
    vcenter, into = behind_a_gate, tmp_path / "out"
    with harness.gate(vcenter.url) as gate:
        given = scenario.manifests(vcenter, virtualMachineName="gone", folder=None, networkMapping=[])
        given[1]["spec"]["endpoint"] = gate.url
        path = scenario.write(tmp_path / "manifests.yaml", given)
        gate.shut()
        ended = harness.vmferry("run", "-f", path, "--into", into, *QUICK)
        assert ended.code == Exit.UNREACHABLE, ended.err
        assert "refuses the connection" in ended.error
        gate.open()
        vcenter.hold("ExportVm")
        with harness.started(tmp_path, "retry", into, *QUICK) as running:
            running.held(vcenter)
            gate.shut()
            vcenter.release()
            running.until(lambda: len(harness.attempts(into, "export")) > 1, why="a second attempt")
            gate.open()
            assert running.wait().code == Exit.DONE
        assert len(harness.attempts(into, "preflight")) == 1
    assert harness.imported(into, disk)


@contextmanager
def filesystem(kind: str, folder: Path) -> Iterator[Path]:
    """A filesystem of 12 MiB; a ballast file uses most of it."""
    at, image = folder / "mounted", folder / "image"
    at.mkdir()
    if kind == "ext4":
        with image.open("wb") as file:
            file.truncate(12 * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", image], check=True)
        mount = ["mount", "-o", "loop", str(image), str(at)]
    else:
        mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(at)]
    subprocess.run(mount, check=True)
    try:
        room = os.statvfs(at)
        with (at / "ballast").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - 4 * MIB)
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_no_space_is_reported_and_retry_resumes_with_room(
    vcenter: Simulator, disk: Path, tmp_path: Path, kind: str
) -> None:
    vm = f"full-{kind}"
    with filesystem(kind, tmp_path) as at:
        into = at / "out"
        ended = harness.vmferry("run", "-f", manifests(vcenter, tmp_path, vm), "--into", into, *QUICK)
        assert ended.code == Exit.NO_SPACE, ended.err
        assert "no room for" in ended.error
        assert "free some space" in ended.error
        assert "Traceback" not in ended.err
        assert len(harness.attempts(into, "export")) == 1  # a person must act: it is not retried
        scratch = into / ".vmferry" / "scratch" / "disk-0" / "disk.qcow2.partial"
        assert scratch.stat().st_size > MIB
        before = harness.finished(into, "preflight"), harness.finished(into, "poweroff")
        assert all(before)
        assert harness.vmferry("retry", into, *QUICK).code == Exit.NO_SPACE
        assert harness.vmferry("status", into).code == Exit.DONE
        (at / "ballast").unlink()
        ended = harness.vmferry("retry", into, *QUICK)
        assert ended.code == Exit.DONE, ended.err
        assert (harness.finished(into, "preflight"), harness.finished(into, "poweroff")) == before
        assert harness.imported(into, disk)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_releases_everything(
    vcenter: Simulator, disk: Path, tmp_path: Path, number: signal.Signals
) -> None:
    vcenter.faults(pauseAt=3 * MIB)
    into, vm = tmp_path / "out", number.name
    arguments = ("run", "-f", manifests(vcenter, tmp_path, vm), "--into", into)
    with harness.started(tmp_path, *arguments) as running:
        running.held(vcenter)
        if number is signal.SIGINT:
            os.killpg(running.process.pid, number)  # as a terminal does: vmferry and its steps receive it
        else:
            running.signal(number)
        ended = running.wait()
    assert ended.code == INTERRUPTED, ended.err
    assert f"vmferry retry {into}" in ended.err
    assert "Traceback" not in ended.err
    assert harness.left(vcenter) == []
    moid = vcenter.vm(vm)["moid"]
    assert [lease["end"] for lease in vcenter.leases(ended=True) if lease["moid"] == moid] == ["aborted"]
    ended = harness.vmferry("retry", into)
    assert ended.code == Exit.DONE, ended.err
    assert harness.imported(into, disk)
    assert done(vcenter, vm) == [CANCELED, ""]


def test_a_stop_during_guest_shutdown_asks_the_guest_once(
    vcenter: Simulator, disk: Path, tmp_path: Path
) -> None:
    vcenter.set_vm("busy", ignoresShutdown=True)
    into = tmp_path / "out"
    arguments = ("run", "-f", manifests(vcenter, tmp_path, "busy"), "--into", into)
    with harness.started(tmp_path, *arguments) as running:
        running.until(lambda: vcenter.vm("busy")["shutdowns"], why="the guest was asked")
        running.signal(signal.SIGINT)
        assert running.wait().code == INTERRUPTED
    assert harness.left(vcenter) == []
    vcenter.set_power("busy", "off")
    ended = harness.vmferry("retry", into)
    assert ended.code == Exit.DONE, ended.err
    assert harness.imported(into, disk)
    assert harness.tasks(vcenter, "busy") == [(SHUTDOWN, ""), (EXPORT, "")]


def test_a_second_vmferry_on_the_same_folder_is_refused(
    vcenter: Simulator, disk: Path, tmp_path: Path
) -> None:
    vcenter.faults(pauseAt=MIB)
    into, given = tmp_path / "out", manifests(vcenter, tmp_path, "locked")
    with harness.started(tmp_path, "run", "-f", given, "--into", into) as running:
        running.held(vcenter)
        again = harness.vmferry("retry", into)
        assert again.code == Exit.BUSY
        assert "is in use by another vmferry process" in again.error
        second_run = harness.vmferry("run", "-f", given, "--into", into)
        assert second_run.code == Exit.CONFLICT
        assert "already contains an import" in second_run.error
        vcenter.release()
        assert running.wait().code == Exit.DONE
    assert harness.imported(into, disk)
    assert done(vcenter, "locked") == [""]
