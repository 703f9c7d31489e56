"""The hooks of an import in its status: which have begun, and how they have ended. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from steps.model.plan import HookPlan
from steps.model.printable import printable
from workflows.api.conditions import stamp
from workflows.api.status import HookStatus
from workflows.hooks import CONTINUED, Point, point_of
from workflows.status.nodes import Leaf, Phase
from workflows.status.observed import Observed

RUNNING: Final = "Running"
SUCCEEDED: Final = "Succeeded"
FAILED: Final = "Failed"
IGNORED: Final = "Ignored"
"""The phases of a hook in the status."""
MOST_ROWS: Final = 100
LONGEST_MESSAGE: Final = 500
_NOT_BEGUN: Final = (Phase.SKIPPED, Phase.OMITTED)


def object_name(workflow: str, point: str, disk: str | None, started: datetime | None) -> str:
    """The name of the Pod or Workflow of a hook.

    A retry in Argo resets a node and its start. So another attempt has another name, and a controller that
    was killed finds what it has created.
    """
    when = stamp(started) if started else ""
    digest = hashlib.sha256("\n".join((workflow, point, disk or "", when)).encode()).hexdigest()
    return f"vmferry-hook-{digest[:20]}"


def rows(seen: Observed, hooks: Sequence[HookPlan], *, has_objects: bool = True) -> tuple[HookStatus, ...]:
    """The hooks that have begun; those that ended well are left out first if there are too many.

    `has_objects`: whether they run in a cluster, where each has a Pod or a Workflow.
    """
    names = {hook.point: hook.name for hook in hooks}
    begun = [
        _row(seen, leaf, point, names.get(leaf.stage, ""), has_objects=has_objects)
        for leaf in seen.leaves
        if (point := point_of(leaf.stage)) and leaf.phase not in _NOT_BEGUN
    ]
    well = [row for row in begun if row.phase == SUCCEEDED]
    surplus = well[: max(0, len(begun) - MOST_ROWS)]
    return tuple(row for row in begun if row not in surplus)[:MOST_ROWS]


def _row(seen: Observed, leaf: Leaf, point: Point, name: str, *, has_objects: bool) -> HookStatus:
    return HookStatus(
        name=name,
        moment=point.moment,
        stage=point.stage,
        disk=leaf.disk or "",
        phase=_phase(leaf),
        message=printable(" ".join(leaf.step_message.split()))[:LONGEST_MESSAGE],
        object_name=object_name(seen.name, leaf.stage, leaf.disk, leaf.started) if has_objects else "",
        started=stamp(leaf.started) if leaf.started else "",
        finished=stamp(leaf.finished) if leaf.finished else "",
    )


def _phase(leaf: Leaf) -> str:
    if leaf.phase.failed:
        return FAILED
    if not leaf.phase.succeeded:
        return RUNNING
    return IGNORED if CONTINUED in leaf.message else SUCCEEDED
