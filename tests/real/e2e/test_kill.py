"""kill -9 at every point that matters, then `vmferry retry`: nothing is lost, left behind or done twice.

The points are recorded during an undisturbed import: every rename of every process, every call to vCenter. So
none can be forgotten, and the tests assert a minimum of points.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import pytest

from steps.model.contract import Exit
from tests.real.e2e import harness
from tests.real.e2e.conftest import MakeDisk
from tests.real.e2e.harness import CANCELED, EXPORT, MIB, POWER_OFF, QUICK, SHUTDOWN, Json
from tests.real.simulator import Simulator

pytestmark = [pytest.mark.vcenter, pytest.mark.programs]

KILLED: Final = -signal.SIGKILL
MACHINES: Final = 40
SIZE_MIB: Final = 1
LARGE_MIB: Final = 4
STAGES: Final = ("preflight", "poweroff", "export", "convert", "image", "build")
HARMLESS: Final = {"Login", "Logout"}
"""Calls that change something but may be repeated: an additional session is ended, too."""
CHANGING: Final = {
    *HARMLESS,
    "ShutdownGuest",
    "PowerOffVM_Task",
    "ExportVm",
    "HttpNfcLeaseProgress",
    "HttpNfcLeaseComplete",
    "HttpNfcLeaseAbort",
    "TerminateSession",
}
EVENTS: Final = {"CurrentTime", "CreateCollectorForEvents", "ReadNextEvents", "DestroyCollector"}
"""Calls that read the VM's power history; poweroff makes them after it has shut the VM down."""
KILLS: Final = Path(__file__).parent / "kills"
EXPORTED: Final = (EXPORT, "")
CANCELED_EXPORT: Final = (EXPORT, CANCELED)


@dataclass(frozen=True)
class Lab:
    """A simulator with many VMs, one for each case."""

    simulator: Simulator
    small: Path
    large: Path
    machines: Iterator[str]

    def manifests(self, folder: Path, vm: str, **spec: object) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return harness.manifests(self.simulator, folder / "manifests.yaml", vm, **spec)


