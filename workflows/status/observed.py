"""A Workflow as it was found, made safe to compute with: this module trusts nothing in the object.

Others write Argo's objects: fields may be absent, phases new, nodes compressed or kept in a database. What
cannot be read counts as absent, so that computing with the result never fails.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Final

from steps.model.kinds import GROUP
from steps.model.plan import DiskWay
from steps.model.workflow_nodes import nodes_of
from workflows.api.conditions import TIME
from workflows.argo_names import HOOKS, is_boot_checked, way_of
from workflows.hooks import point_of
from workflows.stages import STAGES
from workflows.status.nodes import Json, Leaf, Phase, attempt_of, blame, disk_of, leaves, parse_time, stage_of
from workflows.status.packed import is_packed

PARKED_MARK: Final = f"{GROUP}/parked"
"""Annotation of a Workflow that the controller stopped because `spec.suspend` was set for too long."""
NAME_LIMIT: Final = 1000
"""Nodes with longer names are ignored."""
GENERATION: Final = re.compile(r"-g([0-9]{1,9})(?:-r[0-9]+)?$")
"""The end of a run's name, and of the names of its later Workflows (`workflows.argo_names`)."""
IMAGE: Final = "image"
HAND_OVER: Final = "hand-over"
FIRST_IN_TRANSFER: Final = next(stage.name for stage in STAGES if stage.in_transfer)
_PROGRESS: Final = re.compile(r"([0-9]{1,18})/([0-9]{1,18})")
_EXIT_CODE: Final = re.compile(r"-?[0-9]{1,9}")
_STARTING: Final = ("ContainerCreating", "PodInitializing")
"""Argo's messages about a pod that is about to run; not a wait."""
_STOPPED: Final = ("Stopped with strategy", "workflow shutdown with strategy")


@dataclass(frozen=True)
class Wait:
    """Something that has not started, and what it waits for, by Argo or the scheduler."""

    stage: str
    disk: str | None
    message: str
    lock: bool
    holders: tuple[str, ...] = ()
    """Workflows that have the lock."""


@dataclass(frozen=True)
class Observed:
    """What is known of a Workflow."""

    name: str
    namespace: str
    phase: Phase
    message: str = ""
    stopped: bool = False
    """A stop was requested."""
    paused: bool = False
    parked: bool = False
    """It was stopped because it was suspended for too long (`PARKED_MARK`)."""
    holds_place: bool = False
    """It has a lock that other imports may wait for."""
    unreadable: bool = False
    """Its nodes exist but cannot be read."""
    has_phase: bool = True
    """Argo has given it a phase. After a retry in Argo it has none until Argo reconciles it."""
    last_change: datetime | None = None
    """When it last changed: a write by any client, or a step's start or end."""
    leaves: tuple[Leaf, ...] = ()
    waits: tuple[Wait, ...] = ()
    way: DiskWay = DiskWay.PULL
    """How its disks get to the target, by the name of its template."""
    boot_checked: bool = False
    """Whether it has the stage `check`, by its entrypoint."""
    points: frozenset[str] = frozenset()
    """The points at which the import has hooks, by its parameter `hooks`."""
    error: str = ""
    """Argo's own message about a failed part, such as an unknown limit."""
    outputs: Mapping[tuple[str, str | None], Mapping[str, str]] = field(default_factory=dict)
    """Results of the steps, by stage and disk."""

    @cached_property
    def landed(self) -> frozenset[str]:
        """The disks that are on their scratch volumes in the format in which they will be served."""
        disks = {leaf.disk for leaf in self.leaves if leaf.disk}
        return frozenset(
            disk for disk in disks if self.succeeded("export", disk) and self.succeeded("convert", disk)
        )

    @property
    def in_queue(self) -> bool:
        """Whether it waits for a lock. Argo gives a lock only to the first Workflow in the queue."""
        return any(wait.lock for wait in self.waits)

    @cached_property
    def blamed(self) -> Leaf | None:
        """The step that caused the failure, if any has failed."""
        return blame(self.leaves)

    @cached_property
    def running(self) -> tuple[Leaf, ...]:
        """The steps that run now, in order of start; gates that wait for approval included."""
        return tuple(leaf for leaf in self.leaves if leaf.phase is Phase.RUNNING)

    @cached_property
    def _landing(self) -> frozenset[str]:
        """The disks that `admit` has placed on their volumes. A step may have written anything."""
        rows = json_list(self.output("admit", None, "disks"))
        placed = (row for row in rows if isinstance(row, dict) and row.get("way") == DiskWay.LAND)
        return frozenset(str(row.get("disk")) for row in placed)

    def lands(self, disk: str) -> bool:
        """Whether the disk lands on its volume."""
        return disk in self._landing if self.way is DiskWay.MIXED else self.way is DiskWay.LAND

    def last_stage(self, disk: str) -> str:
        """The stage after which the target has the disk."""
        return HAND_OVER if self.lands(disk) else IMAGE

    def leaf(self, stage: str, disk: str | None = None) -> Leaf | None:
        return next((leaf for leaf in self.leaves if (leaf.stage, leaf.disk) == (stage, disk)), None)

    def succeeded(self, stage: str, disk: str | None = None) -> bool:
        leaf = self.leaf(stage, disk)
        return leaf is not None and leaf.phase.succeeded

    def output(self, stage: str, disk: str | None, name: str) -> str:
        return self.outputs.get((stage, disk), {}).get(name, "")

    @property
    def generation(self) -> int | None:
        """The generation of the import for which it was made, by its name (`workflows.plan.run_name`)."""
        match = GENERATION.search(self.name)
        return int(match[1]) if match else None


