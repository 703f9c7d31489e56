"""Settings of an installation, which apply to all imports."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from steps.model.document import Document
from steps.model.plan import (
    CpuTopology,
    DiskFormat,
    ImportLimits,
    NamePolicy,
    NetworkPolicy,
    ScratchPlan,
    TargetKind,
)


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
    local_files: bool = False
    """Whether the address of a source may be a file: on a person's own computer, never in a pod."""
