"""`vmferry plan` and `vmferry run` with a MigrationPlan: waves, failures, another run of the same command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from controller.cli import dryrun
from controller.local import imports, plan_run
from controller.local.rundir import RunDir
from steps.model.concerns import block, warn
from steps.model.contract import Exit
from steps.model.machine import Machine, Tag
from steps.model.yaml import to_yaml
from steps.providers import Access, Inventory, Provider
from tests.unit.builders import a_machine
from tests.unit.controller.cli.conftest import Ended, Vmferry, refused
from tests.unit.controller.local.fakes import FakeLauncher, exit_codes
from tests.unit.controller.manifests.test_read import IMPORT, SECRET, SOURCE
from tests.unit.providers import FakeProvider


def a_vm(number: int, **more: Any) -> Machine:
    name = f"web-{number}"
    return a_machine(**{"name": name, "source_id": f"vm-{number}", "path": f"/DC0/vm/prod/{name}", **more})


class World:
    """The source, and how the steps of each import end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vms = [a_vm(1, host="host-7"), a_vm(2), a_vm(3, tags=(Tag(name="env", value="prod"),))]
        self.fails: dict[str, int] = {}
        """Exit codes of `export` by import."""
        self.refused: set[str] = set()
        """Imports that `preflight` refuses."""
        self.launched: list[str] = []

    def launcher(self, rundir: RunDir, *_: Any) -> FakeLauncher:
        name = rundir.root.name
        self.launched.append(name)
        codes = exit_codes(("disk-0",), export_disk_0=[self.fails.get(name, 0)])
        if name in self.refused:
            codes = {**codes, "preflight": [int(Exit.POWER)]}
        return FakeLauncher(rundir, a_vm(1), codes)

    def plan(self, **spec: Any) -> None:
        given = {"sourceCluster": {"kind": "VmwareSource", "name": "vc"}, "vms": [{"name": "web-*"}], **spec}
        document = {
            "apiVersion": "migration.harvesterhci.io/v1beta1",
            "kind": "MigrationPlan",
            "metadata": {"name": "prod"},
            "spec": given,
        }
        (self.folder / "plan.yaml").write_text(to_yaml(document))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    made = World(tmp_path)
    (tmp_path / "source.yaml").write_text(f"{SECRET}---\n{SOURCE}")

    class Source(FakeProvider):
        def inventory(self) -> Inventory:
            return Inventory(machines=tuple(made.vms), networks=("VM Network",), folders=("prod",))

    @contextmanager
    def connect(_: Access) -> Iterator[Provider]:
        yield Source(made.vms[0])

    monkeypatch.setattr(dryrun, "connect", connect)
    monkeypatch.setattr(imports, "Launcher", made.launcher)
    # It lasts until the process ends; here several runs are in one process.
    monkeypatch.setattr(RunDir, "mark_running", lambda _self: None)
    made.plan(waves={"size": 2})
    return made


def plan(vmferry: Vmferry, *words: str) -> Ended:
    return vmferry("plan", "-f", "source.yaml", "-f", "plan.yaml", *words)


def run(vmferry: Vmferry, *words: str) -> tuple[Ended, dict[str, Any]]:
    ended = vmferry(
        *("run", "-f", "source.yaml", "-f", "plan.yaml", "--into", "out", "--retry-delay", "0"),
        *("--yes", "-o", "json", *words),
    )
    return ended, json.loads(ended.out) if ended.out else {}


# --- plan


def test_the_waves_are_shown(world: World, vmferry: Vmferry) -> None:
    ended = plan(vmferry)
    assert ended.code == Exit.DONE, ended.err
    assert ended.out.splitlines()[:4] == [
        "WAVE  IMPORT      VM                  HOST    DISKS  STORAGE CLASSES  RESULT",
        "1     prod-web-1  /DC0/vm/prod/web-1  host-7  1 GiB  -                ready",
        "1     prod-web-2  /DC0/vm/prod/web-2  -       1 GiB  -                ready",
        "2     prod-web-3  /DC0/vm/prod/web-3  -       1 GiB  -                ready",
    ]
    assert "3 VMs in 2 waves, 3 GiB; 0 cannot be imported" in ended.out


def test_a_size_that_the_plan_sets_is_no_warning(world: World, vmferry: Vmferry) -> None:
    """The inventory does not know the plan: bare disks have neither processors nor memory."""
    assumed = (warn("cpu-assumed", "no processor", "1 vCPU"), warn("memory-assumed", "no memory", "1 GiB"))
    world.vms = [a_vm(1, concerns=assumed)]
    world.plan(template={"memory": "2Gi"})
    shown = plan(vmferry).out
    assert "1 VM in 1 wave, 1 GiB; 0 cannot be imported" in shown
    assert "no processor" in shown
    assert "no memory" not in shown


