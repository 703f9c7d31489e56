"""Workflows as Argo shows them; each test gives only the nodes that it is about."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from steps.model.machine import Machine
from steps.model.mapping import Shape, shape
from tests.unit.builders import a_disk, a_machine, a_plan, an_import
from workflows.api.conditions import find
from workflows.api.resources import VirtualMachineImport
from workflows.api.status import Condition, ImportStatus
from workflows.status.phase import SUCCEEDED
from workflows.status.reflect import reflect

RUN: Final = "vmi-web-0a1b2c3d-g1"
NOW: Final = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DISKS: Final = ("disk-0", "disk-1")
IMPORT: Final = an_import(virtualMachineName="web01")
RECORDED: Final = {
    path.stem: json.loads(path.read_text())
    for path in sorted((Path(__file__).parents[3] / "recorded").glob("*.json"))
}
WORDS: Final = "storage quota of namespace default is used up: 45Gi asked, 40Gi left; raise the quota"

Json = dict[str, Any]
RELEASE: Final = "onExit.release-source"
"""The release of the source in the exit handler, as `node` names it."""


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def at(seconds: float) -> str:
    return later(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def node(
    stage: str,
    phase: str = "Succeeded",
    disk: str | None = None,
    *,
    kind: str = "Pod",
    attempt: int | None = None,
    end: float = 10,
    **more: Any,
) -> Json:
    """A node with the name that Argo gives it; `end` seconds after NOW, if it has ended."""
    inside = "" if disk is None else f".transfer.disks({disk.rpartition('-')[2]}:{disk})"
    tail = "" if attempt is None else f"({attempt})"
    made: Json = {"name": f"{RUN}{inside}.{stage}{tail}", "type": kind, "phase": phase, "startedAt": at(0)}
    if phase in ("Succeeded", "Failed", "Error"):
        made["finishedAt"] = at(end)
    if disk is not None:
        made["inputs"] = {"parameters": [{"name": "disk", "value": disk}]}
    return {**made, **more}


def exited(left: str = "[]", **more: Any) -> Json:
    """The step of the exit handler, which has ended and reports `left` (JSON)."""
    outputs = {"exitCode": "0", "parameters": [{"name": "left", "value": left}]}
    return node(RELEASE, **{"templateName": "release-source", "outputs": outputs, "end": 20, **more})


def failed(stage: str, code: int | None, words: str = "", disk: str | None = None, **more: Any) -> Json:
    message = f"main: Error (exit code {code}): {words}\n" if code is not None else words
    outputs = {} if code is None else {"outputs": {"exitCode": str(code)}}
    phase = "Error" if code is None else "Failed"
    return node(stage, phase, disk, **{"message": message, **outputs, **more})


def found(disks: tuple[str, ...] = DISKS) -> Json:
    outputs = {"exitCode": "0", "parameters": [{"name": "disks", "value": json.dumps(disks)}]}
    return node("preflight", outputs=outputs)


def upto(stage: str, disks: tuple[str, ...] = DISKS) -> list[Json]:
    """All nodes before a stage, finished."""
    made = [found(disks), node("approve-poweroff", "Skipped", kind="Skipped"), node("poweroff")]
    for one in ("export", "convert", "image", "serve"):
        if one == stage:
            return made
        made += [node(one, disk=disk) for disk in disks]
    return made if stage == "build" else [*made, node("build")]


def workflow(
    *nodes: Json, phase: str = "Running", name: str = RUN, spec: Json | None = None, **status: Any
) -> Json:
    return {
        "metadata": {"name": name, "namespace": "vmferry"},
        "spec": spec or {},
        "status": {"phase": phase, "nodes": {str(number): one for number, one in enumerate(nodes)}, **status},
    }


def reflected(
    *nodes: Json,
    previous: ImportStatus | None = None,
    now: datetime = NOW,
    import_: VirtualMachineImport = IMPORT,
    shape: Shape | None = None,
    machine: Machine | None = None,
    **more: Any,
) -> ImportStatus:
    return reflect(workflow(*nodes, **more), import_, previous, now, shape=shape, machine=machine)


def summary(status: ImportStatus) -> Condition:
    made = find(status.import_conditions, SUCCEEDED)
    assert made is not None
    return made


def a_shape(*sizes: int) -> Shape:
    disks = tuple(a_disk(number, capacity=size) for number, size in enumerate(sizes))
    return shape(a_plan(), a_machine(disks=disks))
