"""The hooks of an import in its status: which have begun, and how they have ended. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from steps.model.hook_verdict import OUTPUT
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


def object_name(uid: str) -> str:
    """The name of the Pod or Workflow of a hook, by the uid of the pod that waits for it.

    A retry in Argo makes another pod. So another attempt has another name, and a controller that was killed
    finds what it has created.
    """
    return f"vmferry-hook-{hashlib.sha256(uid.encode()).hexdigest()[:20]}"


def rows(
    seen: Observed,
    hooks: Sequence[HookPlan],
    before: Sequence[HookStatus] = (),
    objects: Mapping[tuple[str, str], str] = MappingProxyType({}),
) -> tuple[HookStatus, ...]:
    """The hooks that have begun; those that ended well are left out first if there are too many.

    `before` are the rows as they were last written, and `objects` the names of the Pods and Workflows that
    exist, by point and disk.
    """
    hook_names = {hook.point: hook.name for hook in hooks}
    known = {(f"{row.moment}-{row.stage}", row.disk): row.object_name for row in before} | dict(objects)
    begun = [
        _row(seen, leaf, point, hook_names.get(leaf.stage, ""), known.get((leaf.stage, leaf.disk or ""), ""))
        for leaf in seen.leaves
        if (point := point_of(leaf.stage)) and leaf.phase not in _NOT_BEGUN
    ]
    well = [row for row in begun if row.phase == SUCCEEDED]
    surplus = well[: max(0, len(begun) - MOST_ROWS)]
    return tuple(row for row in begun if row not in surplus)[:MOST_ROWS]


def _row(seen: Observed, leaf: Leaf, point: Point, name: str, object_name: str) -> HookStatus:
    words = _words(seen, leaf)
    return HookStatus(
        name=name,
        moment=point.moment,
        stage=point.stage,
        disk=leaf.disk or "",
        phase=_phase(leaf, words),
        message=printable(" ".join(words.split()))[:LONGEST_MESSAGE],
        object_name=object_name,
        started=stamp(leaf.started) if leaf.started else "",
        finished=stamp(leaf.finished) if leaf.finished else "",
    )


def _words(seen: Observed, leaf: Leaf) -> str:
    """The message of a hook. Argo shows none of a pod that has succeeded, so that is an output."""
    return seen.output(leaf.stage, leaf.disk, OUTPUT) or leaf.step_message if leaf.phase.fulfilled else ""


def _phase(leaf: Leaf, words: str) -> str:
    if leaf.phase.failed:
        return FAILED
    if not leaf.phase.succeeded:
        return RUNNING
    return IGNORED if CONTINUED in words else SUCCEEDED
