"""Reads the facts that the rules need from a cluster. Changes nothing.

A fact that may not be read, or that the cluster does not have, is Unknown with the reason. Only an API server
that does not answer is an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from steps.model.contract import Exit, StepError
from steps.model.kinds import (
    CSI_CAPACITY,
    LONGHORN_NODE,
    LONGHORN_SETTING,
    MACHINE,
    NAD,
    NODE,
    STORAGE_CLASS,
    STORAGE_PROFILE,
    Kind,
    Object,
)
from steps.model.mapping import Shape
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.targets.checks.facts import (
    Addresses,
    LonghornDisk,
    LonghornPool,
    Modes,
    Network,
    Node,
    Segment,
    StorageClass,
    Taint,
    TargetFacts,
    Unknown,
    UsedAddress,
)
from steps.targets.cluster.ownership import is_of_import
from steps.targets.cluster.quota import amount

LONGHORN: Final = "driver.longhorn.io"
LONGHORN_SYSTEM: Final = "longhorn-system"
OVER_PROVISIONING: Final = "storage-over-provisioning-percentage"
MINIMAL_AVAILABLE: Final = "storage-minimal-available-percentage"
SCHEDULABLE: Final = "kubevirt.io/schedulable"
"""KubeVirt's label on the nodes where its handler runs (virt-handler, heartbeat)."""
NETWORK_READY: Final = "network.harvesterhci.io/ready"
PAGE: Final = 50
"""Objects of one request: VMs and nodes may be large."""
_UNREADABLE: Final = (Exit.DENIED, Exit.NOT_FOUND)
T = TypeVar("T")


def read_facts(cluster: Cluster, plan: Plan, shape: Shape, classes: Collection[str]) -> TargetFacts:
    """The facts about the cluster for one import with these storage classes.

    Raises:
        StepError: the API server does not answer.
    """
    destinations = dict.fromkeys(one.network for one in shape.interfaces if one.network)
    return TargetFacts(
        addresses=_known(lambda: _addresses(cluster, plan, shape)),
        networks={name: _known(partial(_network, cluster, name)) for name in destinations},
        classes={name: _known(partial(_class, cluster, name)) for name in classes},
        nodes=_known(lambda: tuple(_nodes(_all(cluster, NODE)))),
    )


def _known(read: Callable[[], T]) -> T | Unknown:
    """The result of `read`; Unknown without the right or the API.

    Raises:
        StepError: every other error.
    """
    try:
        return read()
    except StepError as error:
        if error.code not in _UNREADABLE:
            raise
        return Unknown(str(error))


def _all(cluster: Cluster, kind: Kind, namespace: str = "") -> Iterator[Object]:
    """All objects of a kind, page by page; each page is forgotten before the next one."""
    more = ""
    while True:
        page = cluster.page(kind, namespace, limit=PAGE, more=more)
        yield from page.items
        more = page.more
        if not more:
            return


# --- MAC addresses


def _addresses(cluster: Cluster, plan: Plan, shape: Shape) -> Addresses:
    """The NICs of other VMs with MAC addresses of this import, in all namespaces if that may be read."""
    wanted = {str(one.mac).lower() for one in shape.interfaces if one.mac}
    if not wanted:
        return Addresses()
    try:
        return Addresses(used=tuple(_used(_all(cluster, MACHINE), plan, shape.name, wanted)))
    except StepError as error:
        if error.code is not Exit.DENIED:
            raise
        own = _all(cluster, MACHINE, plan.target.namespace)
        return Addresses(used=tuple(_used(own, plan, shape.name, wanted)), unread=str(error))


def _used(vms: Iterable[Object], plan: Plan, name: str, wanted: Collection[str]) -> Iterator[UsedAddress]:
    for vm in vms:
        metadata = vm["metadata"]
        place = metadata["namespace"], metadata["name"]
        # A foreign VM with the name of the new one is another check's business.
        if is_of_import(vm, plan) or place == (plan.target.namespace, name):
            continue
        spec = ((vm.get("spec") or {}).get("template") or {}).get("spec") or {}
        networks = {one.get("name"): one for one in spec.get("networks") or []}
        for interface in ((spec.get("domain") or {}).get("devices") or {}).get("interfaces") or []:
            mac = str(interface.get("macAddress") or "").lower().replace("-", ":")
            if mac in wanted:
                multus = (networks.get(interface.get("name")) or {}).get("multus") or {}
                yield UsedAddress(
                    mac=mac,
                    network=_with_namespace(str(multus.get("networkName") or ""), place[0]),
                    is_behind_nat="masquerade" in interface,
                    vm_namespace=place[0],
                    vm_name=place[1],
                )


def _with_namespace(network: str, namespace: str) -> str:
    return network if not network or "/" in network else f"{namespace}/{network}"


# --- networks


def _network(cluster: Cluster, destination: str) -> Network | None:
    namespace, _, name = destination.partition("/")
    found = cluster.get(NAD, name, namespace)
    if found is None:
        return None
    metadata = found["metadata"]
    return Network(
        config=str((found.get("spec") or {}).get("config") or ""),
        is_ready=(metadata.get("labels") or {}).get(NETWORK_READY) != "false",
        is_deleted=bool(metadata.get("deletionTimestamp")),
    )


# --- storage


