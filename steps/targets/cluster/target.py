"""What all targets in a cluster do in the same way: objects of an import over the API, disks from `serve`.

A target adds how it makes volumes, what it checks before, and how it fetches a disk.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from pathlib import Path

from steps.model.admission import Admission
from steps.model.booting import BootResult
from steps.model.contract import Exit, StepError
from steps.model.kinds import Kind
from steps.model.machine import Disk, DiskId, Machine
from steps.model.mapping import Shape
from steps.model.plan import DiskFormat, Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from steps.targets.checks.facts import ClaimNeed
from steps.targets.cluster.boot.check import Aids, BootCheck
from steps.targets.cluster.completion import NO_WORKFLOW, WorkflowRef
from steps.targets.cluster.halting import halt
from steps.targets.cluster.permission import check_permission
from steps.targets.cluster.published import PublishedImage
from steps.targets.cluster.serving import Serving
from steps.targets.cluster.vm_objects import DiskVolumes, VmObjects
from steps.targets.target import ProgressCallback


class ClusterTarget(abc.ABC):
    """A target in a cluster; a `steps.targets.target.Target`.

    `machine` is needed to admit and to publish, `serving` to publish. `scratch` are the claims that `admit`
    will create for the copies of its disks. `workflow` is the Workflow that runs the step.
    """

    def __init__(
        self,
        plan: Plan,
        cluster: Cluster,
        stop: Stop,
        *,
        serving: Serving | None = None,
        machine: Machine | None = None,
        scratch: Sequence[ClaimNeed] = (),
        volumes: Volumes | None = None,
        workflow: WorkflowRef = NO_WORKFLOW,
    ) -> None:
        self._plan = plan
        self._cluster = cluster
        self._stop = stop
        self._serving = serving
        self._machine = machine
        self._scratch = scratch
        self._volumes = volumes or Volumes()
        self._workflow = workflow
        self._vm_objects = VmObjects(plan, cluster, stop, self._disk_volumes())

    @abc.abstractmethod
    def name_volumes(self, shape: Shape, previous: Volumes | None) -> Volumes:
        """See `Target`."""

    def admit(self, shape: Shape, volumes: Volumes) -> Admission:
        if self._machine is None:
            raise StepError(Exit.INVALID, "the VM to check is not given", remedy="see steps.admit --help")
        check_permission(self._cluster, self._plan)  # before anything that is there is reported
        return self._admission(self._machine, shape, volumes)

    def publish(self, disk: DiskId, scratch: Path, report: ProgressCallback) -> PublishedImage:
        """Let the cluster fetch the disk from its `serve` step; only that step mounts scratch."""
        if self._serving is None or self._machine is None:
            raise StepError(
                Exit.INVALID, "the URL of the served disk is not given", remedy="see steps.image --help"
            )
        check_permission(self._cluster, self._plan)
        return self._fetch(self._machine.disk(disk), self._serving, report)

    def build(self, machine: Machine, shape: Shape) -> Sequence[str]:
        check_permission(self._cluster, self._plan)
        return self._vm_objects.build(shape)

    def start(self, shape: Shape) -> None:
        check_permission(self._cluster, self._plan)
        self._vm_objects.start(shape)

    def leave_off(self, shape: Shape) -> None:
        self._vm_objects.leave_off(shape)

    def wait(self, shape: Shape) -> None:
        self._vm_objects.wait(shape)

    def check(self, shape: Shape, aids: Aids) -> BootResult:
        check_permission(self._cluster, self._plan)
        return BootCheck(self._plan, self._cluster, self._stop, self._vm_objects, aids).run(shape)

    def halt(self) -> Sequence[str]:
        return halt(self._plan, self._cluster, self._stop, self._kinds())

    @abc.abstractmethod
    def _kinds(self) -> Sequence[Kind]:
        """The kinds of the objects that an import makes, in the order of deletion."""

    @abc.abstractmethod
    def _disk_volumes(self) -> DiskVolumes:
        """The volumes of the VM's disks."""

    @abc.abstractmethod
    def _admission(self, machine: Machine, shape: Shape, volumes: Volumes) -> Admission:
        """As `Target.admit`."""

    @abc.abstractmethod
    def _fetch(self, disk: Disk, serving: Serving, report: ProgressCallback) -> PublishedImage:
        """As `Target.publish`."""

    def _served_format(self, url: str) -> DiskFormat:
        """The format in which a disk was served, by its URL; the plan's for a URL of another program."""
        suffix = url.rpartition(".")[2]
        return DiskFormat(suffix) if suffix in set(DiskFormat) else self._plan.target.format
