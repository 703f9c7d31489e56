"""Facts about a target cluster, and what an import needs there. Plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from steps.model.kinds import Object
from steps.model.mapping import Shape
from steps.model.plan import Plan


@dataclass(frozen=True)
class Unknown:
    """A fact that could not be read."""

    why: str
    """A part of a sentence: no right, no such API, the driver reports nothing."""


@dataclass(frozen=True)
class UsedAddress:
    """A NIC of another VM with a MAC address of this import."""

    mac: str
    """In lower case."""
    network: str
    """NAMESPACE/NAME of its NetworkAttachmentDefinition; empty for the pod network."""
    is_behind_nat: bool
    """Whether only its own node sees the address (KubeVirt's binding `masquerade`)."""
    vm_namespace: str
    vm_name: str


@dataclass(frozen=True)
class Addresses:
    """The NICs of other VMs with MAC addresses of this import."""

    used: tuple[UsedAddress, ...] = ()
    unread: str = ""
    """Why only the VMs of the target namespace are known; empty if those of all namespaces are."""


@dataclass(frozen=True)
class Network:
    """A NetworkAttachmentDefinition."""

    config: str = ""
    """The CNI configuration, JSON; empty if it is a file of the nodes."""
    is_ready: bool = True
    """False if Harvester says that it cannot be used."""
    is_deleted: bool = False
    """Whether it is being deleted."""


@dataclass(frozen=True)
class Modes:
    """Modes of a volume that a storage class can provide."""

    access_mode: str
    volume_mode: str


@dataclass(frozen=True)
class Segment:
    """The free room of a storage class in a part of the cluster (CSIStorageCapacity); bytes."""

    free: int
    largest: int | None = None
    """The most bytes of one volume; None if the driver does not say."""


@dataclass(frozen=True)
class LonghornDisk:
    """A disk of a node of Longhorn that may get new replicas; bytes."""

    node: str
    maximum: int
    available: int
    scheduled: int
    reserved: int
    node_tags: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    is_block: bool = False
    """Whether it is for the data engine v2."""


@dataclass(frozen=True)
class LonghornPool:
    """The disks of Longhorn, and its two settings of that name."""

    disks: tuple[LonghornDisk, ...]
    over_provisioning: Mapping[str, int] = field(default_factory=dict)
    """`storage-over-provisioning-percentage` by data engine."""
    minimal_available: Mapping[str, int] = field(default_factory=dict)
    """`storage-minimal-available-percentage` by data engine."""


@dataclass(frozen=True)
class StorageClass:
    """A storage class that the import uses."""

    provisioner: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    is_expandable: bool = False
    modes: tuple[Modes, ...] | Unknown = Unknown("no StorageProfile was read")
    """All that its StorageProfile lists."""
    room: tuple[Segment, ...] | LonghornPool | Unknown = Unknown("no capacity was read")


@dataclass(frozen=True)
class Taint:
    """A taint that keeps pods away (NoSchedule, NoExecute)."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True)
class Node:
    """A node on which VMs may run."""

    cpus: Decimal
    """Allocatable CPUs."""
    memory: int
    """Allocatable bytes."""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()


@dataclass(frozen=True)
class TargetFacts:
    """What is known about the target."""

    addresses: Addresses | Unknown
    networks: Mapping[str, Network | Unknown | None]
    """By NAMESPACE/NAME, those of the import; None: it does not exist."""
    classes: Mapping[str, StorageClass | Unknown]
    """By name, those of the import."""
    nodes: tuple[Node, ...] | Unknown


@dataclass(frozen=True)
class ClaimNeed:
    """A claim that the import will create."""

    title: str
    """For messages: the id of its disk."""
    storage_class: str
    size: int
    """Bytes."""
    content: int = 0
    """Bytes that the source uses for it, also for zeros; 0 if that is not known."""
    wanted_access_mode: str = ""
    wanted_volume_mode: str = ""
    """Modes that the request names; empty: those of the class."""


@dataclass(frozen=True)
class Needs:
    """What an import needs at its target."""

    plan: Plan
    shape: Shape
    claims: Sequence[ClaimNeed]
    """Without those that exist."""
    vm: Object | None
    """The VM as the cluster would store it; None if that is not known."""

    @property
    def pod(self) -> Mapping[str, Any]:
        """The specification of the VM's instances; empty if it is not known."""
        return self.vm["spec"]["template"]["spec"] if self.vm else {}
