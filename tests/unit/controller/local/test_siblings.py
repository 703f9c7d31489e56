"""`serve` and `image` of a disk in the embedded runner: neither waits in vain for the other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from steps.model.contract import Exit
from steps.model.plan import TargetKind
from tests.unit.controller.local.fakes import HOLD, Import, exit_codes
from tests.unit.controller.local.test_runner import until
from workflows.status.nodes import Phase, root_cause


@pytest.fixture
def remote(tmp_path: Path) -> Import:
    return Import(tmp_path / "remote", target=TargetKind.HARVESTER)


def test_an_import_into_a_cluster_runs_all_its_stages(remote: Import) -> None:
    assert remote.run() is Phase.SUCCEEDED
    assert remote.launcher.left() == ["halt"], "nothing is stopped after a success"
    assert remote.leaf("halt").phase is Phase.SKIPPED
    assert remote.launcher.began[-2:] == ["start", "release-source"]


def test_serve_and_image_of_a_disk_run_in_parallel(remote: Import) -> None:
    async def go() -> None:
        held = exit_codes(remote.disks, TargetKind.HARVESTER, serve_disk_0=[HOLD], image_disk_0=[HOLD])
        task = asyncio.create_task(remote.runner(held).run())
        await until(lambda: {"serve disk-0", "image disk-0"} <= remote.launcher.alive)
        remote.launcher.release()
        assert await task is Phase.SUCCEEDED

    asyncio.run(go())


@pytest.mark.parametrize(("fails", "waits"), [("image", "serve"), ("serve", "image")])
def test_a_stage_that_waits_for_a_failed_sibling_ends_without_blame(
    remote: Import, fails: str, waits: str
) -> None:
    code = Exit.NO_SPACE
    codes: dict[str, list[int]] = {f"{fails}_disk_0": [code], f"{waits}_disk_0": [HOLD]}
    assert remote.run(**codes) is Phase.FAILED
    assert remote.leaf(f"{waits} disk-0").exit_code == Exit.SIBLING
    assert remote.leaf(f"{waits} disk-0").attempts == 1
    assert remote.leaf("image disk-1").phase is Phase.SUCCEEDED
    cause = root_cause(remote.workflow)
    assert cause is not None
    assert (cause.title, cause.exit_code) == (f"{fails} disk-0", code)
    remote.reopen()
    assert remote.run() is Phase.SUCCEEDED
    assert remote.launcher.began[:2] == ["serve disk-0", "image disk-0"]


def test_a_stage_waits_for_a_sibling_that_is_retried(remote: Import) -> None:
    async def go() -> None:
        codes = exit_codes(remote.disks, TargetKind.HARVESTER, image_disk_0=[30, 0], serve_disk_0=[HOLD])
        task = asyncio.create_task(remote.runner(codes).run())
        await until(lambda: remote.launcher.began.count("image disk-0") == 2)
        assert "serve disk-0" in remote.launcher.alive
        remote.launcher.release()
        assert await task is Phase.SUCCEEDED

    asyncio.run(go())


def test_serve_runs_again_for_a_failed_image(remote: Import) -> None:
    remote.run(image_disk_1=[Exit.DENIED], serve_disk_1=[0])
    assert remote.leaf("serve disk-1").phase is Phase.SUCCEEDED
    remote.reopen()
    assert remote.run() is Phase.SUCCEEDED
    assert remote.launcher.began[:2] == ["serve disk-1", "image disk-1"]


def test_the_vm_at_the_target_is_stopped_before_the_source_is_restored(remote: Import) -> None:
    assert remote.run(start=[Exit.INVALID]) is Phase.FAILED
    assert remote.launcher.began[-2:] == ["halt", "release-source"]
    assert remote.launcher.options["halt"] == ("--outcome", "Failed")
    assert remote.launcher.options["release-source"] == ("--outcome", "Failed", "--halt", "Succeeded")


def test_a_failed_stop_does_not_keep_the_source_from_being_released(remote: Import) -> None:
    assert remote.run(start=[Exit.INVALID], halt=[Exit.CONFLICT]) is Phase.FAILED
    assert remote.launcher.options["release-source"] == ("--outcome", "Failed", "--halt", "Failed")
    cause = root_cause(remote.workflow)
    assert cause is not None
    assert cause.stage == "start"


def test_a_retry_runs_the_exit_handler_again(remote: Import) -> None:
    remote.run(start=[Exit.INVALID])
    remote.reopen()
    assert remote.run(start=[Exit.INVALID]) is Phase.FAILED
    assert remote.launcher.began == ["start", "halt", "release-source"]
