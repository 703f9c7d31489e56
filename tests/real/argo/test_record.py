"""Records a VM with two disks at six times; with VMFERRY_RECORD=1 the results replace tests/recorded."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from steps.model.kinds import WORKFLOW, Object
from tests.real.argo.ground import RELEASE, ROOT, Ground, eventually
from tests.real.argo.test_retry import checked, no_room
from tests.real.argo.world import FAILED, RUNNING, Imported, World, a_vm, images_of

pytestmark = [pytest.mark.argo, pytest.mark.alone]
Make = Callable[..., World]
RECORDED: Final = ROOT / "tests" / "recorded"


def test_statuses_at_six_times(ground: Ground, make: Make, tmp_path: Path) -> None:
    made = make([a_vm(tmp_path, "recorded", disks=2)])
    for disk in ("disk-0", "disk-1"):
        made.simulator.faults(pauseAt=65536, disk=disk)
    imported = checked(made, "recorded")
    record("1-waiting-for-approval", imported)
    with no_room(ground, made.namespace, 1) as give_room:  # not before `admit`
        imported.annotate(approve="poweroff")
        held = eventually(lambda: both(made.simulator.held(0)), imported.describe)
        eventually(lambda: len(imported.leaf("export", "Running")) == 2, imported.describe)
        record("2-exporting", imported)
        first, second = sorted(held, key=lambda one: str(one["disk"]))
        made.simulator.release(first["id"])
        eventually(lambda: images_of(made), imported.describe)
        made.simulator.release(second["id"])
        imported.until(FAILED)
        assert imported.summary.reason == "NoSpace"
        eventually(lambda: phase(imported) == "Failed", imported.describe)
        record("3-failed", imported)
        give_room()
    name = imported.workflow["metadata"]["name"] if imported.workflow else ""
    ground.service("stop", "argo-controller")  # so that the Workflow stays as the retry wrote it
    try:
        ground.argo("retry", name)
        record("4-just-retried", imported)
    finally:
        ground.service("start", "argo-controller")
    eventually(lambda: imported.leaf("image", "Running"), imported.describe)
    record("5-retry-running", imported)
    imported.until(RUNNING)
    eventually(lambda: phase(imported) == "Succeeded", imported.describe)
    record("6-succeeded-after-retry", imported)


def both(held: list[Object]) -> list[Object] | None:
    return held if len(held) == 2 else None


def phase(imported: Imported) -> str:
    return str(((imported.workflow or {}).get("status") or {}).get("phase"))


def record(moment: str, imported: Imported) -> None:
    run = imported.status.workflow
    assert run
    workflow: Object | None = imported.ground.cluster.get(WORKFLOW, run.name, RELEASE)
    assert workflow
    if os.environ.get("VMFERRY_RECORD"):
        kept = {key: part for key, part in workflow.items() if key != "spec"}
        text = json.dumps(kept, indent=1, sort_keys=True) + "\n"
        (RECORDED / f"{moment}.json").write_text(text, encoding="utf-8")