def test_the_waves_as_a_document(world: World, vmferry: Vmferry) -> None:
    world.vms[1] = a_vm(2, concerns=(block("rdm", "a disk is an RDM"),))
    world.plan(waves={"size": 2}, vms=[{"tags": ["env:prod"]}, {"name": "web-*"}, {"name": "no"}])
    ended = plan(vmferry, "-o", "json")
    assert ended.code == Exit.UNSUPPORTED
    document = json.loads(ended.out)
    assert (document["plan"], document["open"], document["unused"]) == ("prod", True, ["name no"])
    shown = [[(vm["import"], vm["possible"]) for vm in wave["vms"]] for wave in document["waves"]]
    assert shown == [[("prod-web-3", True), ("prod-web-1", True)], [("prod-web-2", False)]]
    assert "a disk is an RDM" in document["waves"][1]["vms"][0]["reasons"][0]["message"]
    assert world.launched == []


def test_names_of_the_source_do_not_command_the_terminal(world: World, vmferry: Vmferry) -> None:
    world.vms = [a_machine(name="a\x1b[2J", path="/DC0/vm/a\x1b[2J")]
    world.plan(vms=[{"name": "*"}])
    ended = plan(vmferry)
    assert "\x1b" not in ended.out
    assert "a\\x1b[2J" in ended.out


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_wrong_plan_is_refused_before_the_source_is_asked(
    command: str, world: World, vmferry: Vmferry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dryrun, "connect", None)
    world.plan(vms=[{}])
    into = ("--into", "out") if command == "run" else ()
    ended = vmferry(command, "-f", "source.yaml", "-f", "plan.yaml", *into)
    refused(
        ended,
        Exit.INVALID,
        "MigrationPlan default/prod: spec.vms[0]: it needs name, folder or tags: write which VMs it selects",
    )


def test_a_plan_and_imports_do_not_mix(world: World, vmferry: Vmferry, tmp_path: Path) -> None:
    (tmp_path / "import.yaml").write_text(IMPORT)
    ended = plan(vmferry, "-f", "import.yaml")
    assert "run them with separate commands" in ended.err
    assert plan(vmferry, "--vm", "web-1").code != Exit.DONE


def test_a_plan_that_selects_nothing_is_an_error(world: World, vmferry: Vmferry) -> None:
    world.plan(vms=[{"name": "db-*"}])
    assert plan(vmferry).code == Exit.NOT_FOUND
    ended, document = run(vmferry)
    assert (ended.code, document["phase"]) == (Exit.NOT_FOUND, "Failed")


# --- run


