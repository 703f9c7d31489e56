"""KubeVirt without Harvester as target: a DataVolume per disk, and a VirtualMachine over their claims.

docs/reference/kubevirt.md describes what is made, marked and let go. This package is the cluster side of
`admit`, `image`, `build`, `start` and `halt` (identity `target`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from steps.model.admission import Admission
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, DATA_VOLUME, MACHINE
from steps.model.machine import DiskId, Machine
from steps.model.mapping import Shape
from steps.model.plan import Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from steps.targets.cluster import markers
from steps.targets.cluster.completion import NO_WORKFLOW, WorkflowRef
from steps.targets.cluster.halting import halt
from steps.targets.cluster.ownership import annotations_of
from steps.targets.cluster.published import Integrity, PublishedImage
from steps.targets.cluster.serving import Serving
from steps.targets.cluster.vm_objects import VmObjects
from steps.targets.kubevirt.admission_check import AdmissionCheck
from steps.targets.kubevirt.disk_volumes import DataVolumes
from steps.targets.kubevirt.publishing import VolumePublication
from steps.targets.kubevirt.volume_names import choose_names
from steps.targets.target import ProgressCallback

KINDS: Final = (MACHINE, DATA_VOLUME, CLAIM)
"""What an import makes, in the order in which it is deleted. CDI deletes a claim with its DataVolume."""


class KubeVirtTarget:
    """The target `kubevirt`.

    `machine` is needed to admit and to publish, `serving` to publish. `workflow` is the Workflow that runs
    the step.
    """

    def __init__(
        self,
        plan: Plan,
        cluster: Cluster,
        stop: Stop,
        *,
        serving: Serving | None = None,
        machine: Machine | None = None,
        volumes: Volumes | None = None,
        workflow: WorkflowRef = NO_WORKFLOW,
    ) -> None:
        self._plan = plan
        self._cluster = cluster
        self._stop = stop
        self._serving = serving
        self._machine = machine
        self._volumes = volumes or Volumes()
        self._workflow = workflow
        self._vm_objects = VmObjects(plan, cluster, stop, DataVolumes(plan, cluster))

    def name_volumes(self, shape: Shape, previous: Volumes | None) -> Volumes:
        return choose_names(self._cluster, self._plan, shape, previous)

    def admit(self, shape: Shape, volumes: Volumes) -> Admission:
        if self._machine is None:
            raise StepError(Exit.INVALID, "the VM to check is not given", remedy="see steps.admit --help")
        return AdmissionCheck(self._plan, self._machine, self._cluster, volumes).run(shape)

    def publish(self, disk: DiskId, scratch: Path, report: ProgressCallback) -> PublishedImage:
        """Let CDI fetch the disk from its `serve` step; only that step mounts scratch."""
        if self._serving is None or self._machine is None:
            raise StepError(
                Exit.INVALID, "the URL of the served disk is not given", remedy="see steps.image --help"
            )
        publication = VolumePublication(
            self._plan,
            self._machine.disk(disk),
            self._cluster,
            self._serving,
            self._stop,
            volumes=self._volumes,
            workflow=self._workflow,
        )
        data_volume = publication.run(report)
        annotations, name = annotations_of(data_volume), str(data_volume["metadata"]["name"])
        return PublishedImage(
            id=disk,
            name=name,
            format=self._plan.target.format,
            size=int(data_volume["spec"]["storage"]["resources"]["requests"]["storage"]),
            sha256="",
            sha512=annotations.get(markers.DIGEST, ""),
            integrity=Integrity(annotations.get(markers.INTEGRITY, Integrity.NOT_COMPARED)),
            volume=name,
        )

    def build(self, machine: Machine, shape: Shape) -> Sequence[str]:
        return self._vm_objects.build(shape)

    def start(self, shape: Shape) -> None:
        self._vm_objects.start(shape)

    def wait(self, shape: Shape) -> None:
        self._vm_objects.wait(shape)

    def halt(self) -> Sequence[str]:
        return halt(self._plan, self._cluster, self._stop, KINDS)
