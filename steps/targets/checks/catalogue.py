"""Every check that `admit` makes at a target in a cluster: the table of docs/reference/checks.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Check:
    """One check."""

    name: str
    """As findings name it; DISK, CLASS and NETWORK stand for names."""
    refuses: str
    """When it refuses the import."""
    warns: str = ""
    """When it only warns."""
    not_checked: str = ""
    """Why it may not be made."""
    reads: tuple[str, ...] = ()
    """The rights that it needs in the cluster: a verb and a resource."""
    targets: str = "both"


_DENIED: Final = "without the right"
CHECKS: Final = (
    Check(
        "name",
        "a VM of somebody else has the name that the new VM gets, after the naming rules",
        reads=("get virtualmachines.kubevirt.io",),
    ),
    Check(
        "vm",
        "the API server, a webhook or a quota refuses the VM in a server-side dry run",
        not_checked="a webhook supports no dry run",
        reads=("create virtualmachines.kubevirt.io", "patch virtualmachines.kubevirt.io"),
    ),
    Check(
        "memory",
        "",
        warns="Harvester takes memory from the guest for the VM's overhead",
        targets="Harvester",
    ),
    Check(
        "image of DISK",
        "the image of the disk is refused in a dry run",
        not_checked="a webhook supports no dry run",
        reads=("create virtualmachineimages.harvesterhci.io",),
        targets="Harvester",
    ),
    Check(
        "DataVolume of DISK",
        "the DataVolume of the disk is refused in a dry run",
        not_checked="a webhook supports no dry run",
        reads=("create datavolumes.cdi.kubevirt.io",),
        targets="KubeVirt",
    ),
    Check(
        "claim of DISK",
        "the claim of the disk is refused in a dry run",
        not_checked="a webhook supports no dry run",
        reads=("create persistentvolumeclaims",),
    ),
    Check(
        "storage of DISK",
        "the storage class of the disk, or a default class, does not exist",
        reads=("get storageclasses.storage.k8s.io", "list storageclasses.storage.k8s.io"),
    ),
    Check(
        "storage",
        "",
        warns="no StorageProfile states the modes of a class: the VM cannot be migrated live",
        reads=("get storageprofiles.cdi.kubevirt.io",),
    ),
    Check(
        "storage class CLASS",
        "its StorageProfile lists modes, and not those that the request names",
        not_checked="the request names modes, and the StorageProfile lists none or may not be read",
        reads=("get storageprofiles.cdi.kubevirt.io",),
    ),
    Check(
        "capacity of CLASS",
        "the storage has no room for one of the volumes, also for scratch",
        warns="the volumes fit one by one but not together; Longhorn has room for fewer replicas, or less "
        "free than the source uses",
        not_checked=f"the driver reports no capacity; {_DENIED}",
        reads=(
            "list csistoragecapacities.storage.k8s.io",
            "list nodes.longhorn.io",
            "get settings.longhorn.io",
        ),
    ),
    Check(
        "right to hand volumes over",
        "disks land on their volumes, and the chart has not granted the right on PersistentVolumes",
        reads=("get persistentvolumes",),
    ),
    Check(
        "quota",
        "a ResourceQuota of the namespace has no room for all objects of the import together",
        not_checked=f"the quota has scopes; {_DENIED}",
        reads=("list resourcequotas",),
    ),
    Check(
        "MAC addresses",
        "another VM has the MAC address of a NIC in the same network",
        warns="it has the address in another network",
        not_checked=f"{_DENIED}; with the right for one namespace only the VMs there are compared",
        reads=("list virtualmachines.kubevirt.io",),
    ),
    Check(
        "network NETWORK",
        "the NetworkAttachmentDefinition does not exist, is being deleted, or has no valid configuration",
        warns="Harvester reports that it is not ready",
        not_checked=f"it is in another namespace, and Multus may isolate namespaces (KubeVirt); {_DENIED}",
        reads=("get network-attachment-definitions.k8s.cni.cncf.io",),
    ),
    Check(
        "node",
        "no node that takes VMs has as much allocatable CPU and memory as the VM requests",
        warns="the same for a VM that stays off; the VM has more vCPUs than a node has CPUs",
        not_checked=f"no dry run of the VM was accepted (Harvester); {_DENIED}",
        reads=("list nodes",),
    ),
)
