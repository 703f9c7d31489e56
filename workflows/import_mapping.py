"""An ImportMapping as rows of the engine, and what is wrong with it. Pure.

The API server has checked most of this by the schema already. An ImportMapping in a file has not been there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from steps.model.naming import is_namespace, is_object_name, shown
from steps.model.plan import Attachment, MacPolicy, TargetPlan, UsedMapping
from workflows import mappings
from workflows.api.base import Model
from workflows.api.mapping import (
    LONGEST_NAME,
    MOST_BYTES,
    MOST_ROWS,
    ImportMapping,
    ImportMappingSpec,
    NetworkMatch,
    SharedDisk,
    SharedNetwork,
    SharedStorage,
    StorageMatch,
)
from workflows.api.spec import NetworkType
from workflows.mappings import DiskRow, Mappings, NetworkRow, StorageRow

_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_ATTACHMENTS: Final = {
    NetworkType.MULTUS: Attachment.NETWORK,
    NetworkType.POD: Attachment.POD,
    NetworkType.IGNORED: Attachment.IGNORED,
}


def attachment(type_: NetworkType | None) -> Attachment:
    """What the NICs of a row are attached to; the default is a NetworkAttachmentDefinition."""
    return _ATTACHMENTS[type_ or NetworkType.MULTUS]


def extended(target: TargetPlan, mapping: ImportMapping) -> TargetPlan:
    """The target of a plan with the rows of a mapping, after those of the import. `reasons` finds nothing."""
    of = mapping.metadata
    used = UsedMapping(namespace=of.namespace, name=of.name, generation=of.generation)
    return mappings.with_shared(target, rows(mapping.spec, target.namespace), used)


def rows(spec: ImportMappingSpec, namespace: str) -> Mappings:
    """The rows for an import in `namespace`, in which a network without a namespace is searched."""
    return Mappings(
        networks=tuple(_network(row, namespace) for row in spec.networks),
        storages=tuple(_storage(row) for row in spec.storage),
        disks=tuple(_disk(row) for row in spec.disks),
    )


def storage_classes(spec: ImportMappingSpec) -> tuple[str, ...]:
    """All storage classes that it names. Which of them a VM needs is known only when it was described."""
    named = (*(row.storage_class for row in spec.storage), *(row.storage_class for row in spec.disks))
    return tuple(dict.fromkeys(name for name in named if name))


def _network(row: SharedNetwork, namespace: str) -> NetworkRow:
    destination = row.destination_network or ""
    return NetworkRow(
        id=row.source.id or "",
        name=row.source.name or "",
        vlan=row.source.vlan,
        nic_mac=canonical_mac(row.source.mac or ""),
        attachment=attachment(row.type),
        network=f"{namespace}/{destination}" if destination and "/" not in destination else destination,
        model=row.network_interface_model,
        mac=row.mac or MacPolicy.KEEP,
    )


def _storage(row: SharedStorage) -> StorageRow:
    return StorageRow(
        id=row.source.id or "", name=row.source.name or "", storage_class=row.storage_class or ""
    )


def _disk(row: SharedDisk) -> DiskRow:
    return DiskRow(
        id=row.source.id or "",
        name=row.source.name or "",
        storage_class=row.storage_class or "",
        decides_storage=row.storage_class is not None,
        bus=row.bus_type,
    )


def canonical_mac(text: str) -> str:
    """A MAC address in lower case with colons, as in a description of a VM; "" if it is none."""
    written = text.lower().replace("-", ":")
    return written if _MAC.fullmatch(written) else ""


# --- what is wrong


def reasons(mapping: ImportMapping) -> Iterator[str]:
    """What is wrong with a mapping, each as a sentence that names it, the row, and what to write instead."""
    for reason in spec_reasons(mapping.spec):
        yield f"{mapping.title}: {reason}"


def spec_reasons(spec: ImportMappingSpec) -> Iterator[str]:
    """The same without the name of the mapping."""
    if blocking := [*_too_many(spec), *_too_long(spec)]:
        yield from blocking
        return  # the other messages quote the texts of all rows
    yield from _source_reasons("networks", [row.source for row in spec.networks])
    yield from _source_reasons("storage", [row.source for row in spec.storage])
    yield from _source_reasons("disks", [row.source for row in spec.disks])
    for number, network in enumerate(spec.networks):
        yield from (f"spec.networks[{number}] {reason}" for reason in _network_reasons(network))
    for number, storage in enumerate(spec.storage):
        yield from (f"spec.storage[{number}] {reason}" for reason in _storage_reasons(storage))
    for number, disk in enumerate(spec.disks):
        yield from (f"spec.disks[{number}] {reason}" for reason in _disk_reasons(disk))


def _lists(spec: ImportMappingSpec) -> dict[str, Sequence[Model]]:
    return {"networks": spec.networks, "storage": spec.storage, "disks": spec.disks}


def _too_many(spec: ImportMappingSpec) -> Iterator[str]:
    for name, some in _lists(spec).items():
        if len(some) > MOST_ROWS:
            yield (
                f"spec.{name} has {len(some)} rows; write at most {MOST_ROWS}, and more mappings if you need "
                "more rows"
            )

    size = len(spec.model_dump_json(by_alias=True, exclude_none=True).encode(errors="replace"))
    if size > MOST_BYTES:
        yield f"its rows have {size} bytes; write at most {MOST_BYTES}: use several mappings"


def _too_long(spec: ImportMappingSpec) -> Iterator[str]:
    for name, some in _lists(spec).items():
        for number, row in enumerate(some):
            for field, text in _flat(row.model_dump(by_alias=True, mode="json")):
                if len(text) > LONGEST_NAME:
                    yield (
                        f"spec.{name}[{number}].{field} has {len(text)} characters; write at most "
                        f"{LONGEST_NAME}"
                    )


def _flat(row: dict[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in row.items():
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, dict):
            yield from ((f"{name}.{inner}", text) for inner, text in _flat(value))


def _source_reasons(name: str, sources: Sequence[NetworkMatch | StorageMatch]) -> Iterator[str]:
    """Rows that name nothing or several things, and rows that name the same."""
    keys = []
    for number, source in enumerate(sources):
        given = {field: value for field, value in source.model_dump().items() if value is not None}
        fields = ", ".join(type(source).model_fields)
        if len(given) != 1:
            has = ", ".join(given) or "none of them"
            yield f"spec.{name}[{number}].source must have exactly one of {fields}; it has {has}"
            continue
        ((field, value),) = given.items()
        if value == "":
            yield f"spec.{name}[{number}].source.{field} is empty: write what is at the source"
            continue
        keys.append((field, canonical_mac(value) or value if field == "mac" else value))
    for (field, value), count in Counter(keys).items():
        if count > 1:
            text = shown(value) if isinstance(value, str) else str(value)
            yield (
                f"spec.{name} has {count} rows for {field} {text}, so it is not clear which one counts; "
                "keep one of them"
            )


def _network_reasons(row: SharedNetwork) -> Iterator[str]:
    vlan, mac, destination = row.source.vlan, row.source.mac, row.destination_network
    if vlan is not None and not 1 <= vlan <= 4094:
        yield f"has VLAN {vlan}: write an ID from 1 to 4094"
    if mac and not canonical_mac(mac):
        yield f"has {shown(mac)}, which is not a MAC address: write one such as 00:50:56:aa:bb:01"
    if attachment(row.type) is not Attachment.NETWORK:
        if destination:
            yield (
                f"has the type {row.type} and destinationNetwork {shown(destination)}: remove one of the two"
            )
        if row.type is NetworkType.IGNORED and (row.network_interface_model or row.mac):
            yield (
                "has the type ignored, so the VM does not get the NICs: remove networkInterfaceModel and mac"
            )
        return
    if not destination:
        yield (
            "has no destinationNetwork: write NAME or NAMESPACE/NAME of a NetworkAttachmentDefinition, or "
            "the type pod or ignored"
        )
        return
    parts = destination.split("/")
    is_good = is_object_name(parts[-1]) and (len(parts) == 1 or (len(parts) == 2 and is_namespace(parts[0])))
    if not is_good:
        yield (
            f"has the invalid destinationNetwork {shown(destination)}: write NAME or NAMESPACE/NAME of a "
            "NetworkAttachmentDefinition, in lower-case letters, digits, '-' and '.'"
        )


def _storage_reasons(row: SharedStorage) -> Iterator[str]:
    if row.storage_class is None:
        yield (
            'has no storageClass: write the name of a storage class, or "" for the default class of the '
            "cluster"
        )
    yield from _class_reasons(row.storage_class)


def _disk_reasons(row: SharedDisk) -> Iterator[str]:
    if row.storage_class is None and row.bus_type is None:
        yield "has neither storageClass nor busType, so it has no effect: write one, or remove the row"
    yield from _class_reasons(row.storage_class)


def _class_reasons(name: str | None) -> Iterator[str]:
    if name and not is_object_name(name):
        yield (
            f"has storageClass {shown(name)}, which is not a valid name: use lower-case letters, digits, "
            "'-' and '.'"
        )