def json_list(text: str) -> list[object]:
    """The list in a step's output; empty if it is something else."""
    try:
        listed = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return []
    return listed if isinstance(listed, list) else []


def observe(workflow: object) -> Observed | None:
    """What is known of a Workflow; None if the object is not a Workflow."""
    whole = _mapping(workflow)
    metadata, spec, status = (_mapping(whole.get(part)) for part in ("metadata", "spec", "status"))
    name, message = _text(metadata.get("name")), _text(status.get("message"))
    if not name:
        return None
    raw, unreadable = _nodes(status)
    nodes = {id_: node for id_, node in ((id_, _node(raw_node)) for id_, raw_node in raw.items()) if node}
    return Observed(
        name=name,
        namespace=_text(metadata.get("namespace")),
        phase=_phase(status.get("phase")),
        message=message,
        stopped=bool(_text(spec.get("shutdown"))) or message.startswith(_STOPPED),
        paused=spec.get("suspend") is True,
        parked=PARKED_MARK in _mapping(metadata.get("annotations")),
        # Argo leaves an entry without holders when it releases a lock (workflow_types.go, LockReleased).
        holds_place=any(lock.get("holders") for lock in _locks(status, "holding")),
        unreadable=unreadable,
        way=way_of(_text(_mapping(spec.get("workflowTemplateRef")).get("name"))),
        boot_checked=is_boot_checked(_text(spec.get("entrypoint"))),
        points=_points(spec),
        has_phase=bool(_text(status.get("phase"))),
        last_change=_last_change(metadata, status, nodes),
        leaves=leaves({"status": {"nodes": nodes}}),
        waits=tuple(_waits(nodes, _holders(status))),
        error=message or _error(nodes),
        outputs=_outputs(nodes),
    )


def _points(spec: Json) -> frozenset[str]:
    """The points with hooks, as the controller has written them into the spec."""
    given = _parameters(_mapping(spec.get("arguments")))
    words = next((row["value"] for row in given if row["name"] == HOOKS), "")
    return frozenset(word for word in words.split() if point_of(word) is not None)


def _last_change(metadata: Json, status: Json, nodes: Mapping[str, Json]) -> datetime | None:
    """The latest time in a Workflow. The API server records the last write of each client."""
    fields = metadata.get("managedFields")
    writes = [_mapping(entry).get("time") for entry in fields] if isinstance(fields, list) else []
    own = [metadata.get("creationTimestamp"), status.get("startedAt"), status.get("finishedAt"), *writes]
    of_nodes = [node[key] for node in nodes.values() for key in ("startedAt", "finishedAt")]
    times = [text for text in (*map(_time, own), *of_nodes) if text]
    return parse_time(max(times)) if times else None


def _nodes(status: Json) -> tuple[Json, bool]:
    """The nodes, and whether there are nodes that cannot be read."""
    nodes = nodes_of(status)
    return nodes, not nodes and (is_packed(status) or bool(status.get("offloadNodeStatusVersion")))


def _node(raw: object) -> Json:
    """A node with only the fields that are used, all valid; empty if it is not a node."""
    node = _mapping(raw)
    name, kind = _text(node.get("name")), _text(node.get("type"))
    if not name or not kind or len(name) > NAME_LIMIT:
        return {}
    outputs = _mapping(node.get("outputs"))
    code = outputs.get("exitCode")
    clean: Json = {
        "name": name,
        "type": kind,
        "phase": _phase(node.get("phase")),
        "message": _text(node.get("message")),
        "startedAt": _time(node.get("startedAt")),
        "finishedAt": _time(node.get("finishedAt")),
        "inputs": {"parameters": _parameters(_mapping(node.get("inputs")))},
        "outputs": {"parameters": _parameters(outputs)},
        "progress": _progress(node.get("progress")),
        "waiting": _text(_mapping(node.get("synchronizationStatus")).get("waiting")),
    }
    if isinstance(code, str) and _EXIT_CODE.fullmatch(code):
        clean["outputs"]["exitCode"] = code
    return clean


