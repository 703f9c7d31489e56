"""Mappings that imports share: rows of two places are merged, and become the rules of a plan. Pure.

A row names a network, a storage or a disk of the source by ID, name or both, and says what it becomes.
Of several rows that fit a device, the first counts; the rows of the import itself come first.

The rows have no dialect. An API translates its own resource into them, as `workflows.v2v` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from steps.model.plan import Attachment, DiskRule, NetworkRule, Plan, StorageRule


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a row names at the source. At least one of the two is not empty."""

    id: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class NetworkRow(Row):
    """What the NICs of a network are attached to; `network` is NAMESPACE/NAME, for `Attachment.NETWORK`."""

    attachment: Attachment
    network: str = ""


@dataclass(frozen=True, kw_only=True)
class StorageRow(Row):
    """The class and the modes of the volumes; empty: the cluster's default, and those of the class."""

    storage_class: str = ""
    volume_mode: str = ""
    access_mode: str = ""


@dataclass(frozen=True)
class Mappings:
    """Rows for networks, for storages, and for single disks."""

    networks: tuple[NetworkRow, ...] = ()
    storages: tuple[StorageRow, ...] = ()
    disks: tuple[StorageRow, ...] = ()


R = TypeVar("R", bound=Row)


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
    """The plan with the rules of the mappings."""
    target = plan.target.model_copy(
        update={
            "first_match": True,
            "networks": tuple(map(_network_rule, mappings.networks)),
            "storage": tuple(map(_storage_rule, mappings.storages)),
            "disks": tuple(map(_disk_rule, mappings.disks)),
        }
    )
    return plan.model_copy(update={"target": target})


def _network_rule(row: NetworkRow) -> NetworkRule:
    return NetworkRule(source=row.name, source_id=row.id, destination=row.network, attachment=row.attachment)


def _storage_rule(row: StorageRow) -> StorageRule:
    return StorageRule(
        source=row.name,
        source_id=row.id,
        storage_class=row.storage_class,
        volume_mode=row.volume_mode,
        access_mode=row.access_mode,
    )


def _disk_rule(row: StorageRow) -> DiskRule:
    return DiskRule(
        disk=row.id or row.name,
        label=row.name,
        storage_class=row.storage_class,
        decides_storage=True,
        volume_mode=row.volume_mode,
        access_mode=row.access_mode,
    )
