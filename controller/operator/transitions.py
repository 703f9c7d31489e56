"""Which Events a change of an import's status is worth. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from controller.operator.rehearsal import PLANNED
from workflows import watchdog
from workflows.conditions import find, holds
from workflows.outcome import SUCCEEDED
from workflows.reported import Condition, ImportStatus, Stand


class Happening(NamedTuple):
    """What an Event says."""

    reason: str
    message: str
    warning: bool = False


REACHED: Final[dict[str, Happening]] = {
    Stand.VALID: Happening("ImportValid", "The machine was found at its source and can be imported"),
    Stand.SOURCE_READY: Happening(
        "SourceReady", "The machine is next: it is shut down, then its disks are read"
    ),
    Stand.DISKS_EXPORTED: Happening("DisksExported", "Every disk has been read from the source"),
    Stand.IMAGES_SUBMITTED: Happening("DiskImageSubmitted", "Every disk has an image that is being filled"),
    Stand.IMAGE_FAILED: Happening("DiskImageFailed", "An image failed and is tried again", warning=True),
    Stand.IMAGES_READY: Happening("DiskImagesReady", "Every disk is an image"),
    Stand.CREATED: Happening("VirtualMachineCreated", "The machine is built"),
    Stand.RUNNING: Happening("VirtualMachineRunning", "The machine is imported and runs"),
}
"""By importStatus."""
_QUIET: Final = ("Announced", "Running", "Waiting", *watchdog.Kind)
"""Reasons that come and go with every step, and those that a condition of their own tells."""


def happenings(before: ImportStatus, after: ImportStatus) -> Iterator[Happening]:
    """The Events between two statuses of one import, in order."""
    if after.workflow and (before.workflow is None or before.workflow.name != after.workflow.name):
        yield Happening(
            "WorkflowNamed", f"Workflow {after.workflow.namespace}/{after.workflow.name} carries it out"
        )
    if after.import_status != before.import_status and after.import_status in REACHED:
        yield REACHED[after.import_status]
    yield from _condition(before, after, SUCCEEDED)
    yield from _condition(before, after, PLANNED)
    for kind in watchdog.Kind:
        yield from _alarm(before, after, kind)


def _condition(before: ImportStatus, after: ImportStatus, kind: str) -> Iterator[Happening]:
    old, new = find(before.import_conditions, kind), find(after.import_conditions, kind)
    if new is None or _key(old) == _key(new) or new.reason in _QUIET:
        return
    if kind == SUCCEEDED and new.status == "True" and after.import_status == Stand.RUNNING:
        return  # said by what was reached
    yield Happening(new.reason, new.message, warning=new.status == "False" or new.reason == "Retrying")


def _alarm(before: ImportStatus, after: ImportStatus, kind: str) -> Iterator[Happening]:
    new = find(after.import_conditions, kind)
    if new is not None and holds(after.import_conditions, kind) and not holds(before.import_conditions, kind):
        yield Happening(new.reason, new.message, warning=True)


def _key(condition: Condition | None) -> tuple[str, str]:
    return (condition.status, condition.reason) if condition else ("", "")
