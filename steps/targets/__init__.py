"""Places where VMs are built. A new target: a module like `target.Target`, and a line in `connect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.plan import Plan, TargetKind
from steps.model.volumes import Volumes
from steps.runtime.stop import Stop
from steps.targets.target import Target

if TYPE_CHECKING:
    from steps.targets.harvester.completion import WorkflowRef
    from steps.targets.harvester.serving import Serving


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
    """The target in the plan. `into` is the folder of the directory target.

    A target in a cluster admits `machine`, and publishes its disks from the URLs where they are served.
    `volumes` are the names that were chosen for its volumes. `workflow` is the Workflow that runs the step,
    or None.

    Raises:
        StepError: UNSUPPORTED if this version does not have the target.
    """
    if plan.target.kind is TargetKind.DIRECTORY:
        from steps.targets.directory import DirectoryTarget  # noqa: PLC0415 - an image carries only what it runs

        return DirectoryTarget(into, stop)
    if plan.target.kind is TargetKind.HARVESTER:
        from steps.runtime import kubeapi  # noqa: PLC0415 - likewise
        from steps.targets.harvester import HarvesterTarget  # noqa: PLC0415
        from steps.targets.harvester.completion import NO_WORKFLOW  # noqa: PLC0415

        return HarvesterTarget(
            plan,
            kubeapi.connect(stop),
            stop,
            serving=serving,
            machine=machine,
            volumes=volumes,
            workflow=workflow or NO_WORKFLOW,
        )
    raise StepError(
        Exit.UNSUPPORTED,
        f"there is no target of kind {plan.target.kind}",
        remedy="this version has: directory, harvester",
    )
