"""The guest of tests/real/guest as a VM of an engine stand-in, for the demo and for whole imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tests.real import scenario
from tests.real.ovirt.inventory import Cluster, Disk, Domain, Inventory, Network, Nic, Profile, Vm

NETWORKS: Final = ("ovirtmgmt/ovirtmgmt", "prod/web")
"""The networks of its NICs, as `NETWORK/PROFILE`."""
DOMAIN: Final = "fast"
"""The storage domain of its disks."""
CLUSTER: Final = "Default"


def inventory(data: Path, *, system: Path = scenario.GUEST, **vm: Any) -> Inventory:
    """An engine with the guest: a running VM with UEFI, two disks and two NICs.

    `data` and `system` are raw or qcow2 files; `vm` replaces fields of the VM, also `name`.
    """
    disks = [
        Disk(file=system, alias="system", bootable=True, interface="virtio", logical_name="/dev/vda"),
        Disk(file=data, alias="data", interface="virtio_scsi", logical_name="/dev/sda"),
    ]
    nics = [
        Nic(network=network, mac=mac, interface=interface)
        for network, mac, interface in zip(NETWORKS, scenario.MACS, ("virtio", "e1000e"), strict=True)
    ]
    machine: dict[str, Any] = {
        "name": scenario.VM,
        "description": "The shop's front end",
        "cores": 2,
        "memory_mib": 512,
        "bios_type": "q35_ovmf",
        "os_type": "debian_9",
        "disks": disks,
        "nics": nics,
        **vm,
    }
    return Inventory(
        clusters=[Cluster(name=CLUSTER)],
        networks=[Network(name="ovirtmgmt"), Network(name="prod", vlan=20, profiles=[Profile(name="web")])],
        storage_domains=[Domain(name=DOMAIN)],
        vms=[Vm(**machine)],
    )