def _class(cluster: Cluster, name: str) -> StorageClass | Unknown:
    found = cluster.get(STORAGE_CLASS, name)
    if found is None:
        return Unknown("it does not exist")
    provisioner, parameters = str(found.get("provisioner") or ""), found.get("parameters") or {}
    return StorageClass(
        provisioner=provisioner,
        parameters=parameters,
        is_expandable=bool(found.get("allowVolumeExpansion")),
        modes=_known(lambda: _modes(cluster, name)),
        room=_known(
            lambda: _pool(cluster) if provisioner == LONGHORN else _segments(cluster, name, provisioner)
        ),
    )


def _modes(cluster: Cluster, name: str) -> tuple[Modes, ...] | Unknown:
    """All that the StorageProfile of the class lists."""
    profile = cluster.get(STORAGE_PROFILE, name) or {}
    sets = (profile.get("status") or {}).get("claimPropertySets") or []
    found = tuple(
        Modes(str(access), str(one.get("volumeMode") or "Filesystem"))
        for one in sets
        for access in one.get("accessModes") or []
    )
    return found or Unknown(f"StorageProfile {name} does not exist, or states no access mode")


def _segments(cluster: Cluster, name: str, provisioner: str) -> tuple[Segment, ...] | Unknown:
    """What the driver reports for the class (Kubernetes, storage capacity)."""
    found = tuple(
        Segment(
            free=int(amount(one["capacity"])),
            largest=int(amount(one["maximumVolumeSize"])) if one.get("maximumVolumeSize") else None,
        )
        for one in _all(cluster, CSI_CAPACITY)
        if one.get("storageClassName") == name and one.get("capacity") is not None
    )
    why = f"the driver {provisioner} reports no CSIStorageCapacity for this class"
    return found or Unknown(why)


def _pool(cluster: Cluster) -> LonghornPool | Unknown:
    """Longhorn reports its room only in objects of its own."""
    nodes = list(_all(cluster, LONGHORN_NODE, LONGHORN_SYSTEM))
    if not nodes:  # it does not run, or runs in another namespace
        return Unknown(f"there is no node of Longhorn in namespace {LONGHORN_SYSTEM}")
    return LonghornPool(
        disks=tuple(disk for node in nodes for disk in _disks(node)),
        over_provisioning=_percentages(cluster, OVER_PROVISIONING),
        minimal_available=_percentages(cluster, MINIMAL_AVAILABLE),
    )


def _disks(node: Object) -> Iterator[LonghornDisk]:
    """The disks of a node that may get new replicas."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    if not spec.get("allowScheduling") or not _is_true(status, "Ready", "Schedulable"):
        return
    for name, state in (status.get("diskStatus") or {}).items():
        disk = (spec.get("disks") or {}).get(name) or {}
        if not disk.get("allowScheduling") or disk.get("evictionRequested"):
            continue
        if _is_true(state, "Ready", "Schedulable"):
            yield LonghornDisk(
                node=str(node["metadata"]["name"]),
                maximum=int(state.get("storageMaximum") or 0),
                available=int(state.get("storageAvailable") or 0),
                scheduled=int(state.get("storageScheduled") or 0),
                reserved=int(disk.get("storageReserved") or 0),
                node_tags=frozenset(spec.get("tags") or ()),
                tags=frozenset(disk.get("tags") or ()),
                is_block=disk.get("diskType") == "block",
            )


def _is_true(status: Mapping[str, Any], *types: str) -> bool:
    """Whether none of these conditions is reported as not true."""
    reported = {one.get("type"): one.get("status") for one in status.get("conditions") or []}
    return all(reported.get(one, "True") == "True" for one in types)


def _percentages(cluster: Cluster, name: str) -> dict[str, int]:
    """A setting of Longhorn by data engine: one number, or since v1.10 JSON with one for each engine."""
    setting = cluster.get(LONGHORN_SETTING, name, LONGHORN_SYSTEM) or {}
    text = str(setting.get("value") or "")
    try:
        found = json.loads(text) if text else {}
        engines = found if isinstance(found, dict) else {"v1": found, "v2": found}
        return {engine: int(number) for engine, number in engines.items()}
    except (TypeError, ValueError):
        why = f"its value is {text[:40]!r}"
        raise StepError(Exit.NOT_FOUND, f"setting {name} of Longhorn cannot be read", why) from None


# --- nodes


def _nodes(found: Iterable[Object]) -> Iterator[Node]:
    """The nodes that take VMs: where KubeVirt has labelled nodes, only those that it calls schedulable."""
    ready = [node for node in found if _is_ready(node)]
    labels = [(node["metadata"].get("labels") or {}).get(SCHEDULABLE) for node in ready]
    is_labelled = "true" in labels
    for node, label in zip(ready, labels, strict=True):
        if label == "true" or (label is None and not is_labelled):
            yield _node(node)


def _is_ready(node: Object) -> bool:
    status = node.get("status") or {}
    return not (node.get("spec") or {}).get("unschedulable") and _is_true(status, "Ready")


def _node(node: Object) -> Node:
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    return Node(
        cpus=amount(allocatable.get("cpu", 0)),
        memory=int(amount(allocatable.get("memory", 0))),
        labels=node["metadata"].get("labels") or {},
        taints=tuple(
            Taint(str(taint["key"]), str(taint.get("value") or ""), str(taint["effect"]))
            for taint in (node.get("spec") or {}).get("taints") or []
            if taint["effect"] != "PreferNoSchedule"
        ),
    )
