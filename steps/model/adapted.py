"""The record of an adaptation: `adapted.json`, next to the first disk, and the result of the stage.

    (no record)   the disks are as they landed; overlays may lie next to them and are thrown away
    committing    the overlays are complete and proven, and are being written into the disks: only forward
    done          the disks are adapted

Until `committing` is on stable storage, no byte of a disk changes. From then on a disk without the rest of
its overlay is unusable, and each attempt commits the overlays again: the result is the same whatever was done
before.
"""

from __future__ import annotations

import enum
from typing import Annotated, Final, Literal

from pydantic import Field

from steps.model.document import Document
from steps.model.guest import Guest
from steps.model.machine import Concern, DiskId
from steps.model.plan import DiskFormat

ADAPTED: Final = "adapted.json"


class Phase(enum.StrEnum):
    """How far an adaptation is."""

    COMMITTING = "committing"
    DONE = "done"


class AdaptedDisk(Document):
    """A disk, with two digests of its file. Sizes in bytes."""

    id: DiskId
    file: str
    format: DiskFormat
    landing: str = ""
    """Which landing it is: a disk that was copied again is another one."""
    landed: str = ""
    """SHA-256 of the file as it landed."""
    handed_over: str = ""
    """SHA-256 of the file as it is handed on; empty until it is known."""
    changed: Annotated[int, Field(ge=0)] = 0
    """Bytes that the adaptation wrote; blocks that it freed do not count."""
    taken_for: str = ""
    """As in `steps.model.scratch.Ready`."""


class Adapted(Document):
    """What was done with a guest."""

    version: Literal["1"] = "1"
    phase: Phase
    changed: bool = False
    """Whether the disks differ from what landed."""
    converted_by: str = ""
    """The version of virt-v2v; empty if it did not convert the guest."""
    done: tuple[str, ...] = ()
    """What was changed, in sentences."""
    warnings: tuple[str, ...] = ()
    """Of virt-v2v."""
    concerns: tuple[Concern, ...] = ()
    disks: tuple[AdaptedDisk, ...] = ()
    guest: Guest | None = Field(default=None, exclude_if=lambda value: value is None)
    """The guest as it is after its adaptation."""
