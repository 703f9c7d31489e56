"""A place where machines are built, as a few verbs. A new target: a module here and a line in `connect`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from steps.model.admission import Admission
from steps.model.contract import Exit, StepError
from steps.model.document import Document
from steps.model.machine import DiskId, Machine
from steps.model.mapping import Shape
from steps.model.plan import DiskFormat, Plan, TargetKind
from steps.model.volumes import Volumes
from steps.runtime.stop import Stop

if TYPE_CHECKING:
    from steps.targets.harvester.completed import WorkflowRef
    from steps.targets.harvester.serving import Serving

Report = Callable[[int, int], None]


class Published(Document):
    """A disk that has arrived at the target; sizes in bytes."""

    id: DiskId
    name: str
    """The file or image that holds it."""
    format: DiskFormat
    size: int
    sha256: str


class Target(Protocol):
    """Where a machine is built. Every verb may be called again at any point."""

    def name_volumes(self, shape: Shape, before: Volumes | None) -> Volumes:
        """Choose the names of the VM's volumes; `before` are those that an earlier attempt chose.

        The same call gives the same names, as long as nobody else takes one of them.

        Raises:
            StepError: CONFLICT, when no name is free.
        """

    def admit(self, shape: Shape, volumes: Volumes) -> Admission:
        """Ask whether the target would accept the VM and its disks, and change nothing.

        Raises:
            StepError: with every reason why it would not.
        """

    def publish(self, disk: DiskId, scratch: Path, report: Report) -> Published:
        """Take over the finished disk that lies in `scratch`."""

    def build(self, machine: Machine, shape: Shape) -> Sequence[str]:
        """Make the machine of the published disks; returns what a person should know, a line each."""

    def start(self, shape: Shape) -> None:
        """Start the machine where the target runs machines."""

    def wait(self, shape: Shape) -> None:
        """Return when the machine runs."""


def connect(
    plan: Plan,
    into: Path,
    stop: Stop,
    *,
    serving: Serving | None = None,
    machine: Machine | None = None,
    volumes: Volumes | None = None,
    workflow: WorkflowRef | None = None,
) -> Target:
    """The target the plan names. `into` is the folder of the directory target.

    A target in a cluster is asked about `machine`, and publishes its disks from where they are being served.
    `volumes` are the names that were chosen for its volumes. `workflow` is the Workflow that runs the step,
    None where there is none.

    Raises:
        StepError: UNSUPPORTED when this version does not bring the target.
    """
    if plan.target.kind is TargetKind.DIRECTORY:
        from steps.targets.directory import Directory  # noqa: PLC0415 - an image carries only what it runs

        return Directory(into, stop)
    if plan.target.kind is TargetKind.HARVESTER:
        from steps.runtime import kubeapi  # noqa: PLC0415 - likewise
        from steps.targets.harvester import Harvester  # noqa: PLC0415
        from steps.targets.harvester.completed import NO_WORKFLOW  # noqa: PLC0415

        return Harvester(
            *(plan, kubeapi.connect(stop), stop),
            serving=serving,
            machine=machine,
            volumes=volumes,
            workflow=workflow or NO_WORKFLOW,
        )
    raise StepError(
        Exit.UNSUPPORTED,
        f"no target of kind {plan.target.kind}",
        remedy="this version has: directory, harvester",
    )
