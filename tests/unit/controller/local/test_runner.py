from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from controller.local.runner import TransferSlots
from steps.model.contract import Exit
from steps.model.plan import TargetKind
from tests.unit.controller.local.fakes import HOLD, Import, exit_codes
from workflows.stages import Scope, stage_named, stages_for
from workflows.status.nodes import Phase, root_cause


@pytest.fixture
def one(tmp_path: Path) -> Import:
    return Import(tmp_path / "one")


async def until(condition: Any) -> None:
    """Let the runner continue until a condition is true; it must become true without time passing."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("never came about")


# --- order


def test_everything_runs_once(one: Import) -> None:
    assert one.run() is Phase.SUCCEEDED
    assert one.launcher.left() == []
    assert root_cause(one.workflow) is None


def test_the_order_follows_the_stage_table(one: Import) -> None:
    one.run()
    events = one.launcher.events
    rows = [stage for stage in stages_for(TargetKind.DIRECTORY) if not stage.gate]
    for stage in rows:
        for disk in one.disks if stage.scope is Scope.DISK else ("",):
            for before in (row for row in rows if row.name in stage.after):
                names = [f"{before.name} {other}" for other in ([disk] if disk else one.disks)]
                names = names if before.scope is Scope.DISK else [before.name]
                begin = events.index(("begin", f"{stage.name} {disk}".strip()))
                assert all(events.index(("end", name)) < begin for name in names)


def test_gates_that_were_not_requested_are_skipped(one: Import) -> None:
    one.run()
    assert one.leaf("approve-poweroff").phase is Phase.SKIPPED


def test_disks_run_in_parallel(one: Import) -> None:
    one.run()
    assert one.launcher.most == 2


def test_the_source_is_released_last(one: Import) -> None:
    one.run()
    assert one.launcher.began[-1] == "release-source"


# --- failure


def test_a_permanent_failure_of_a_disk_does_not_stop_the_other(one: Import) -> None:
    assert one.run(export_disk_0=[Exit.NO_SPACE]) is Phase.FAILED
    assert one.leaf("image disk-1").phase is Phase.SUCCEEDED
    assert one.leaf("convert disk-0").phase is one.leaf("build").phase is Phase.OMITTED
    assert one.launcher.left() == ["build", "convert disk-0", "image disk-0"]
    cause = root_cause(one.workflow)
    assert cause is not None
    assert (cause.title, cause.exit_code) == ("export disk-0", 13)


@pytest.mark.parametrize("code", range(10, 21))
def test_permanent_failures_are_not_retried(one: Import, code: int) -> None:
    one.run(convert_disk_0=[code])
    assert one.leaf("convert disk-0").attempts == 1
    assert one.leaf("convert disk-0").exit_code == code


@pytest.mark.parametrize("code", [1, 30, 31, 32, 70, 137, 143])
def test_temporary_failures_are_retried(one: Import, code: int) -> None:
    assert one.run(export_disk_0=[code, code, 0]) is Phase.SUCCEEDED
    assert one.leaf("export disk-0").attempts == 3


@pytest.mark.parametrize("name", ["preflight", "poweroff", "export", "convert", "image", "build"])
def test_the_stage_table_limits_the_attempts(one: Import, name: str) -> None:
    limit = stage_named(name).retry.limit
    disk = stage_named(name).scope is Scope.DISK
    key = f"{name}_disk_0" if disk else name
    assert one.run(**{key: [30] * (limit + 1)}) is Phase.FAILED
    assert one.leaf(f"{name} disk-0" if disk else name).attempts == limit + 1


def test_nothing_follows_a_failed_power_off(one: Import) -> None:
    one.run(poweroff=[Exit.POWER])
    assert one.launcher.began == ["preflight", "poweroff", "release-source"]


def test_the_release_of_the_source_is_skipped_after_a_refusal_by_preflight(one: Import) -> None:
    one.run(preflight=[Exit.DENIED])
    assert "release-source" not in one.launcher.began
    assert one.leaf("release-source").phase is Phase.SKIPPED
    assert "poweroff" not in one.launcher.began


def test_nothing_follows_a_failed_preflight(one: Import) -> None:
    one.run(preflight=[Exit.DENIED])
    assert one.launcher.began == ["preflight"]


def test_the_source_is_released_after_an_unreachable_source(one: Import) -> None:
    one.run(preflight=[Exit.UNREACHABLE] * 3)
    assert one.launcher.began[-1] == "release-source"


# --- resuming


def test_resume_repeats_no_finished_stage(one: Import) -> None:
    one.run(export_disk_1=[Exit.NO_SPACE])
    one.reopen()
    assert one.run() is Phase.SUCCEEDED
    assert one.launcher.began == [
        "export disk-1",
        "convert disk-1",
        "image disk-1",
        "build",
        "release-source",
    ]


def test_resume_after_a_kill_starts_with_the_running_stage(one: Import) -> None:
    async def killed() -> None:
        runner = one.runner(exit_codes(one.disks, export_disk_0=[HOLD]))
        task = asyncio.create_task(runner.run())
        await until(lambda: "image disk-1" in one.launcher.began and one.launcher.alive == {"export disk-0"})
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(killed())
    one.reopen()
    assert one.run() is Phase.SUCCEEDED
    assert one.launcher.began == [
        "export disk-0",
        "convert disk-0",
        "image disk-0",
        "build",
        "release-source",
    ]


def test_resume_of_a_finished_import_only_releases_the_source(one: Import) -> None:
    one.run()
    one.reopen()
    assert one.run() is Phase.SUCCEEDED
    assert one.launcher.began == ["release-source"]


# --- stopping


def stopped(one: Import, running: int, **changed: Sequence[int]) -> Phase:
    """Run until this number of exports is held, stop, and wait for the end."""

    async def go() -> Phase:
        runner = one.runner(exit_codes(one.disks, **changed))
        task = asyncio.create_task(runner.run())
        await until(lambda: len(one.launcher.alive) == running)
        runner.stop()
        return await task

    return asyncio.run(go())


def test_a_stop_ends_running_steps_and_only_releases_the_source(one: Import) -> None:
    assert stopped(one, 2, export_disk_0=[HOLD], export_disk_1=[HOLD]) is Phase.FAILED
    assert one.launcher.began[-1] == "release-source"
    assert one.launcher.left() == ["build", *(f"{s} {d}" for d in one.disks for s in ("convert", "image"))]
    assert one.leaf("export disk-0").exit_code == Exit.STOPPED
    assert one.leaf("export disk-0").attempts == 1
    assert one.workflow["status"]["message"] == "Stopped with strategy 'Stop'"


def test_a_stopped_import_can_resume(one: Import) -> None:
    stopped(one, 2, export_disk_0=[HOLD], export_disk_1=[HOLD])
    one.reopen()
    assert one.run() is Phase.SUCCEEDED
    assert "poweroff" not in one.launcher.began


def test_a_stop_reaches_stages_that_wait_for_a_limit(tmp_path: Path) -> None:
    many = Import(tmp_path / "many", disks=6)
    held = {f"export_disk_{number}": [HOLD] for number in range(4)}
    stopped(many, 4, **held)
    assert sum(name.startswith("export") for name in many.launcher.began) == 4


def test_a_second_stop_kills(one: Import) -> None:
    async def go() -> None:
        runner = one.runner(exit_codes(one.disks, export_disk_0=[HOLD], export_disk_1=[HOLD]))
        task = asyncio.create_task(runner.run())
        await until(lambda: len(one.launcher.alive) == 2)
        runner.stop()
        assert not one.launcher.killed
        runner.stop()
        assert one.launcher.killed
        await task

    asyncio.run(go())


# --- shared by imports


def together(imports: Sequence[Import], limits: TransferSlots, watch: Callable[[], None]) -> None:
    """Run imports in parallel, with exports held until nothing changes; `watch` checks, then they resume."""

    async def go() -> None:
        held = {f"export_disk_{number}": [HOLD] for number in range(len(imports[0].disks))}
        runners = [one.runner(exit_codes(one.disks, **held), limits) for one in imports]
        tasks = [asyncio.create_task(runner.run()) for runner in runners]
        for _ in range(200):
            await asyncio.sleep(0)
        watch()
        while not all(task.done() for task in tasks):
            for one in imports:
                one.launcher.release()
            await asyncio.sleep(0)
        assert await asyncio.gather(*tasks) == [Phase.SUCCEEDED] * len(imports)

    asyncio.run(go())


def test_streams_are_limited_over_all_imports(tmp_path: Path) -> None:
    first, second = Import(tmp_path / "a", disks=3), Import(tmp_path / "b", disks=3)

    def watch() -> None:
        assert len(first.launcher.alive) + len(second.launcher.alive) == 4

    together((first, second), TransferSlots(), watch)


def test_two_vms_are_in_transfer_by_default(tmp_path: Path) -> None:
    imports = [Import(tmp_path / name) for name in "abc"]

    def watch() -> None:
        assert sum("poweroff" in one.launcher.began for one in imports) == 2

    together(imports, TransferSlots(), watch)
    assert all("poweroff" in one.launcher.began for one in imports)


def test_a_vm_is_shut_down_only_within_the_limit(tmp_path: Path) -> None:
    first, second = Import(tmp_path / "a"), Import(tmp_path / "b")

    def watch() -> None:
        assert second.launcher.began == ["preflight"]

    together((first, second), TransferSlots(machines=asyncio.Semaphore(1)), watch)
    assert "poweroff" in second.launcher.began


def test_a_computer_with_less_room_than_the_disks_use_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Import(tmp_path / "one")
    assert one.run() is Phase.SUCCEEDED
    assert not [words for words in one.warnings if "the copy may not fit" in words]
    usage = shutil._ntuple_diskusage(1 << 40, 0, 1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    other = Import(tmp_path / "other")
    assert other.run() is Phase.SUCCEEDED
    (words,) = [words for words in other.warnings if "the copy may not fit" in words]
    assert "2 GiB" in words
