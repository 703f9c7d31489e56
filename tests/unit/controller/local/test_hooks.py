"""`vmferry run` with hooks: programs of the person, before and after stages."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from controller.local import hooks as local_hooks
from controller.local.hooks import save_all
from controller.local.rundir import RunDir
from steps.model.contract import Exit
from steps.model.plan import HookPlan, Moment, Plan
from steps.runtime.program import PLAN
from tests.unit.controller.local.fakes import Import, exit_codes
from workflows.api.import_hook import ImportHook
from workflows.status.hooks import rows
from workflows.status.nodes import Phase, root_cause
from workflows.status.observed import observe

BEFORE: Final = HookPlan(moment=Moment.BEFORE, stage="poweroff", name="cmdb")
AFTER: Final = HookPlan(moment=Moment.AFTER, stage="poweroff", name="cmdb")
OF_DISKS: Final = HookPlan(moment=Moment.AFTER, stage="export", name="cmdb")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def a_hook(code: str, **spec: Any) -> ImportHook:
    return ImportHook.model_validate(
        {
            "apiVersion": "migration.harvesterhci.io/v1beta1",
            "kind": "ImportHook",
            "metadata": {"name": "cmdb"},
            "spec": {"command": python(code), **spec},
        }
    )


def an_import(folder: Path, hook: ImportHook | None, *where: HookPlan) -> Import:
    one = Import(folder / "one")
    plan = Plan.load(one.rundir.request / PLAN)
    plan.model_copy(update={"hooks": where or (BEFORE,)}).save(one.rundir.request / PLAN)
    save_all(one.rundir, {"cmdb": hook} if hook else {})
    return one


def hook_rows(one: Import) -> list[tuple[str, str, str]]:
    seen = observe(one.workflow)
    assert seen is not None
    plan = Plan.load(one.rundir.request / PLAN)
    return [(row.name, row.phase, row.disk) for row in rows(seen, plan.hooks)]


def run(one: Import, **changed: Sequence[int]) -> Phase:
    return asyncio.run(one.runner(exit_codes(one.disks, **changed)).run())


def continued(one: Import, *stages: str) -> Phase:
    """A retry that runs only these stages."""
    one.reopen()
    return asyncio.run(one.runner({stage: [0] for stage in stages}).run())


def test_it_runs_before_its_stage_with_the_document(tmp_path: Path) -> None:
    kept = tmp_path / "document"
    code = (
        f"import os, shutil; shutil.copy(os.environ['VMFERRY_HOOK_DOCUMENT'], {str(kept)!r}); print('open')"
    )
    one = an_import(tmp_path, a_hook(code))
    assert run(one) is Phase.SUCCEEDED
    document = json.loads(kept.read_text())
    assert (document["hook"], document["stage"], document["machine"]["name"]) == ("cmdb", "poweroff", "web01")
    assert one.leaf("before-poweroff").message == "hook cmdb succeeded: open"
    assert hook_rows(one) == [("cmdb", "Succeeded", "")]


def test_it_gets_no_credentials_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOVC_PASSWORD", "c4nary")
    code = "import os, sys; sys.exit(any('c4nary' in value for value in os.environ.values()))"
    assert run(an_import(tmp_path, a_hook(code))) is Phase.SUCCEEDED


def test_a_veto_before_the_power_off_leaves_the_vm_on(tmp_path: Path) -> None:
    one = an_import(tmp_path, a_hook("print('not today'); raise SystemExit(3)"))
    assert run(one) is Phase.FAILED
    assert "poweroff" not in one.launcher.began
    assert one.launcher.began[-1] == "release-source"
    cause = root_cause(one.workflow)
    assert cause is not None
    assert (cause.title, cause.exit_code) == ("before-poweroff", Exit.UNSUPPORTED)
    assert cause.step_message == "hook cmdb failed: exit code 3: not today; correct it, then retry"
    assert hook_rows(one) == [("cmdb", "Failed", "")]


def test_a_veto_after_a_stage_stops_those_that_follow(tmp_path: Path) -> None:
    one = an_import(tmp_path, a_hook("raise SystemExit(1)"), AFTER)
    assert run(one) is Phase.FAILED
    assert one.leaf("poweroff").phase is Phase.SUCCEEDED
    assert not [name for name in one.launcher.began if name.startswith("export")]


def test_a_retry_runs_the_hook_and_not_its_stage_once_more(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    one = an_import(tmp_path, a_hook(f"import os, sys; sys.exit(not os.path.exists({str(mark)!r}))"), AFTER)
    assert run(one) is Phase.FAILED
    mark.touch()
    left = [name for name in exit_codes(one.disks) if name not in ("preflight", "poweroff")]
    assert continued(one, *left) is Phase.SUCCEEDED
    assert "poweroff" not in one.launcher.began
    assert hook_rows(one) == [("cmdb", "Succeeded", "")]


def test_a_hook_may_fail_without_a_veto(tmp_path: Path) -> None:
    one = an_import(tmp_path, a_hook("raise SystemExit('no CMDB')", onFailure="continue"))
    assert run(one) is Phase.SUCCEEDED
    assert hook_rows(one) == [("cmdb", "Ignored", "")]
    (warning,) = [line for line in one.warnings if "cmdb" in line]
    assert "failed, but the import continues: exit code 1: no CMDB" in warning


def test_it_runs_for_each_disk(tmp_path: Path) -> None:
    one = an_import(tmp_path, a_hook("pass"), OF_DISKS)
    assert run(one) is Phase.SUCCEEDED
    assert sorted(hook_rows(one)) == [("cmdb", "Succeeded", "disk-0"), ("cmdb", "Succeeded", "disk-1")]


def test_a_program_that_takes_too_long_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_hooks, "GRACE_SECONDS", 0.1)
    pid = tmp_path / "pid"
    child = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    code = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)"
    )
    one = an_import(tmp_path, a_hook(code, timeoutSeconds=2))
    assert run(one) is Phase.FAILED
    assert "it did not end within 2 s" in one.leaf("before-poweroff").message
    assert has_ended(int(pid.read_text()))


def has_ended(pid: int) -> bool:
    """Whether a process is gone soon; nobody may have collected it yet."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_a_stop_ends_the_program_and_a_retry_runs_it_again(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    code = (
        "import os, time\n"
        f"if not os.path.exists({str(begun)!r}):\n"
        f"    open({str(begun)!r}, 'w').close()\n"
        "    time.sleep(600)"
    )
    one = an_import(tmp_path, a_hook(code))

    async def stopped() -> Phase:
        runner = one.runner(exit_codes(one.disks))
        running = asyncio.create_task(runner.run())
        while not begun.exists():
            await asyncio.sleep(0.01)
        runner.stop()
        return await running

    assert asyncio.run(stopped()) is Phase.FAILED
    assert "poweroff" not in one.launcher.began
    left = [name for name in exit_codes(one.disks) if name != "preflight"]
    assert continued(one, *left) is Phase.SUCCEEDED


@pytest.mark.parametrize("command", [["/does/not/exist"], [os.devnull]])
def test_a_program_that_cannot_be_started_is_a_veto(tmp_path: Path, command: list[str]) -> None:
    one = an_import(tmp_path, a_hook("", command=command))
    assert run(one) is Phase.FAILED
    assert "cannot run the hook cmdb" in one.leaf("before-poweroff").message


def test_a_hook_that_the_folder_does_not_have_is_a_veto(tmp_path: Path) -> None:
    one = an_import(tmp_path, None)
    assert run(one) is Phase.FAILED
    assert "cmdb.json is missing" in one.leaf("before-poweroff").message


def test_the_folder_keeps_what_a_retry_needs(tmp_path: Path) -> None:
    rundir = RunDir(tmp_path / "one")
    rundir.notes.mkdir(parents=True)
    save_all(rundir, {"cmdb": a_hook("pass", timeoutSeconds=7)})
    kept = local_hooks.load(rundir, "cmdb")
    assert (kept.command, kept.seconds) == (tuple(python("pass")), 7)