@pytest.fixture(scope="module")
def lab(disks: MakeDisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    small, large = disks("small", SIZE_MIB), disks("large", LARGE_MIB)
    folder = tmp_path_factory.mktemp("kill")
    names = [f"vm-number-{number}" for number in range(MACHINES)]
    sparse = folder / "sparse.vmdk"  # not stream-optimized: it lands unchanged and is converted
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vmdk", large, sparse], check=True)
    machines = [
        *(harness.machine(name, small, power="on") for name in names),
        harness.machine("slow-guest", small, power="on", shutdownSeconds=3),
        *(harness.machine(f"large-{number}", large) for number in range(6)),
        *(
            harness.machine(f"sparse-{number}", {"vmdk": str(sparse), "capacity": LARGE_MIB * MIB})
            for number in range(4)
        ),
    ]
    with harness.vcenter(folder, *machines) as simulator:
        yield Lab(simulator, small, large, iter(names))


def settled(lab: Lab, into: Path) -> None:
    """Wait after a kill until all processes have ended and the simulator holds no request."""
    harness.until(lambda: not lab.simulator.held(0), why="the simulator has noticed that its client is gone")
    lab.simulator.clear()
    harness.until(lambda: harness.free(into), why="the folder is free")


def kept(into: Path) -> set[str]:
    """Successful attempts; they must be the same after a retry."""
    return {found for stage in STAGES for found in harness.finished(into, stage)} if known(into) else set()


def known(into: Path) -> bool:
    return (into / "run.json").exists()


def retried(lab: Lab, folder: Path, vm: str, original: Path) -> list[tuple[str, str]]:
    """Run `vmferry retry`, which must finish the import; returns the VM's tasks."""
    into = folder / "out"
    before = kept(into)
    ended = harness.vmferry("retry", into, *QUICK)
    assert ended.code == Exit.DONE, ended.err
    assert harness.imported(into, original)
    assert before <= kept(into), "a finished stage was run again"
    assert harness.left(lab.simulator) == []
    found = lab.simulator.vm(vm)
    assert (found["power"], found["shutdowns"] + found["powerOffs"] <= 1) == ("off", True)
    return harness.tasks(lab.simulator, vm)


# --- calls to vCenter


@dataclass(frozen=True)
class Place:
    """A call of an undisturbed import: the `nth` call of its method within its step."""

    step: str
    method: str
    nth: int
    of_all: int
    """Likewise, within the whole import."""
    in_step: int
    """How often its step calls that method."""
    poll: bool
    """Whether it comes after a change and may be repeated any number of times."""


@pytest.fixture(scope="module")
def places(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> list[Place]:
    """Every SOAP call of an undisturbed import."""
    vm, folder = next(lab.machines), tmp_path_factory.mktemp("clean")
    lab.simulator.forget_calls()
    given = lab.manifests(folder, vm)
    ended = harness.vmferry("run", "-f", given, "--into", folder / "out", *QUICK)
    assert ended.code == Exit.DONE, ended.err
    calls = [call for call in lab.simulator.calls() if call["kind"] == "soap" and call["userAgent"]]
    return [found for _, of_step in groupby(calls, step_of) for found in numbered(list(of_step), calls)]


def step_of(call: Json) -> str:
    return re.sub(r"-disk-[0-9]+$", "", str(call["userAgent"]).rpartition("step=")[2])


def numbered(of_step: Sequence[Json], calls: Sequence[Json]) -> Iterator[Place]:
    changed, last = False, ""
    for index, call in enumerate(of_step):
        method = call["method"]
        poll = changed and method not in CHANGING
        changed = changed or method in CHANGING - HARMLESS
        if not (poll and method == last):  # of repeated polls only the first counts
            nth = sum(other["method"] == method for other in of_step[: index + 1])
            of_all = sum(other["method"] == method for other in calls[: calls.index(call) + 1])
            in_step = sum(other["method"] == method for other in of_step)
            yield Place(step_of(call), method, nth, of_all, in_step, poll)
        last = method


def calls_too(other: Place, place: Place, steps: Sequence[str]) -> bool:
    return other.method == place.method and other.step in steps


def hold_and_kill(lab: Lab, folder: Path, place: Place, when: str, nth: int, *command: str | Path) -> None:
    """Run vmferry until it makes that call, and kill the whole process group there."""
    lab.simulator.hold(place.method, when, nth)
    with harness.started(folder, *command, *QUICK) as running:
        running.held(lab.simulator)
        step = next(step_of(call) for call in reversed(lab.simulator.calls()) if call["outcome"] == "running")
        assert step == place.step
        running.kill_all()
    settled(lab, folder / "out")


@pytest.mark.parametrize(
    "steps", [("preflight",), ("poweroff", "export", "unchanged", "release-source")], ids=lambda s: s[0]
)
def test_kill_at_every_reading_call(
    lab: Lab, places: list[Place], tmp_path: Path, steps: tuple[str, ...]
) -> None:
    """One import, killed at each call in turn: each retry reaches the next one."""
    found = [
        (place, when)
        for place in places
        if place.step in steps and not place.poll and place.method not in CHANGING - HARMLESS
        for when in (("before", "after") if place.method in HARMLESS else ("before",))
    ]
    assert len(found) >= 19
    assert {place.step for place, _ in found} == set(steps)
    vm, folder = next(lab.machines), tmp_path / "killed"
    command: tuple[str | Path, ...] = ("run", "-f", lab.manifests(folder, vm), "--into", folder / "out")
    order = ["preflight", "poweroff", "export", "unchanged", "release-source"]
    at = "preflight"
    for place, when in found:
        again = order[order.index(at) : order.index(place.step)]  # these run before it and make such calls
        before = sum({each.step: each.in_step for each in places if calls_too(each, place, again)}.values())
        hold_and_kill(lab, folder, place, when, before + place.nth, *command)
        at, command = place.step, ("retry", folder / "out")
    # The last attempt of export was killed after the disk had landed; earlier ones had no lease yet.
    assert retried(lab, folder, vm, lab.small) == [(SHUTDOWN, ""), EXPORTED]


def expected(place: Place, when: str) -> list[list[tuple[str, str]]]:
    """The correct tasks after a kill there and a retry."""
    off = (POWER_OFF if place.method == "PowerOffVM_Task" else SHUTDOWN, "")
    match place.method, when:
        case "HttpNfcLeaseComplete", "before":
            # the whole disk had landed, so nothing is read again; the call may have been sent already
            return [[off, CANCELED_EXPORT], [off, EXPORTED]]
        case "HttpNfcLeaseProgress", _:  # the keep-alive runs parallel to the transfer, which may have ended
            return [[off, CANCELED_EXPORT], [off, CANCELED_EXPORT, EXPORTED]]
        case ("ExportVm", "after") | ("RetrievePropertiesEx", _) if place.step == "export":
            return [[off, CANCELED_EXPORT, EXPORTED]]
        case _:  # before there was a lease, or after it was released
            return [[off, EXPORTED]]


@pytest.mark.parametrize("part", range(3))
def test_kill_at_every_changing_call(lab: Lab, places: list[Place], tmp_path: Path, part: int) -> None:
    """One import per call: killed before it, and after it was carried out but not answered."""
    cases = [
        (place, when)
        for place in places
        if place.poll or place.method in CHANGING - HARMLESS
        for when in (("before",) if place.poll else ("before", "after"))
    ]
    methods = Counter(place.method for place, _ in cases)
    assert methods.keys() == {
        "ShutdownGuest",
        "ExportVm",
        "HttpNfcLeaseProgress",
        "HttpNfcLeaseComplete",
        "RetrievePropertiesEx",
        *EVENTS,
    }
    assert len(cases) >= 12
    for number, (place, when) in enumerate(cases):
        if number % 3 == part:
            vm, folder = next(lab.machines), tmp_path / str(number)
            command = ("run", "-f", lab.manifests(folder, vm), "--into", folder / "out")
            hold_and_kill(lab, folder, place, when, place.of_all, *command)
            tasks = retried(lab, folder, vm, lab.small)
            assert tasks in expected(place, when), f"{when} {place}: {tasks}"


@pytest.mark.parametrize("when", ["before", "after"])
def test_kill_at_a_hard_power_off(lab: Lab, tmp_path: Path, when: str) -> None:
    vm = next(lab.machines)
    place = Place("poweroff", "PowerOffVM_Task", 1, 1, 1, poll=False)
    command = ("run", "-f", lab.manifests(tmp_path, vm, forcePowerOff=True), "--into", tmp_path / "out")
    hold_and_kill(lab, tmp_path, place, when, 1, *command)
    assert retried(lab, tmp_path, vm, lab.small) in expected(place, when)
    assert lab.simulator.vm(vm)["powerOffs"] == 1


def test_kill_during_guest_shutdown(lab: Lab, tmp_path: Path) -> None:
    """The call was carried out, its answer never came, the guest still shuts down: it is not asked again."""
    place = Place("poweroff", "ShutdownGuest", 1, 1, 1, poll=False)
    command = ("run", "-f", lab.manifests(tmp_path, "slow-guest"), "--into", tmp_path / "out")
    hold_and_kill(lab, tmp_path, place, "after", 1, *command)
    assert retried(lab, tmp_path, "slow-guest", lab.small) == [(SHUTDOWN, ""), EXPORTED]


@pytest.mark.parametrize("when", ["before", "after"])
def test_kill_during_the_cleanup_of_the_retry(lab: Lab, tmp_path: Path, when: str) -> None:
    vm = next(lab.machines)
    command = ("run", "-f", lab.manifests(tmp_path, vm), "--into", tmp_path / "out")
    hold_and_kill(lab, tmp_path, Place("export", "ExportVm", 1, 1, 1, poll=False), "after", 1, *command)
    terminate = Place("export", "TerminateSession", 1, 1, 1, poll=False)
    hold_and_kill(lab, tmp_path, terminate, when, 1, "retry", tmp_path / "out")
    assert retried(lab, tmp_path, vm, lab.small) == [(SHUTDOWN, ""), CANCELED_EXPORT, EXPORTED]


# --- bytes


@pytest.mark.parametrize(
    ("vm", "offset"), [("large-0", 0), ("large-1", MIB + 12345), ("large-2", 3 * MIB), ("large-3", -1)]
)
def test_kill_in_the_middle_of_a_disk(lab: Lab, tmp_path: Path, vm: str, offset: int) -> None:
    length = LARGE_MIB * MIB if offset < 0 else offset  # the stream is slightly longer than the disk
    lab.simulator.faults(pauseAt=length, vm=vm)
    given = lab.manifests(tmp_path, vm)
    with harness.started(tmp_path, "run", "-f", given, "--into", tmp_path / "out", *QUICK) as running:
        running.held(lab.simulator)
        running.kill_all()
    settled(lab, tmp_path / "out")
    assert retried(lab, tmp_path, vm, lab.large) == [CANCELED_EXPORT, EXPORTED]


def test_steps_stop_after_their_runner_was_killed(lab: Lab, tmp_path: Path) -> None:
    """Its steps stop by themselves and release what they hold."""
    lab.simulator.faults(pauseAt=2 * MIB, vm="large-4")
    given = lab.manifests(tmp_path, "large-4")
    with harness.started(tmp_path, "run", "-f", given, "--into", tmp_path / "out", *QUICK) as running:
        running.held(lab.simulator)
        running.signal(signal.SIGKILL)
        running.process.wait()
        harness.until(lambda: harness.free(tmp_path / "out"), 20, "the steps have ended")
    moid = lab.simulator.vm("large-4")["moid"]
    assert [each["end"] for each in lab.simulator.leases(ended=True) if each["moid"] == moid] == ["aborted"]
    assert harness.left(lab.simulator) == []
    assert retried(lab, tmp_path, "large-4", lab.large) == [CANCELED_EXPORT, EXPORTED]


def test_a_killed_step_is_retried(lab: Lab, tmp_path: Path) -> None:
    lab.simulator.faults(pauseAt=2 * MIB, vm="large-5")
    given = lab.manifests(tmp_path, "large-5")
    with harness.started(tmp_path, "run", "-f", given, "--into", tmp_path / "out", *QUICK) as running:
        running.held(lab.simulator)
        (step,) = children(running.process.pid)
        os.kill(step, signal.SIGKILL)
        assert running.wait().code == Exit.DONE
    first, second = harness.attempts(tmp_path / "out", "export")
    assert (first["outputs"]["exitCode"], second["phase"]) == ("137", "Succeeded")
    assert harness.imported(tmp_path / "out", lab.large)
    assert harness.left(lab.simulator) == []
    assert harness.tasks(lab.simulator, "large-5") == [CANCELED_EXPORT, EXPORTED]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# --- convert


def slow_qemu_img(folder: Path, written: int) -> Path:
    """A folder for PATH whose qemu-img stops once during a conversion, after this number of bytes."""
    real = shutil.which("qemu-img")
    wrapper = folder / "bin" / "qemu-img"
    wrapper.parent.mkdir(parents=True)
    wrapper.write_text(
        f"""#!/bin/sh
if [ "$1" = convert ] && mkdir {folder}/stopped 2>/dev/null; then
  for last; do :; done
  head -c {written} /dev/urandom >"$last"
  echo $$ >{folder}/pid.partial && mv {folder}/pid.partial {folder}/pid
  exec sleep 300
fi
exec {real} "$@"
"""
    )
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    return wrapper.parent


@pytest.mark.parametrize(
    ("vm", "written", "whole"),
    [
        ("sparse-0", 0, True),
        ("sparse-1", 300_000, True),
        ("sparse-2", 3 * MIB, True),
        ("sparse-3", 300_000, False),
    ],
)
def test_kill_in_the_middle_of_a_conversion(
    lab: Lab, tmp_path: Path, vm: str, written: int, whole: bool
) -> None:
    """The whole group, or only the step: then its qemu-img must not write during the next attempt."""
    path = f"{slow_qemu_img(tmp_path, written)}:{os.environ['PATH']}"
    given = lab.manifests(tmp_path, vm)
    into = tmp_path / "out"
    with harness.started(tmp_path, "run", "-f", given, "--into", into, *QUICK, PATH=path) as running:
        running.until((tmp_path / "pid").exists, why="qemu-img had started")
        if whole:
            running.kill_all()
            settled(lab, into)
            assert retried(lab, tmp_path, vm, lab.large) == [EXPORTED]
        else:
            (step,) = children(running.process.pid)
            os.kill(step, signal.SIGKILL)
            assert running.wait().code == Exit.DONE
            assert harness.imported(into, lab.large)
    program = Path("/proc", (tmp_path / "pid").read_text().strip(), "exe")  # not for a zombie either
    harness.until(lambda: not program.exists(), why="its qemu-img has ended as well")


# --- renames


def labels(lab: Lab, folder: Path) -> list[str]:
    """Every rename of an undisturbed import by any of its processes, in order, each once."""
    log = folder / "renames"
    vm = next(lab.machines)
    given = lab.manifests(folder, vm)
    more = {"PYTHONPATH": path_with_kills(), "KILL_LOG": str(log)}
    ended = harness.vmferry("run", "-f", given, "--into", folder / "out", *QUICK, **more)
    assert ended.code == Exit.DONE, ended.err
    return list(dict.fromkeys(log.read_text().splitlines()))


def path_with_kills() -> str:
    return os.pathsep.join(filter(None, [str(KILLS), os.environ.get("PYTHONPATH")]))


@pytest.mark.parametrize("when", ["before", "after"])
def test_kill_at_every_rename(lab: Lab, tmp_path: Path, when: str) -> None:
    """One import, killed at each rename in turn: each retry reaches the next one."""
    found = labels(lab, tmp_path / "clean")
    files = {label.split()[1] for label in found}
    assert files >= {"plan.json", "run.json", "machine.json", "session.json", "disk.qcow2", "disk-0.qcow2"}
    assert files >= {"ready.json", "disk-0.json", "SHA256SUMS", "virtualmachine.yaml"}
    assert sum(label.startswith("main run.json") for label in found) >= 20
    vm, folder = next(lab.machines), tmp_path / "killed"
    given, into = lab.manifests(folder, vm), folder / "out"
    for label in found:
        command = ("retry", into) if known(into) else ("run", "-f", given, "--into", into)
        more = {"PYTHONPATH": path_with_kills(), "KILL_AT": f"{when} {label}"}
        with harness.started(folder, *command, *QUICK, **more) as running:
            ended = running.wait()
            assert ended.code == KILLED, f"{when} {label}: {ended}"
        settled(lab, into)
    tasks = retried(lab, folder, vm, lab.small)
    assert tasks[0] == (SHUTDOWN, "")
    assert set(tasks[1:]) <= {CANCELED_EXPORT, EXPORTED}
    assert tasks.count(EXPORTED) <= 1
