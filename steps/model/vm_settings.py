"""What an import asks for about the new VM itself: its placement, its run strategy, its size, a patch.

Part of the request (`steps.model.plan.TargetPlan`). The words are KubeVirt's (kubevirt.io/api core/v1).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from steps.model.document import Document


class RunStrategy(enum.StrEnum):
    """KubeVirt's run strategies that an import can ask for (core/v1 VirtualMachineRunStrategy)."""

    ALWAYS = "Always"
    """It always runs: KubeVirt starts it again whenever it stops."""
    RERUN_ON_FAILURE = "RerunOnFailure"
    """It is started again only after a failure."""
    ONCE = "Once"
    """It is started once and never again."""
    MANUAL = "Manual"
    """Only a person starts and stops it."""


class EvictionStrategy(enum.StrEnum):
    """What happens to a running VM when its node is drained (core/v1 EvictionStrategy)."""

    NONE = "None"
    LIVE_MIGRATE = "LiveMigrate"
    LIVE_MIGRATE_IF_POSSIBLE = "LiveMigrateIfPossible"
    EXTERNAL = "External"


class PowerState(enum.StrEnum):
    """The power state of the new VM after the import."""

    ON = "on"
    OFF = "off"
    AS_SOURCE = "asSource"
    """The state of the VM at its source when the import began."""


class TagLabel(Document):
    """A rule: the value of a tag of the VM at its source becomes the value of a label of the new VM."""

    tag: str
    """The name of the tag's category, of a custom attribute, of metadata, or of a label at the source."""
    label: str
    """The key of the label."""


class Matcher(Document):
    """An instancetype or a preference of KubeVirt: its kind and name."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class VmSettings(Document):
    """What an import asks for about the new VM. The defaults change nothing."""

    tag_labels: tuple[TagLabel, ...] = ()
    instancetype: Matcher | None = None
    """It gives the VM its CPU and memory, which the manifest then does not have."""
    preference: Matcher | None = None
    run_strategy: RunStrategy | None = None
    """Of the VM when it is handed over. None: RerunOnFailure if it is started, else Halted."""
    eviction_strategy: EvictionStrategy | None = None
    node_selector: Mapping[str, str] = {}
    affinity: Mapping[str, Any] = {}
    """As in a pod (k8s.io/api core/v1 Affinity)."""
    tolerations: tuple[Mapping[str, Any], ...] = ()
    """As in a pod (core/v1 Toleration)."""
    as_source: bool = False
    """Whether the VM is started only if it ran at its source when the import began."""
    ran_before: bool = False
    """Whether it is known that it ran then, from an earlier run of the import, which has shut it down."""
    persistent_efi: bool = False
    """Whether the variables of the EFI firmware outlive a stop of the VM."""
    patch: Mapping[str, Any] = {}
    """A merge patch (RFC 7386) over the finished manifest; `steps.model.patching` checks it."""
    patch_paths: tuple[str, ...] = ()
    """The paths that the patch may change, as the installation allows them."""
