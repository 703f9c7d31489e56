"""Settings of an installation, which apply to all imports."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, IPvAnyNetwork, model_validator

from steps.model.document import Document
from steps.model.patching import DEFAULT_PATHS
from steps.model.plan import (
    CpuTopology,
    DiskFormat,
    ImportLimits,
    NamePolicy,
    NetworkPolicy,
    PodPlan,
    ProxyPlan,
    ScratchPlan,
    TargetKind,
)


class WantedWay(enum.StrEnum):
    """How disks shall get to their volumes on KubeVirt."""

    PULL = "pull"
    LAND = "land"
    AUTO = "auto"
    """`land` where the disks of the source can be decoded while they arrive, else `pull`."""


class Profile(Document):
    """One profile, as in the chart's value `import.profiles`. It lacks what the installation decides."""

    scratch: ScratchPlan | None = None
    node_selector: Mapping[str, str] = {}
    tolerations: tuple[Mapping[str, Any], ...] = ()
    affinity: Mapping[str, Any] = {}
    network: str = ""
    proxy: ProxyPlan | None = None
    """Instead of all values of `sourceProxy`; one without addresses means no proxy."""

    @property
    def pods(self) -> PodPlan:
        return PodPlan(
            node_selector=self.node_selector,
            tolerations=self.tolerations,
            affinity=self.affinity,
            network=self.network,
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
    disks: WantedWay = WantedWay.PULL
    pull_classes: tuple[str, ...] = ()
    """Storage classes whose volumes cannot be given to another namespace: with `auto` their imports pull, and
    no row may have `as: volume` for them."""
    allow_volumes: bool = False
    """Whether disks of imports into Harvester may land on plain volumes (`as: volume`)."""
    patch_paths: tuple[str, ...] = DEFAULT_PATHS
    """The paths of a VirtualMachine that the patch of an import may change (`steps.model.patching`)."""
    boot_check: bool = False
    """Whether imports may have a boot check, which needs rights on the console and the screen of new VMs."""
    boot_check_networks: tuple[IPvAnyNetwork, ...] | None = ()
    """Networks in which `spec.bootCheck.address` may be; None: any, as on a person's own computer."""
    hooks: bool = False
    """Whether imports may have hooks."""
    kubevirt_namespace: str = ""
    """Where KubeVirt runs; empty: harvester-system or kubevirt, by the target."""
    profiles: Mapping[str, Profile] = {}
    """The profiles that imports and sources may name (`workflows.profiles`)."""
    default_profile: str = ""
    """The profile of those that name none; empty: none."""
    guest: bool = True
    """Whether the installation has the image `guest`, with which its pods look into disks."""
    release: str = ""
    """The namespace of the installation; empty if there is none."""
    virtio_win: str = ""
    """The folder or the ISO image with the drivers for Windows (virtio-win); empty: there is none."""
    mounts_claims: bool = True
    """Whether the stages run as pods, which can mount the claims of the cluster."""
    local_files: bool = False
    """Whether the address of a source may be a file: on a person's own computer, never in a pod."""

    @model_validator(mode="after")
    def _default_exists(self) -> Self:
        if self.default_profile and self.default_profile not in self.profiles:
            known = ", ".join(sorted(self.profiles)) or "none"
            raise ValueError(f"defaultProfile {self.default_profile!r} is not a profile; there are: {known}")
        return self
