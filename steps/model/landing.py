"""Where a disk lands in a cluster: a row of `disks.json`, from which Argo makes the pods of a disk. Pure."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field

from steps.model.document import Document
from steps.model.machine import DiskId

BLOCK = "Block"


class LandingDisk(Document):
    """The claim of a disk and how a pod mounts it. All values are texts: Argo puts them into a template."""

    disk: DiskId
    claim: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,250}[a-z0-9])?$")]
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
