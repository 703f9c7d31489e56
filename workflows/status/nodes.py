"""The status of a run, in the shape of an Argo Workflow's: nodes with types, phases, messages, times.

The embedded runner writes it; `reflect` and the views read it. Nodes have the names that Argo gives them
(argo-workflows workflow/controller: root, `.task`, `.task(0:item)`, attempts `(0)`, `.onExit`), so the same
code reads a status of the embedded runner and one of Argo.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from steps.model.contract import Exit
from workflows.author.dag import ON_EXIT, PARENT
from workflows.stages import CLEANUP, EXIT_STAGES, SOURCE_CHECK, STAGES

Json = dict[str, Any]

MAIN: Final = "main"
"""The container of a stage's program; `unchanged` is an init container before it."""


class Phase(enum.StrEnum):
    """Phases of nodes and workflows (argo-workflows pkg/apis/workflow/v1alpha1 NodePhase)."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    SKIPPED = "Skipped"
    FAILED = "Failed"
    ERROR = "Error"
    OMITTED = "Omitted"

    @property
    def fulfilled(self) -> bool:
        return self not in (Phase.PENDING, Phase.RUNNING)

    @property
    def failed(self) -> bool:
        return self in (Phase.FAILED, Phase.ERROR)

    @property
    def succeeded(self) -> bool:
        return self in (Phase.SUCCEEDED, Phase.SKIPPED)


GROUPS: Final = frozenset(PARENT)
"""Tasks that contain stages. A group that Argo omits has a node of the type Skipped, like a stage."""
_CONTAINERS: Final = (f"{MAIN}: ", f"{SOURCE_CHECK}: ")
_CHECK_FAILED: Final = re.compile(rf"{SOURCE_CHECK}: \w+ \(exit code (\d{{1,3}})\)")
"""Argo's message about the failed init container. It reports an exit code of `main` only (operator.go,
getExitCode), but puts the code of any container into the message (inferFailedReason)."""
_ROWS: Final = {stage.name: row for row, stage in enumerate(STAGES)}


def node_id(workflow: str, name: str) -> str:
    """Argo's node id: the workflow's name for the root, else `NAME-<FNV-1a 32 of the node's name>`.

    argo-workflows pkg/apis/workflow/v1alpha1 `Workflow.NodeID`.
    """
    if name == workflow:
        return name
    digest = 0x811C9DC5
    for byte in name.encode():
        digest = ((digest ^ byte) * 0x01000193) & 0xFFFFFFFF
    return f"{workflow}-{digest}"


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One stage of the VM or of a disk, with the state of its last attempt. `done` and `total` are bytes."""

    stage: str
    disk: str | None
    phase: Phase
    attempts: int
    message: str
    exit_code: int | None
    done: int
    total: int
    started: datetime | None
    finished: datetime | None

    @property
    def title(self) -> str:
        return f"{self.stage} {self.disk}" if self.disk else self.stage

    @property
    def step_message(self) -> str:
        """The step's own message, without the container and exit code that Argo puts in front."""
        if not self.message.startswith(_CONTAINERS):
            return self.message
        _, separator, words = self.message.partition("): ")
        if separator:
            return words.strip()
        return f"it ended with exit code {self.exit_code} and no error message"


def nodes(workflow: Mapping[str, Any]) -> dict[str, Json]:
    """The nodes of a workflow object by id; may be empty."""
    by_id: dict[str, Json] = workflow.get("status", {}).get("nodes") or {}
    return by_id


def leaves(workflow: Mapping[str, Any]) -> tuple[Leaf, ...]:
    """Every stage that has a node, in order of start. All attempts of a stage become one leaf."""
    grouped: dict[tuple[str, str | None], list[Json]] = {}
    for node in nodes(workflow).values():
        if node["type"] in ("Pod", "Suspend", "Skipped") and stage_of(node) not in GROUPS:
            grouped.setdefault((stage_of(node), disk_of(node)), []).append(node)
    merged = (_leaf(stage, disk, attempts) for (stage, disk), attempts in grouped.items())
    return tuple(sorted(merged, key=_order))


def _order(leaf: Leaf) -> tuple[bool, float, int, str]:
    """By start. Argo records whole seconds; stages of the same second are in the order of the stage table."""
    start = leaf.started.timestamp() if leaf.started else 0.0
    return leaf.started is None, start, _ROWS.get(leaf.stage, len(_ROWS)), leaf.disk or ""


def _leaf(stage: str, disk: str | None, attempts: list[Json]) -> Leaf:
    last = max(attempts, key=attempt_of)
    done, total = progress_of(last)
    message = last.get("message", "").strip()
    code = last.get("outputs", {}).get("exitCode")
    if code is None and (check := _CHECK_FAILED.match(message)):
        code = check[1]
    return Leaf(
        stage=stage,
        disk=disk,
        phase=Phase(last.get("phase") or Phase.PENDING),
        attempts=len(attempts),
        message=message,
        exit_code=int(code) if code is not None else None,
        done=done,
        total=total,
        started=parse_time(last.get("startedAt")),
        finished=parse_time(last.get("finishedAt")),
    )


def stage_of(node: Mapping[str, Any]) -> str:
    """The stage a node belongs to: its name's last part, without the attempt.

    The exit handler is cleanup; in Workflows of earlier versions it is a stage and not a group.
    """
    last = str(node["name"]).rsplit(".", 1)[-1].split("(", 1)[0]
    return CLEANUP if last == ON_EXIT else last


def disk_of(node: Mapping[str, Any]) -> str | None:
    """The disk of a node; None for stages of the whole VM."""
    for parameter in node.get("inputs", {}).get("parameters", ()):
        if parameter["name"] == "disk":
            return str(parameter["value"])
    return None


def attempt_of(node: Mapping[str, Any]) -> int:
    """The number of an attempt; -1 if the node is not an attempt."""
    _, separator, number = str(node["name"]).rpartition("(")
    number = number.rstrip(")")
    return int(number) if separator and number.isdecimal() else -1


def progress_of(node: Mapping[str, Any]) -> tuple[int, int]:
    """(done, total) of a node; Argo's default is 0/1."""
    done, _, total = str(node.get("progress") or "0/1").partition("/")
    return int(done), int(total)


def parse_time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def root_cause(workflow: Mapping[str, Any]) -> Leaf | None:
    """The stage to blame for a workflow that failed."""
    return blame(leaves(workflow))


def blame(stages: Iterable[Leaf]) -> Leaf | None:
    """The stage that failed first; never one that failed with exit code SIBLING, never the exit handler.

    A stage without an end counts as last: it cannot have caused failures that ended earlier.
    """
    failed = (leaf for leaf in stages if leaf.phase.failed)
    causes = [leaf for leaf in failed if leaf.exit_code != Exit.SIBLING and leaf.stage not in EXIT_STAGES]
    return min(causes, key=ended_order, default=None)


def ended_order(leaf: Leaf) -> tuple[bool, float]:
    """Sorts by end; stages without an end come last."""
    return leaf.finished is None, leaf.finished.timestamp() if leaf.finished else 0.0


def phase_of(workflow: Mapping[str, Any]) -> Phase:
    """The workflow's phase; a workflow that Argo has not seen yet is Pending."""
    return Phase(workflow.get("status", {}).get("phase") or Phase.PENDING)


def running(workflow: Mapping[str, Any]) -> Iterator[Leaf]:
    return (leaf for leaf in leaves(workflow) if leaf.phase is Phase.RUNNING)
