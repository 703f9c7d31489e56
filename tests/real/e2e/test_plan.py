"""A MigrationPlan on one computer: the VMs of a simulated vCenter, wave by wave, and what a second run does.

`VMFERRY_PLAN_VMS` is the number of VMs of the large plan: 4 by default, 300 for a measurement. It prints the
time and the memory.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import time
from pathlib import Path
from typing import Any, Final

import pytest

from controller.local.plan_run import STATE
from steps.model.contract import Exit
from steps.model.kinds import API_VERSION
from tests.real import scenario
from tests.real.e2e import harness
from tests.real.e2e.conftest import MakeDisk
from tests.real.simulator import Simulator

pytestmark = [pytest.mark.vcenter, pytest.mark.programs]

MANY: Final = int(os.environ.get("VMFERRY_PLAN_VMS", "4"))
WAVES: Final = 4
SECONDS: Final = 300.0 + 120.0 * MANY
"""That the large plan may take on a busy computer."""
LARGEST: Final = 300
"""MiB that the runner may use: it keeps neither disks nor logs in memory."""


def a_plan(simulator: Simulator, folder: Path, name: str = "prod", **spec: Any) -> Path:
    secret, source, _ = scenario.manifests(simulator)
    reference = {key: source["metadata"].get(key, "default") for key in ("name", "namespace")}
    plan = {
        "apiVersion": API_VERSION,
        "kind": "MigrationPlan",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"sourceCluster": {"kind": source["kind"], **reference}, **spec},
    }
    return scenario.write(folder / f"{name}.yaml", [secret, source, plan])


def shut_down(simulator: Simulator) -> list[str]:
    """The VMs that were asked to shut down or powered off, in that order."""
    words = ("ShutdownGuest", "PowerOffVM_Task", "PowerOffVM")
    return [one["vm"] for one in simulator.tasks() if one["task"] in words]


def test_waves_stop_at_a_failure_and_a_second_run_retries_only_that(disks: MakeDisk, tmp_path: Path) -> None:
    disk = disks("one", 3)
    machines = [
        harness.machine("db", disk, folder="prod", power="on", tools="notInstalled"),
        harness.machine("web-1", disk, folder="prod", tags=["env:prod"]),
        harness.machine("web-2", disk, folder="prod"),
        harness.machine("test", disk, folder="test"),
    ]
    rows: list[dict[str, Any]] = [{"name": "db"}, {"folder": "prod"}]
    with harness.vcenter(tmp_path, *machines) as simulator:
        given = a_plan(simulator, tmp_path, vms=rows, waves={"size": 2})
        shown = harness.vmferry("plan", "-f", given, "-o", "json")
        document = json.loads(shown.out)
        assert [[vm["import"] for vm in wave["vms"]] for wave in document["waves"]] == [
            ["prod-db", "prod-web-1"],
            ["prod-web-2"],
        ]
        assert [vm["possible"] for wave in document["waves"] for vm in wave["vms"]] == [False, True, True]
        assert all(vm["host"] for wave in document["waves"] for vm in wave["vms"])
        assert shown.code == Exit.POWER
        table = harness.vmferry("plan", "-f", given).out
        assert "3 VMs in 2 waves" in table
        assert "prod-db: reason: " in table
        assert simulator.tasks() == []

        words = ("run", "-f", given, "--into", tmp_path / "out", "--retry-delay", "0")
        asked = harness.vmferry(*words)
        assert (asked.code, simulator.tasks()) == (Exit.INVALID, [])
        assert "add --yes" in asked.error
        first = harness.vmferry(*words, "--yes", "-o", "json")
        assert first.code == Exit.POWER, first.err
        assert json.loads(first.out)["phase"] == "Stopped"
        assert not (tmp_path / "out" / "prod-web-2").exists()
        before = (tmp_path / "out" / "prod-web-1" / "run.json").read_bytes()

        rows[0]["overrides"] = {"powerOffWithoutGuestTools": True}
        a_plan(simulator, tmp_path, vms=rows, waves={"size": 2})
        second = harness.vmferry(*words, "--yes", "-o", "json")
        assert second.code == Exit.DONE, second.err
        result = json.loads(second.out)
        assert (result["phase"], result["counts"]["succeeded"]) == ("Succeeded", 3)
        assert [one["import"] for one in result["imports"]] == ["prod-db", "prod-web-2"]
        assert (tmp_path / "out" / "prod-web-1" / "run.json").read_bytes() == before
        assert harness.left(simulator) == []

        third = harness.vmferry(*words)
        assert third.code == Exit.DONE, third.err
        assert "All 3 VMs are imported" in third.err
    for name in ("prod-db", "prod-web-1", "prod-web-2"):
        assert harness.imported(tmp_path / "out" / name, disk)


def test_a_folder_of_something_else_is_left_alone(disks: MakeDisk, tmp_path: Path) -> None:
    with harness.vcenter(tmp_path, harness.machine("web", disks("one", 3))) as simulator:
        given = a_plan(simulator, tmp_path, vms=[{"name": "web"}])
        into = tmp_path / "mine"
        into.mkdir()
        (into / "letter.txt").write_text("dear")
        refused = harness.vmferry("run", "-f", given, "--into", into)
        assert refused.code == Exit.CONFLICT
        assert "its content is not from an earlier run of this plan" in refused.error
        assert harness.vmferry("run", "-f", given, "--into", tmp_path / "out").code == Exit.DONE
        other = a_plan(simulator, tmp_path, name="other", vms=[{"name": "web"}])
        refused = harness.vmferry("run", "-f", other, "--into", tmp_path / "out")
        assert refused.code == Exit.CONFLICT
        assert "belongs to MigrationPlan default/prod" in refused.error
        assert [path.name for path in into.iterdir()] == ["letter.txt"]


def test_a_plan_outside_its_windows_waits_and_ends_cleanly(disks: MakeDisk, tmp_path: Path) -> None:
    with harness.vcenter(tmp_path, harness.machine("web", disks("one", 3))) as simulator:
        hour = (time.gmtime().tm_hour + 12) % 24
        window = {"start": f"{hour:02}:00", "end": f"{hour:02}:30"}
        given = a_plan(simulator, tmp_path, vms=[{"name": "web"}], windows=[window])
        out = tmp_path / "out"
        with harness.started(tmp_path, "run", "-f", given, "--into", out) as running:
            running.until(lambda: "The next window opens at" in running.err or None)
            running.signal(signal.SIGINT)
            running.wait()
        assert simulator.tasks() == []
        assert json.loads((out / STATE).read_text())["status"]["phase"] == "WaitingForWindow"


def memory_until_its_end(running: harness.Running) -> int:
    """Wait for the end of `vmferry run`; returns its own largest memory in MiB, without its steps."""
    peak = 0

    def has_ended() -> bool:
        nonlocal peak
        if running.process.poll() is not None:
            return True
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):
            peak = int(found[1]) >> 10
        return False

    harness.until(has_ended, SECONDS, "the plan runs")
    return peak


@pytest.mark.timeout(3600)
def test_many_vms_with_a_mapping_in_four_waves(
    disks: MakeDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = disks("small", 1, 0.25)
    machines = [harness.machine(f"vm-{number:03}", disk, folder="prod") for number in range(MANY)]
    mapping = {
        "apiVersion": API_VERSION,
        "kind": "ImportMapping",
        "metadata": {"name": "dc", "namespace": "default"},
        "spec": {"networks": [{"source": {"name": "VM Network"}, "type": "pod"}]},
    }
    with harness.vcenter(tmp_path, *machines) as simulator:
        given = a_plan(
            simulator,
            tmp_path,
            vms=[{"folder": "prod"}],
            waves={"size": -(-MANY // WAVES)},
            template={"importMapping": {"name": "dc"}},
        )
        rows = scenario.write(tmp_path / "mapping.yaml", [mapping])
        started = time.monotonic()
        words = ("run", "-f", given, "-f", rows, "--into", tmp_path / "out", "--yes", "-o", "json")
        with harness.started(tmp_path, *words) as running:
            memory = memory_until_its_end(running)
            done = running.wait()
        seconds = time.monotonic() - started
        assert done.code == Exit.DONE, done.err[-3000:]
    result = json.loads(done.out)
    assert (result["phase"], result["counts"]["succeeded"]) == ("Succeeded", MANY)
    status = json.loads((tmp_path / "out" / STATE).read_text())["status"]
    assert (status["progress"], status["waves"]) == (f"{WAVES}/{WAVES}", WAVES)
    assert harness.imported(tmp_path / "out" / "prod-vm-000", disk)
    assert "no row of ImportMapping" not in done.err
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    with capsys.disabled():
        print(  # noqa: T201 - a figure
            f"\n{MANY} VMs in {WAVES} waves: {seconds:.0f} s, {memory} MiB for the runner, {largest} MiB for "
            "the largest process"
        )
    assert memory < LARGEST