def test_wave_after_wave(world: World, vmferry: Vmferry, tmp_path: Path) -> None:
    ended, document = run(vmferry)
    assert ended.code == Exit.DONE, ended.err
    assert (document["phase"], document["counts"]["succeeded"]) == ("Succeeded", 3)
    assert world.launched == ["prod-web-1", "prod-web-2", "prod-web-3"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == world.launched
    again, _ = run(vmferry)
    assert again.code == Exit.DONE
    assert len(world.launched) == 3, "nothing is imported twice"


def test_a_failure_stops_the_next_wave_and_another_run_retries_only_that(
    world: World, vmferry: Vmferry
) -> None:
    world.fails["prod-web-1"] = int(Exit.CORRUPT)
    ended, document = run(vmferry)
    assert ended.code == Exit.CORRUPT
    assert (document["phase"], document["counts"]["failed"]) == ("Stopped", 1)
    assert world.launched == ["prod-web-1", "prod-web-2"]
    assert "run the command again, or raise waves.failureThreshold" in document["message"]
    assert "run the same command again to continue; it retries only what failed" in ended.err
    world.fails.clear()
    ended, document = run(vmferry)
    assert (ended.code, document["phase"]) == (Exit.DONE, "Succeeded"), ended.err
    assert world.launched[2:] == ["prod-web-1", "prod-web-3"]


def test_an_import_that_was_refused_begins_again_with_the_corrected_plan(
    world: World, vmferry: Vmferry, tmp_path: Path
) -> None:
    world.refused.add("prod-web-1")
    ended, _ = run(vmferry)
    assert ended.code == Exit.POWER
    world.refused.clear()
    world.plan(waves={"size": 2}, template={"powerOffWithoutGuestTools": True})
    ended, document = run(vmferry)
    assert (ended.code, document["phase"]) == (Exit.DONE, "Succeeded"), ended.err
    request = json.loads((tmp_path / "out/prod-web-1/.vmferry/request/plan.json").read_text())
    assert request["power"]["forceWithoutTools"] is True


def test_a_vm_that_came_later_is_not_imported_until_the_rows_change(world: World, vmferry: Vmferry) -> None:
    world.fails["prod-web-1"] = int(Exit.CORRUPT)
    run(vmferry)
    world.fails.clear()
    world.vms.append(a_vm(4))
    run(vmferry)
    assert "prod-web-4" not in world.launched
    world.plan(waves={"size": 2}, vms=[{"name": "web-[1-9]"}])
    _, document = run(vmferry)
    assert document["counts"]["succeeded"] == 4


def test_an_import_whose_folder_is_taken_does_not_stop_the_others(
    world: World, vmferry: Vmferry, tmp_path: Path
) -> None:
    world.plan(waves={"failureThreshold": "100%"})
    (tmp_path / "out").mkdir()
    with_plan, _ = run(vmferry)
    assert with_plan.code == Exit.DONE
    for name in ("prod-web-1", "prod-web-2"):
        for path in sorted((tmp_path / "out" / name).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    state = tmp_path / "out" / plan_run.STATE
    state.write_text(state.read_text().replace('"Succeeded"', '"Pending"'))
    (tmp_path / "out/prod-web-1/letter.txt").write_text("dear")
    ended, document = run(vmferry)
    assert ended.code != Exit.DONE
    assert document["counts"]["succeeded"] == 2
    assert (tmp_path / "out/prod-web-1/letter.txt").read_text() == "dear"


@pytest.mark.parametrize("answer", [False, True])
def test_a_person_approves_the_next_wave_on_a_terminal(
    world: World, vmferry: Vmferry, monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    questions: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        questions.append(question)
        return answer or len(questions) == 1

    monkeypatch.setattr(typer, "confirm", confirm)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    world.plan(waves={"size": 2, "approval": True})
    ended = vmferry("run", "-f", "source.yaml", "-f", "plan.yaml", "--into", "out")
    assert questions == ["Shut down and import these 3 VMs?", "Wave 1 has ended. Start wave 2?"]
    assert ended.code == Exit.DONE
    assert ("prod-web-3" in world.launched) is answer
    assert ("WaitingForApproval" in ended.err) is not answer


def test_a_pause_is_waited_for(world: World, vmferry: Vmferry, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(1000))
    begun = datetime(2026, 12, 1, tzinfo=UTC)

    class Clock:
        """Each look at it shows the next minute."""

        @classmethod
        def now(cls, _: object) -> datetime:
            return begun + timedelta(minutes=next(times))

    monkeypatch.setattr(plan_run, "datetime", Clock)
    waits: list[float | None] = []
    inner = plan_run.PlanRun._wait

    async def wait(self: plan_run.PlanRun, seconds: float | None) -> None:
        waits.append(seconds)
        await inner(self, None if self._tasks else 0)

    monkeypatch.setattr(plan_run.PlanRun, "_wait", wait)
    world.plan(waves={"size": 2, "pauseMinutes": 3})
    ended, document = run(vmferry)
    assert (ended.code, document["phase"]) == (Exit.DONE, "Succeeded")
    paused = [seconds for seconds in waits if seconds is not None]
    assert paused[0] == 180.0
    assert paused == sorted(paused, reverse=True)


def test_two_runs_at_a_time_do_not_share_a_folder(world: World, vmferry: Vmferry, tmp_path: Path) -> None:
    lock = plan_run.lock(tmp_path / "out")
    ended, _ = run(vmferry)
    assert ended.code == Exit.BUSY
    assert world.launched == []
    assert lock > 0


# --- status


def test_the_status_of_a_plan_shows_the_vms_that_wait(world: World, vmferry: Vmferry) -> None:
    world.fails["prod-web-1"] = int(Exit.CORRUPT)
    run(vmferry)
    ended = vmferry("status", "out")
    assert ended.code == Exit.DONE, ended.err
    lines = ended.out.splitlines()
    assert lines[0].startswith("prod: Stopped, wave 1 of 2: Too many imports of wave 1 failed (prod-web-1)")
    assert lines[1] == "  wave 2  prod-web-3  pending: /DC0/vm/prod/web-3"
    assert "prod-web-1  Failed" in ended.out
    state = json.loads(vmferry("status", "out", "-o", "json").out)
    assert (state["plan"], state["phase"], state["wave"], state["waves"]) == ("prod", "Stopped", 1, 2)
    assert [(vm["import"], vm["phase"]) for vm in state["vms"]] == [
        ("prod-web-1", "Failed"),
        ("prod-web-2", "Succeeded"),
        ("prod-web-3", "Pending"),
    ]
    assert state["vms"][0]["reason"] == "export"
    assert [one["import"] for one in state["imports"]] == ["prod-web-1", "prod-web-2"]
    assert state["imports"][0]["goOn"]


def test_a_plan_has_a_status_before_its_first_import(world: World, vmferry: Vmferry, tmp_path: Path) -> None:
    world.plan(suspend=True, vms=[{"name": "*"}])
    world.vms[0] = a_machine(name="a\x1b[2J", source_id="vm-1", path="/DC0/vm/a\x1b[2J")
    _, document = run(vmferry)
    assert (document["phase"], document["counts"]["pending"]) == ("Suspended", 3)
    assert [vm["phase"] for vm in document["vms"]] == ["Pending"] * 3
    shown = vmferry("status", "out")
    assert shown.code == Exit.DONE, shown.err
    assert "\x1b" not in shown.out
    assert "a\\x1b[2J" in shown.out
    assert json.loads(vmferry("status", "out", "-o", "json").out)["imports"] == []
    (tmp_path / "out" / plan_run.STATE).write_text("{}")
    assert vmferry("status", "out").code == Exit.INVALID
