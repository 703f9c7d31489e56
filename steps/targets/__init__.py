"""Places where VMs are built. A new target: a module like `target.Target`, and a line in `connect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from steps.model.contract import Exit, StepError
from steps.model.kinds import Kind
from steps.model.machine import Machine
from steps.model.plan import Plan, TargetKind
from steps.model.volumes import Volumes
from steps.runtime.stop import Stop
from steps.targets.target import Target

if TYPE_CHECKING:
    from steps.runtime.cluster import Cluster
    from steps.targets.checks.facts import ClaimNeed
    from steps.targets.cluster.completion import DiskObjects, WorkflowRef
    from steps.targets.cluster.serving import Serving
    from steps.targets.cluster.target import ClusterTarget
    from steps.targets.landing.storage import StorageOf


def connect(
    plan: Plan,
    into: Path,
    stop: Stop,
    *,
    serving: Serving | None = None,
    machine: Machine | None = None,
    scratch: Sequence[ClaimNeed] = (),
    volumes: Volumes | None = None,
    workflow: WorkflowRef | None = None,
) -> Target:
    """The target in the plan. `into` is the folder of the directory target.

    A target in a cluster admits `machine`, and publishes its disks from the URLs where they are served.
    `scratch` are the claims for its disks that do not exist yet, in addition to its volumes.
    `volumes` are the names that were chosen for its volumes. `workflow` is the Workflow that runs the step,
    or None.

    Raises:
        StepError: UNSUPPORTED if this version does not have the target.
    """
    if plan.target.kind is TargetKind.DIRECTORY:
        from steps.targets.directory import DirectoryTarget  # noqa: PLC0415 - an image carries only what it runs

        return DirectoryTarget(into, stop)
    from steps.runtime import kubeapi  # noqa: PLC0415 - likewise

    return in_cluster(
        plan,
        kubeapi.connect(stop),
        stop,
        serving=serving,
        machine=machine,
        scratch=scratch,
        volumes=volumes,
        workflow=workflow,
    )


def in_cluster(
    plan: Plan,
    cluster: Cluster,
    stop: Stop,
    *,
    serving: Serving | None = None,
    machine: Machine | None = None,
    scratch: Sequence[ClaimNeed] = (),
    volumes: Volumes | None = None,
    workflow: WorkflowRef | None = None,
) -> ClusterTarget:
    """The target in a cluster. The parameters are those of `connect`.

    Raises:
        StepError: UNSUPPORTED if this version does not have the target.
    """
    from steps.targets.cluster.completion import NO_WORKFLOW  # noqa: PLC0415 - as above
    from steps.targets.harvester import HarvesterTarget  # noqa: PLC0415
    from steps.targets.kubevirt import KubeVirtTarget  # noqa: PLC0415

    targets: dict[TargetKind, type[ClusterTarget]] = {
        TargetKind.HARVESTER: HarvesterTarget,
        TargetKind.KUBEVIRT: KubeVirtTarget,
    }
    if plan.target.kind not in targets:
        raise StepError(
            Exit.UNSUPPORTED,
            f"there is no target of kind {plan.target.kind}",
            remedy=f"this version has: {', '.join(TargetKind)}",
        )
    return targets[plan.target.kind](
        plan,
        cluster,
        stop,
        serving=serving,
        machine=machine,
        scratch=scratch,
        volumes=volumes,
        workflow=workflow or NO_WORKFLOW,
    )


def disk_objects(plan: Plan) -> DiskObjects:
    """What a disk becomes at the plan's target, which is in a cluster."""
    from steps.targets.harvester.image_state import IMAGES  # noqa: PLC0415 - as above
    from steps.targets.kubevirt.volume_state import DATA_VOLUMES  # noqa: PLC0415

    return DATA_VOLUMES if plan.target.kind is TargetKind.KUBEVIRT else IMAGES


def landing_storage(plan: Plan) -> StorageOf:
    """How the plan's target, which is in a cluster, stores a disk that lands on its volume."""
    from steps.targets.harvester.plain_volumes import plain_storage  # noqa: PLC0415 - as above
    from steps.targets.landing.storage import storage_of  # noqa: PLC0415

    return storage_of if plan.target.kind is TargetKind.KUBEVIRT else plain_storage


def object_kinds(plan: Plan) -> Sequence[Kind]:
    """The kinds of the objects that an import makes at its target in a cluster, in the order of deletion."""
    from steps.targets import harvester, kubevirt  # noqa: PLC0415 - as above

    return kubevirt.kinds_of(plan) if plan.target.kind is TargetKind.KUBEVIRT else harvester.KINDS
