"""Settings of an installation, which apply to all imports."""

from __future__ import annotations

import enum
from typing import Annotated

from pydantic import Field

from steps.model.document import Document
from steps.model.patching import DEFAULT_PATHS
from steps.model.plan import (
    CpuTopology,
    DiskFormat,
    ImportLimits,
    NamePolicy,
    NetworkPolicy,
    ScratchPlan,
    TargetKind,
)


class WantedWay(enum.StrEnum):
    """How disks shall get to their volumes on KubeVirt."""

    PULL = "pull"
    LAND = "land"
    AUTO = "auto"
    """`land` where the disks of the source can be decoded while they arrive, else `pull`."""


class Settings(Document):
    """Defaults and policies; the chart's values, or the options of the command line."""

    target: TargetKind = TargetKind.DIRECTORY
    format: DiskFormat = DiskFormat.QCOW2
    network_policy: NetworkPolicy = NetworkPolicy.LENIENT
    name_policy: NamePolicy = NamePolicy.NORMALISE
    cpu_topology: CpuTopology = CpuTopology.ONE_SOCKET
    scratch: ScratchPlan = ScratchPlan()
    source_wait_seconds: Annotated[int, Field(ge=0)] = 1800
    """Seconds that each attempt of a step waits for a source that does not answer; 0: not at all."""
    reuse_unstamped: bool = False
    """Whether to reuse an image that has this import's name but no digest (vm-import-controller's images)."""
    limits: ImportLimits = ImportLimits()
    disks: WantedWay = WantedWay.PULL
    pull_classes: tuple[str, ...] = ()
    """Storage classes whose volumes cannot be given to another namespace: with `auto` their imports pull, and
    no row may have `as: volume` for them."""
    allow_volumes: bool = False
    """Whether disks of imports into Harvester may land on plain volumes (`as: volume`)."""
    patch_paths: tuple[str, ...] = DEFAULT_PATHS
    """The paths of a VirtualMachine that the patch of an import may change (`steps.model.patching`)."""
    mounts_claims: bool = True
    """Whether the stages run as pods, which can mount the claims of the cluster."""
    local_files: bool = False
    """Whether the address of a source may be a file: on a person's own computer, never in a pod."""
