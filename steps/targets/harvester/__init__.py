"""Harvester as target: a VirtualMachineImage per disk, a claim per image, a VirtualMachine over the claims.

docs/reference/harvester.md describes what is made, marked and let go. This package is the cluster side of
`admit`, `image`, `build`, `start` and `halt` (identity `target`), of `serve` (`sibling`), and of
`delete-scratch` (`run_objects`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from steps.model.admission import Admission
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, IMAGE, MACHINE, Object
from steps.model.machine import DiskId, Machine
from steps.model.mapping import Shape
from steps.model.plan import DiskFormat, Plan
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
from steps.targets.harvester.admission_check import AdmissionCheck
from steps.targets.harvester.image_state import image_state
from steps.targets.harvester.image_volumes import ImageVolumes
from steps.targets.harvester.publishing import ImagePublication
from steps.targets.harvester.storage import Backend
from steps.targets.harvester.volume_names import choose_names
from steps.targets.target import ProgressCallback

KINDS: Final = (MACHINE, CLAIM, IMAGE)
"""What an import makes, in the order in which it is deleted: Harvester keeps an image that a volume uses."""


class HarvesterTarget:
    """The target `harvester`.

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
        self._volumes = volumes or Volumes()
        self._cluster = cluster
        self._stop = stop
        self._serving = serving
        self._machine = machine
        self._vm_objects = VmObjects(plan, cluster, stop, ImageVolumes(plan, cluster, self._volumes))
        self._workflow = workflow

    def name_volumes(self, shape: Shape, previous: Volumes | None) -> Volumes:
        return choose_names(self._cluster, self._plan, shape, previous)

    def admit(self, shape: Shape, volumes: Volumes) -> Admission:
        if self._machine is None:
            raise StepError(Exit.INVALID, "the VM to check is not given", remedy="see steps.admit --help")
        return AdmissionCheck(self._plan, self._machine, self._cluster, volumes).run(shape)

    def publish(self, disk: DiskId, scratch: Path, report: ProgressCallback) -> PublishedImage:
        """Let Harvester fetch the disk from its `serve` step; only that step mounts scratch."""
        if self._serving is None or self._machine is None:
            raise StepError(
                Exit.INVALID, "the URL of the served disk is not given", remedy="see steps.image --help"
            )
        publishing = ImagePublication(
            self._plan,
            self._machine.disk(disk),
            self._cluster,
            self._serving,
            self._stop,
            volumes=self._volumes,
            workflow=self._workflow,
        )
        image = publishing.run(report)
        annotations = annotations_of(image)
        return PublishedImage(
            id=disk,
            name=image["metadata"]["name"],
            format=_served_format(image, self._plan.target.format),
            size=image_state(image).size,
            sha256="",
            sha512=annotations.get(markers.DIGEST, ""),
            integrity=Integrity(annotations.get(markers.INTEGRITY, Integrity.NOT_COMPARED)),
            volume=self._volume_name(disk, image),
        )

    def _volume_name(self, disk: DiskId, image: Object) -> str:
        name = self._volumes.names.get(disk, "")
        return str(image["metadata"]["name"]) if name and image["spec"]["backend"] == Backend.CDI else name

    def build(self, machine: Machine, shape: Shape) -> Sequence[str]:
        return self._vm_objects.build(shape)

    def start(self, shape: Shape) -> None:
        self._vm_objects.start(shape)

    def wait(self, shape: Shape) -> None:
        self._vm_objects.wait(shape)

    def halt(self) -> Sequence[str]:
        return halt(self._plan, self._cluster, self._stop, KINDS)


def _served_format(image: Object, wanted: DiskFormat) -> DiskFormat:
    """The format in which the image was served, by its URL; `wanted` for a URL of another program."""
    suffix = str(image["spec"].get("url", "")).rpartition(".")[2]
    return DiskFormat(suffix) if suffix in set(DiskFormat) else wanted
