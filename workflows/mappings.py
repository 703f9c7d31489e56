"""Mappings that imports share: rows of two places are merged, and become the rules of a plan. Pure.

A row names a network, a storage or a disk of the source by ID, name or both, and says what it becomes.
Of several rows that fit a device, the first counts; the rows of the import itself come first.

The rows have no dialect. Each API translates its own resource into them: `workflows.v2v` a ResourceMapping,
`workflows.import_mapping` an ImportMapping. `steps.model.matching` compares them with NICs and disks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from steps.model.plan import (
    Attachment,
    Bus,
    DiskRule,
    InterfaceModel,
    MacPolicy,
    NetworkRule,
    Plan,
    StorageRule,
    TargetPlan,
    UsedMapping,
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a row names at the source. At least one of its names is not empty."""

    id: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class NetworkRow(Row):
    """What the NICs of a network are attached to; `network` is NAMESPACE/NAME, for `Attachment.NETWORK`."""

    attachment: Attachment
    network: str = ""
    vlan: int | None = None
    nic_mac: str = ""
    """The MAC address of the only NIC that the row is for, in lower case with colons."""
    model: InterfaceModel | None = None
    mac: MacPolicy = MacPolicy.KEEP


@dataclass(frozen=True, kw_only=True)
class StorageRow(Row):
    """The class and the modes of the volumes; empty: the cluster's default, and those of the class."""

    storage_class: str = ""
    volume_mode: str = ""
    access_mode: str = ""


@dataclass(frozen=True, kw_only=True)
class DiskRow(StorageRow):
    """The storage and the bus of one disk."""

    decides_storage: bool = True
    """Whether it says anything about the storage; an empty class is the cluster's default."""
    bus: Bus | None = None
    """None: by the controller at the source."""


@dataclass(frozen=True)
class Mappings:
    """Rows for networks, for storages, and for single disks."""

    networks: tuple[NetworkRow, ...] = ()
    storages: tuple[StorageRow, ...] = ()
    disks: tuple[DiskRow, ...] = ()


R = TypeVar("R", bound=Row)
Rule = TypeVar("Rule", NetworkRule, StorageRule, DiskRule)


def merged(own: Mappings, shared: Mappings) -> Mappings:
    """The rows of an import, and those of its mapping. Only the import has rows for disks."""
    return Mappings(
        networks=tuple(_merged(own.networks, shared.networks)),
        storages=tuple(_merged(own.storages, shared.storages)),
        disks=own.disks,
    )


def _merged(own: Sequence[R], shared: Iterable[R]) -> Iterable[R]:
    """A shared row with an ID gives way to a row with that ID only, one without to a row of its name."""
    ids, names = {row.id for row in own if row.id}, {row.name for row in own if row.name}
    yield from own
    yield from (row for row in shared if (row.id not in ids if row.id else row.name not in names))


def with_mappings(plan: Plan, mappings: Mappings) -> Plan:
    """The plan with the rules of the mappings, of which the first that fits counts."""
    target = plan.target.model_copy(
        update={
            "first_match": True,
            "networks": tuple(map(_network_rule, mappings.networks)),
            "storage": tuple(map(_storage_rule, mappings.storages)),
            "disks": tuple(map(_disk_rule, mappings.disks)),
        }
    )
    return plan.model_copy(update={"target": target})


def with_shared(target: TargetPlan, mappings: Mappings, used: UsedMapping) -> TargetPlan:
    """The target with the rules of a mapping that imports share, after those of the import."""
    return target.model_copy(
        update={
            "mapping": used,
            "networks": (*target.networks, *map(_shared, map(_network_rule, mappings.networks))),
            "storage": (*target.storage, *map(_shared, map(_storage_rule, mappings.storages))),
            "disks": (*target.disks, *map(_shared_disk_rule, mappings.disks)),
        }
    )


def _shared(rule: Rule) -> Rule:
    return rule.model_copy(update={"shared": True})


def _shared_disk_rule(row: DiskRow) -> DiskRule:
    """A name of a shared row is a label only: a label of one disk may be the ID of another."""
    return _shared(_disk_rule(row)).model_copy(update={"disk": row.id})


def _network_rule(row: NetworkRow) -> NetworkRule:
    return NetworkRule(
        source=row.name,
        source_id=row.id,
        vlan=row.vlan,
        nic_mac=row.nic_mac,
        destination=row.network,
        attachment=row.attachment,
        model=row.model,
        mac=row.mac,
    )


def _storage_rule(row: StorageRow) -> StorageRule:
    return StorageRule(
        source=row.name,
        source_id=row.id,
        storage_class=row.storage_class,
        volume_mode=row.volume_mode,
        access_mode=row.access_mode,
    )


def _disk_rule(row: DiskRow) -> DiskRule:
    return DiskRule(
        disk=row.id or row.name,
        label=row.name,
        storage_class=row.storage_class,
        decides_storage=row.decides_storage,
        volume_mode=row.volume_mode,
        access_mode=row.access_mode,
        bus=row.bus,
    )
