"""The controller in the cluster follows the statuses that Argo recorded: it makes the Workflow and reads its
status.

Argo itself is stopped, so the test also runs without Argo: the import follows any writer of the status.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from steps.model.kinds import IMPORT, WORKFLOW, Object
from tests.real import scenario
from tests.real.cluster.lab import ROOT, Lab
from tests.real.cluster.world import World
from tests.real.standins.process import eventually
from workflows.api.status import ImportStatus

RECORDED: Final = {
    path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "tests" / "recorded").glob("*.json"))
}
STATUSES: Final = {
    "1-waiting-for-approval": "virtualMachineImportValid",
    "2-exporting": "sourceReady",
    "3-failed": "VMMigrationFailed",
    "4-just-retried": "disksExported",
    "5-retry-running": "diskImageSubmitted",
    "6-succeeded-after-retry": "virtualMachineRunning",
}
SERVICE: Final = Path(ROOT / "tests" / "real" / "lab" / "service")


def test_import_follows_the_recorded_statuses(world: World) -> None:
    lab = world.lab
    with without_argo(lab):
        lab.scale_controller(1)
        world.submit(approvals=["poweroff"])
        name = eventually(lambda: announced(world), "the Workflow to be announced", 90)
        eventually(lambda: lab.get(WORKFLOW, name), "the Workflow to be made", 30)
        for moment, wanted_status in STATUSES.items():
            write(lab, name, RECORDED[moment])
            eventually(partial(has_status, world, wanted_status), f"{moment}: {wanted_status}", 60)
        assert status(world).percent == 100
        assert {row.id for row in status(world).disk_import_status} == {"disk-0", "disk-1"}
        reasons = lab.kubectl(
            "get", "events", "-n", world.namespace, "-o", "jsonpath={.items[*].reason}"
        ).split()
        assert {"WaitingForApproval", "NoSpace", "VirtualMachineRunning"} <= set(reasons)
        lab.cluster.delete(IMPORT, scenario.VM, world.namespace)
        eventually(lambda: lab.get(WORKFLOW, name) is None, "the Workflow to go with its import", 60)


def announced(world: World) -> str | None:
    run = status(world).workflow
    return run.name if run else None


def has_status(world: World, wanted: str) -> bool:
    return status(world).import_status == wanted


def status(world: World) -> ImportStatus:
    return ImportStatus.read(world.import_().get("status"))


def write(lab: Lab, name: str, recorded: Object) -> None:
    """Write the recorded status as this Workflow's, with its nodes named after it."""
    was = recorded["metadata"]["name"]
    text = json.dumps(recorded["status"]).replace(was, name)
    wanted: dict[str, Any] = json.loads(text)
    there = (lab.get(WORKFLOW, name) or {}).get("status") or {}
    gone = {id_: None for id_ in there.get("nodes") or {} if id_ not in wanted["nodes"]}
    change = dict.fromkeys(there) | wanted | {"nodes": gone | wanted["nodes"]}
    lab.cluster.patch(WORKFLOW, name, {"status": change}, lab.release)


@contextmanager
def without_argo(lab: Lab) -> Iterator[None]:
    """Argo's controller, if there is one, is stopped for the duration of a test."""
    if not lab.argo_folder:
        yield
        return
    subprocess.run([SERVICE, "stop", "argo-controller"], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run([SERVICE, "start", "argo-controller"], check=True, capture_output=True)
