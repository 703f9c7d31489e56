"""The downtime of an import from its Workflow: when the VM was off, and what each stage took. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from steps.model.kinds import Object
from steps.model.power import POWER, PowerRecord
from steps.model.workflow_nodes import nodes_of, output_of
from workflows.status.nodes import parse_time

POWEROFF: Final = "poweroff"
START: Final = "start"


@dataclass(frozen=True)
class Part:
    """A stage, in seconds since the VM was off: when Argo created its pod, and when that had ended.

    `begun` is negative for a pod that was created before.
    """

    stage: str
    begun: float
    ended: float


@dataclass(frozen=True)
class Downtime:
    """The time from the moment at which the source had the VM off until the VM at the target was ready."""

    seconds: float
    parts: tuple[Part, ...]

    def critical(self) -> Iterator[tuple[str, float]]:
        """The parts of the downtime one after the other, as (name, seconds); their sum is the downtime.

        Time in which no later stage has a pod yet is called `wait for` that stage.
        """
        now = 0.0
        for part in self.parts:
            if part.ended <= now:
                continue
            if part.begun > now:
                yield f"wait for {part.stage}", part.begun - now
                now = part.begun
            yield part.stage, part.ended - now
            now = part.ended


def downtime(workflow: Object) -> Downtime:
    """The downtime of an import that has succeeded.

    Raises:
        ValueError: a stage did not end, or the shutdown was not recorded.
    """
    nodes = list(nodes_of(workflow.get("status") or {}).values())
    off = _off(nodes)
    parts = sorted(_parts(nodes, off), key=lambda part: part.ended)
    if not parts or parts[-1].stage != START:
        raise ValueError(f"{START} is not the last stage that ended")
    return Downtime(parts[-1].ended, tuple(parts))


def _off(nodes: Sequence[Object]) -> datetime:
    for node in nodes:
        if (node.get("templateName"), node.get("phase")) == (POWEROFF, "Succeeded"):
            text = output_of(node, POWER.partition(".")[0])
            moment = PowerRecord.model_validate(json.loads(text)).mark.time if text else ""
            if found := parse_time(moment):
                return found
    raise ValueError(f"{POWEROFF} has recorded no time")


def _parts(nodes: Sequence[Object], off: datetime) -> Iterator[Part]:
    """The pods that ended after the shutdown and before the end of the import."""
    ends = [parse_time(node.get("finishedAt")) for node in nodes if node.get("templateName") == START]
    last = max(end for end in ends if end is not None)
    for node in nodes:
        begun, ended = parse_time(node.get("startedAt")), parse_time(node.get("finishedAt"))
        if node.get("type") == "Pod" and begun and ended and off < ended <= last:
            disk = next(
                (
                    f" {parameter['value']}"
                    for parameter in (node.get("inputs") or {}).get("parameters") or ()
                    if parameter.get("name") == "disk"
                ),
                "",
            )
            stage = f"{node.get('templateName')}{disk}"
            yield Part(stage, (begun - off).total_seconds(), (ended - off).total_seconds())