def _parameters(part: Json) -> list[dict[str, str]]:
    raw = part.get("parameters")
    listed = (_mapping(raw_entry) for raw_entry in raw) if isinstance(raw, list) else ()
    return [
        {"name": name, "value": parameter["value"]}
        for parameter in listed
        if (name := _text(parameter.get("name"))) and isinstance(parameter.get("value"), str)
    ]


def _progress(raw: object) -> str:
    """`done/total` with 0 ≤ done ≤ total and total > 0; more than total counts as total."""
    match = _PROGRESS.fullmatch(raw) if isinstance(raw, str) else None
    done, total = (int(match[1]), int(match[2])) if match else (0, 1)
    return f"{min(done, total)}/{total}" if total else "0/1"


def _time(raw: object) -> str | None:
    try:
        when = datetime.fromisoformat(_text(raw))
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC).strftime(TIME)
    except (ValueError, OverflowError):
        return None


def _phase(raw: object) -> Phase:
    """An unknown phase, as of a later Argo, counts as Pending."""
    return Phase(raw) if isinstance(raw, str) and raw in list(Phase) else Phase.PENDING


def _holders(status: Json) -> dict[str, tuple[str, ...]]:
    """By lock, the Workflows that hold it: holders are `NAMESPACE/WORKFLOW[/NODE]` (workflow/sync)."""
    by_lock: dict[str, tuple[str, ...]] = {}
    for lock in _locks(status, "waiting"):
        holders = lock.get("holders")
        parts = [_text(key).split("/") for key in (holders if isinstance(holders, list) else ())]
        by_lock[_text(lock.get("semaphore"))] = tuple(part[1] for part in parts if len(part) > 1)
    return by_lock


def _locks(status: Json, what: str) -> list[Json]:
    """The locks that the Workflow has (`holding`) or wants (`waiting`)."""
    listed = _mapping(_mapping(status.get("synchronization")).get("semaphore")).get(what)
    return [_mapping(lock) for lock in listed] if isinstance(listed, list) else []


def _waits(nodes: Mapping[str, Json], holders: Mapping[str, tuple[str, ...]]) -> Iterator[Wait]:
    """Nodes that wait with a message: for locks (by Argo), or for a node (by the scheduler).

    A group that waits for its lock again after a retry in Argo is Running (markNodeWaitingForLock in
    argo-workflows workflow/controller/operator.go leaves the phase alone).
    """
    waiting = (node for node in nodes.values() if _is_waiting(node))
    noted = (node for node in waiting if node["message"] and node["message"] not in _STARTING)
    for node in sorted(noted, key=lambda node: str(node["name"])):
        stage = stage_of(node)
        stage = FIRST_IN_TRANSFER if stage == "transfer" else stage
        lock = node["waiting"]
        yield Wait(stage, disk_of(node), node["message"].strip(), bool(lock), holders.get(lock, ()))


def _is_waiting(node: Json) -> bool:
    return node["phase"] is Phase.PENDING or (bool(node["waiting"]) and not node["phase"].fulfilled)


def _error(nodes: Mapping[str, Json]) -> str:
    """The first message of a failed group. A group has no message when only its members failed."""
    groups = (node for node in nodes.values() if node["type"] in ("DAG", "TaskGroup"))
    failed = (node for node in groups if node["phase"] in (Phase.FAILED, Phase.ERROR) and node["message"])
    return next((str(node["message"]) for node in sorted(failed, key=lambda node: str(node["name"]))), "")


def _outputs(nodes: Mapping[str, Json]) -> dict[tuple[str, str | None], dict[str, str]]:
    """Results of each step; those of a later attempt win."""
    by_step: dict[tuple[str, str | None], dict[str, str]] = {}
    for node in sorted(nodes.values(), key=attempt_of):
        values = {parameter["name"]: parameter["value"] for parameter in node["outputs"]["parameters"]}
        if node["type"] in ("Pod", "Retry"):
            by_step.setdefault((stage_of(node), disk_of(node)), {}).update(values)
    return by_step


def _mapping(value: object) -> Json:
    return {str(key): part for key, part in value.items()} if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
