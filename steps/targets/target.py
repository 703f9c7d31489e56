"""What every target can do: the protocol that the steps `admit`, `image`, `build` and `start` use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from steps.model.admission import Admission
from steps.model.document import Document
from steps.model.machine import DiskId, Machine
from steps.model.mapping import Shape
from steps.model.plan import DiskFormat
from steps.model.volumes import Volumes

ProgressCallback = Callable[[int, int], None]


class Published(Document):
    """A disk at the target; sizes in bytes."""

    id: DiskId
    name: str
    """The file or image that holds it."""
    format: DiskFormat
    size: int
    sha256: str


class Target(Protocol):
    """Where a VM is built. Every method may be called again at any point."""

    def name_volumes(self, shape: Shape, previous: Volumes | None) -> Volumes:
        """Choose the names of the VM's volumes; `previous` are those of an earlier attempt.

        The same call returns the same names, as long as nobody else takes one of them.

        Raises:
            StepError: CONFLICT, if no name is free.
        """

    def admit(self, shape: Shape, volumes: Volumes) -> Admission:
        """Check whether the target would accept the VM and its disks. Changes nothing.

        Raises:
            StepError: with every reason why it would not accept them.
        """

    def publish(self, disk: DiskId, scratch: Path, report: ProgressCallback) -> Published:
        """Publish the finished disk in `scratch`."""

    def build(self, machine: Machine, shape: Shape) -> Sequence[str]:
        """Create the VM from its disks, which may still land on their volumes.

        Returns messages for the user, one line each.
        """

    def start(self, shape: Shape) -> None:
        """Start the VM, if the target runs VMs."""

    def leave_off(self, shape: Shape) -> None:
        """Give the VM to its owner without a start, if the target runs VMs."""

    def wait(self, shape: Shape) -> None:
        """Return when the VM runs."""

    def halt(self) -> Sequence[str]:
        """Stop the VM and mark what was made stale; returns what remains, one object each.

        Raises:
            StepError: BUSY, if the VM does not stop in time.
        """
