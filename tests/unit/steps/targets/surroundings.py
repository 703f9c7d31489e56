"""What a cluster has around an import: nodes, room in its storage, VMs of others."""

from __future__ import annotations

from typing import Any, Final

from steps.model.kinds import (
    CSI_CAPACITY,
    LONGHORN_NODE,
    LONGHORN_SETTING,
    MACHINE,
    NODE,
    Kind,
    Object,
)
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster

LONGHORN_SYSTEM: Final = "longhorn-system"
SIZE: Final = 100 << 40


def furnish(cluster: FakeCluster, *classes: str) -> None:
    """Three large nodes, also of Longhorn, and room for these classes."""
    for number in range(3):
        cluster.put(a_node(f"node-{number}"))
        cluster.put(a_longhorn_node(f"node-{number}"))
    for name in classes:
        cluster.put(a_capacity(name))


def a_node(
    name: str = "node-0",
    cpu: str = "32",
    memory: str = "128Gi",
    *,
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    """A ready node; `spec` has fields of its spec, such as taints."""
    status = {
        "allocatable": {"cpu": cpu, "memory": memory},
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    return _object(NODE, name, labels=labels or {}) | {"spec": spec, "status": status}


def a_longhorn_node(
    name: str = "node-0",
    *,
    maximum: int = SIZE,
    available: int = SIZE,
    scheduled: int = 0,
    reserved: int = 0,
    **spec: Any,
) -> Object:
    """A node of Longhorn with one disk, as its node controller reports it; sizes in bytes."""
    conditions = [{"type": "Ready", "status": "True"}, {"type": "Schedulable", "status": "True"}]
    disk = {"allowScheduling": True, "diskType": "filesystem", "storageReserved": reserved, "tags": []}
    state = {
        "storageMaximum": maximum,
        "storageAvailable": available,
        "storageScheduled": scheduled,
        "conditions": conditions,
    }
    return _object(LONGHORN_NODE, name, LONGHORN_SYSTEM) | {
        "spec": {"allowScheduling": True, "tags": [], "disks": {"default-disk": disk}} | spec,
        "status": {"conditions": conditions, "diskStatus": {"default-disk": state}},
    }


def a_longhorn_setting(name: str, value: str) -> Object:
    return _object(LONGHORN_SETTING, name, LONGHORN_SYSTEM) | {"value": value}


def a_capacity(
    storage_class: str, capacity: str | None = "100Ti", *, largest: str = "", segment: str = "0"
) -> Object:
    """What a driver reports about a class in one part of the cluster."""
    found = _object(CSI_CAPACITY, f"csisc-{storage_class}-{segment}", "kube-system")
    if capacity is not None:
        found["capacity"] = capacity
    if largest:
        found["maximumVolumeSize"] = largest
    return found | {"storageClassName": storage_class}


def another_vm(namespace: str, name: str, mac: str, network: str = "", *, binding: str = "") -> Object:
    """A VM of somebody else with that MAC, on the pod network or on `network`."""
    where: Object = {"multus": {"networkName": network}} if network else {"pod": {}}
    interface = {"name": "nic", "macAddress": mac, binding or ("bridge" if network else "masquerade"): {}}
    spec = {
        "domain": {"devices": {"interfaces": [interface]}},
        "networks": [{"name": "nic", **where}],
    }
    return _object(MACHINE, name, namespace) | {"spec": {"runStrategy": "Halted", "template": {"spec": spec}}}


def _object(kind: Kind, name: str, namespace: str = "", **metadata: Any) -> Object:
    place = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, **place, **metadata},
    }
