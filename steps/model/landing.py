"""Where a disk lands in a cluster: a row of `disks.json`, from which Argo makes the pods of a disk. Pure."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field

from steps.model.document import Document
from steps.model.machine import DiskId
from steps.model.plan import DiskWay

BLOCK = "Block"
ClaimName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,250}[a-z0-9])?$")]


class LandingDisk(Document):
    """The claim of a disk and how a pod mounts it. All values are texts: Argo puts them into a template."""

    disk: DiskId
    claim: ClaimName
    mounts: Literal["volumeMounts", "volumeDevices"]
    """The field of a container that lists the claim."""
    path: Literal["mountPath", "devicePath"]
    """The field of an entry there that has its path."""
    landed: Literal["true", "false"]
    """Whether the volume was handed over already: then nothing is copied: no pod could mount the claim."""

    @classmethod
    def of(cls, disk: DiskId, claim: str, mode: str, *, landed: bool) -> Self:
        """The row for a claim with the volume mode `mode`."""
        is_block = mode == BLOCK
        return cls(
            disk=disk,
            claim=claim,
            mounts="volumeDevices" if is_block else "volumeMounts",
            path="devicePath" if is_block else "mountPath",
            landed="true" if landed else "false",
        )


class MixedDisk(LandingDisk):
    """The same for a VM of which some disks land on their volumes, and others on scratch.

    Scratch is mounted in any case. Mounting it once more, under the same name and path, changes nothing.
    """

    way: Literal[DiskWay.PULL, DiskWay.LAND]
    scratch: ClaimName
    """The claim of scratch: it has the whole disk, or the records of the landing."""
    volume: Literal["scratch", "disk"]
    """The volume of the pod that `claim` becomes. It is mounted under a path of the same name."""

    @classmethod
    def on_scratch(cls, disk: DiskId, claim: str) -> Self:
        """The row of a disk that is served from the scratch `claim`."""
        return cls(
            disk=disk,
            claim=claim,
            mounts="volumeMounts",
            path="mountPath",
            landed="false",
            way=DiskWay.PULL,
            scratch=claim,
            volume="scratch",
        )

    @classmethod
    def on_volume(cls, row: LandingDisk, notes: str) -> Self:
        """The row of a disk that lands on its volume; `notes` is the claim with the records."""
        return cls(**row.model_dump(), way=DiskWay.LAND, scratch=notes, volume="disk")
