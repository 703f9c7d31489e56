"""The dialect `v2v.kubevirt.io`: an import as the engine knows it, and what is wrong with it. Pure.

A translated import is the import of our own API that means the same. It exists in memory only, so both
dialects have the same plan, stages and status. What our API cannot say, the plan gets in `completed`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from pydantic import Field

from steps.model.kinds import GROUP, V2V_API_VERSION
from steps.model.naming import (
    DNS_LABEL,
    is_label_value,
    is_metadata_key,
    is_namespace,
    is_object_name,
    shown,
)
from steps.model.plan import Attachment, ClusterTarget, OnFailure, Plan, Unmapped, Unplugged
from steps.model.sources import SourceKind
from workflows import mappings, texts
from workflows.api import sources
from workflows.api.resources import Metadata, VirtualMachineImport
from workflows.api.spec import SecretReference, SourceReference, VirtualMachineImportSpec
from workflows.api.v2v import (
    ACCESS_MODES,
    MappingLists,
    NetworkItem,
    OvirtSource,
    ResourceMappingSpec,
    StorageItem,
    V2vImportSpec,
    VmwareSource,
)
from workflows.mappings import DiskRow, Mappings, NetworkRow, StorageRow
from workflows.plan import MOST_DISKS, MOST_NETWORKS
from workflows.v2v_secret import Login

PREFIX: Final = "vmimport.v2v.kubevirt.io"
TRACKER: Final = f"{PREFIX}/tracker"
"""Label of an import that its VM gets, too."""
PROPAGATED: Final = f"{PREFIX}/propagate-annotations"
"""Annotation of an import: annotations that its VM gets (JSON, texts by names)."""
FORMER_FINALIZERS: Final = tuple(
    f"{PREFIX}/{name}" for name in ("cancelled-import", "restore-state", "cleanup-snapshots")
)
"""Finalizers of vm-import-operator. They are removed with ours."""
GRACE_SECONDS: Final = 300
"""Seconds that a guest may take to shut down. It is never powered off."""
MOST_ANNOTATIONS: Final = 50
VOLUME_MODES: Final = ("", "Filesystem", "Block")
POD: Final = "pod"
MULTUS: Final = "multus"
_OBJECT_ID: Final = re.compile(r"[0-9]+-([0-9]+)")
"""VirtualDisk.diskObjectId: the VM's number and the key of the disk."""

INVALID_NAME: Final = "InvalidTargetVMName"
INCOMPLETE: Final = "IncompleteMappingRules"
FAILED: Final = "ValidationFailed"
"""Reasons of the condition Valid, and of refusals."""


class Refusal(NamedTuple):
    """Why an import cannot run as it is written: a reason of the condition Valid, and a sentence."""

    reason: str
    message: str


class TranslatedImport(VirtualMachineImport):
    """An import of this dialect as the engine knows it."""

    api_version: Literal["v2v.kubevirt.io/v1beta1"] = Field(alias="apiVersion")  # type: ignore[assignment]


# --- which source


def source_of(spec: V2vImportSpec) -> tuple[SourceKind, VmwareSource | OvirtSource] | None:
    """The kind and the part of the only source that is given; None for none or two."""
    given: list[tuple[SourceKind, VmwareSource | OvirtSource]] = []
    if spec.source.vmware is not None:
        given.append((SourceKind.VMWARE, spec.source.vmware))
    if spec.source.ovirt is not None:
        given.append((SourceKind.OVIRT, spec.source.ovirt))
    return given[0] if len(given) == 1 else None


def secret_of(spec: V2vImportSpec, namespace: str) -> tuple[str, str]:
    """Namespace and name of the Secret of an import in `namespace`."""
    reference = spec.provider_credentials_secret
    return reference.namespace or namespace, reference.name


def mapping_of(spec: V2vImportSpec, namespace: str) -> tuple[str, str] | None:
    """Namespace and name of the ResourceMapping of an import in `namespace`; None if it uses none."""
    reference = spec.resource_mapping
    return (reference.namespace or namespace, reference.name) if reference is not None else None


def source_from(kind: SourceKind, secret: Metadata, login: Login) -> sources.Source:
    """The source that a Secret describes. It exists in memory only, under the name of the Secret."""
    given: dict[str, Any] = {
        "apiVersion": "migration.harvesterhci.io/v1beta1",
        "kind": str(kind),
        "metadata": secret.model_dump(),
        "spec": {"endpoint": login.address},
    }
    source = sources.RESOURCES[kind].model_validate(given)
    reference = SecretReference(name=secret.name, namespace=secret.namespace)
    return source.model_copy(update={"spec": source.spec.model_copy(update={"credentials": reference})})


# --- the import


def translate(
    metadata: Mapping[str, Any], spec: V2vImportSpec, on_failure: OnFailure, *, in_cluster: bool = True
) -> TranslatedImport:
    """The import as the engine knows it. `metadata` is that of the object."""
    found = source_of(spec)
    kind, vm, folder = ("", "", None) if found is None else _vm_of(*found)
    namespace = str(metadata.get("namespace") or "default")
    secret = secret_of(spec, namespace)
    wanted = VirtualMachineImportSpec(
        source_cluster=SourceReference(kind=kind, namespace=secret[0], name=secret[1]),
        virtual_machine_name=vm,
        folder=folder,
        target_virtual_machine_name=spec.target_vm_name,
        start_virtual_machine=bool(spec.start_vm),
        on_failure=on_failure,
        target=ClusterTarget.KUBEVIRT if in_cluster else None,
    )
    return TranslatedImport.model_validate(
        {
            "apiVersion": V2V_API_VERSION,
            "kind": "VirtualMachineImport",
            "metadata": dict(metadata),
            "spec": wanted,
        }
    )


def _vm_of(kind: SourceKind, source: VmwareSource | OvirtSource) -> tuple[str, str, str | None]:
    """Kind, name or ID, and folder of the VM. The ID has precedence."""
    vm = source.vm.id or source.vm.name
    if isinstance(source, OvirtSource):
        cluster = source.vm.cluster
        return str(kind), vm, (cluster.id or cluster.name or None) if not source.vm.id else None
    is_path = not source.vm.id and "/" in vm and not vm.startswith("/")
    return str(kind), f"/{vm}" if is_path else vm, None


def completed(plan: Plan, rows: Mappings, metadata: Mapping[str, Any], *, from_secret: bool = True) -> Plan:
    """The plan of a translated import with what our own API cannot say."""
    plan = mappings.with_mappings(plan, rows)
    labels = metadata.get("labels") or {}
    tracker = labels.get(TRACKER, "")
    target = plan.target.model_copy(
        update={
            "unmapped": Unmapped.BLOCK,
            "unplugged": Unplugged.LEFT_OUT,
            "vm_labels": {TRACKER: tracker} if tracker and is_label_value(tracker) else {},
            "vm_annotations": propagated(metadata),
        }
    )
    return plan.model_copy(
        update={
            "source": plan.source.model_copy(
                update={"any_datacenter": plan.source.kind is SourceKind.VMWARE, "from_secret": from_secret}
            ),
            "power": plan.power.model_copy(update={"never_force": True, "grace_seconds": GRACE_SECONDS}),
            "target": target,
        }
    )


def propagated(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The annotations that the VM gets; none if the text is malformed. Ours are never among them."""
    text = (metadata.get("annotations") or {}).get(PROPAGATED, "")
    try:
        given = json.loads(text) if text and len(text) <= texts.LONGEST else {}
    except (ValueError, RecursionError):
        return {}
    if not isinstance(given, dict) or len(given) > MOST_ANNOTATIONS:
        return {}
    return {
        name: value
        for name, value in given.items()
        if isinstance(value, str) and is_metadata_key(name) and not name.startswith(f"{GROUP}/")
    }


# --- the mapping


def rows_of(spec: V2vImportSpec, shared: ResourceMappingSpec | None, namespace: str) -> Mappings:
    """The rows for an import in `namespace`: its own, and those of its ResourceMapping."""
    found = source_of(spec)
    if found is None:
        return Mappings()
    kind, source = found
    own = _rows(source.mappings, kind, namespace)
    lists = _lists(shared, kind)
    return mappings.merged(own, _rows(lists, kind, namespace)) if lists is not None else own


def _lists(shared: ResourceMappingSpec | None, kind: SourceKind) -> MappingLists | None:
    if shared is None:
        return None
    return shared.ovirt if kind is SourceKind.OVIRT else shared.vmware


def _rows(lists: MappingLists, kind: SourceKind, namespace: str) -> Mappings:
    """Rows that name nothing are left out."""
    return Mappings(
        networks=tuple(_network(row, namespace) for row in lists.network_mappings if _is_named(row)),
        storages=tuple(_storage(row, row.source.id) for row in lists.storage_mappings if _is_named(row)),
        disks=tuple(_disk(row, _disk_id(row, kind)) for row in lists.disk_mappings if _is_named(row)),
    )


def _is_named(row: NetworkItem) -> bool:
    return bool(row.source.id or row.source.name)


def _network(row: NetworkItem, namespace: str) -> NetworkRow:
    target = row.target
    if row.type != MULTUS or target is None:
        return NetworkRow(id=row.source.id, name=row.source.name, attachment=Attachment.POD)
    return NetworkRow(
        id=row.source.id,
        name=row.source.name,
        attachment=Attachment.NETWORK,
        network=f"{target.namespace or namespace}/{target.name}",
    )


def _storage(row: StorageItem, source_id: str) -> StorageRow:
    return StorageRow(
        id=source_id,
        name=row.source.name,
        storage_class=row.target.name if row.target is not None else "",
        volume_mode=row.volume_mode,
        access_mode=row.access_mode,
    )


def _disk(row: StorageItem, source_id: str) -> DiskRow:
    return DiskRow(**vars(_storage(row, source_id)))


def _disk_id(row: StorageItem, kind: SourceKind) -> str:
    object_id = _OBJECT_ID.fullmatch(row.source.id) if kind is SourceKind.VMWARE else None
    return object_id[1] if object_id else row.source.id


# --- what is wrong


def refusals(spec: V2vImportSpec, now: datetime) -> Iterator[Refusal]:
    """What is wrong with an import, apart from its mapping."""
    if long := list(texts.too_long(spec)):
        yield from (Refusal(FAILED, reason) for reason in long)
        return  # the other messages quote these texts
    yield from _source_refusals(spec)
    reference, mapping = spec.provider_credentials_secret, spec.resource_mapping
    if not reference.name:
        yield Refusal(FAILED, "spec.providerCredentialsSecret.name is empty: write the name of a Secret")
    for path, one in (("providerCredentialsSecret", reference), ("resourceMapping", mapping)):
        if one is not None:
            reasons = (
                *texts.bad_name(f"spec.{path}.name", one.name),
                *texts.bad_namespace(f"spec.{path}.namespace", one.namespace),
            )
            yield from (Refusal(FAILED, reason) for reason in reasons)
    if mapping is not None and not mapping.name:
        yield Refusal(FAILED, "spec.resourceMapping.name is empty: write the name of a ResourceMapping")
    if spec.target_vm_name and not DNS_LABEL.fullmatch(spec.target_vm_name):
        why = "use lower-case letters, digits and '-', at most 63, with a letter or digit at both ends"
        yield Refusal(
            INVALID_NAME,
            f"`targetVmName` is not a valid k8s name: {shown(spec.target_vm_name)}; {why}",
        )
    if spec.warm and not _is_past(spec.finalize_date, now):
        yield Refusal(
            FAILED,
            "spec.warm: vmferry has no warm import: it copies a VM while it is off at its source; set "
            "spec.warm to false",
        )


def _source_refusals(spec: V2vImportSpec) -> Iterator[Refusal]:
    found = source_of(spec)
    if found is None:
        both = spec.source.ovirt is not None
        yield Refusal(
            FAILED,
            "Invalid source. Must only include one source type."
            if both
            else "Invalid source type. Only Ovirt and Vmware type is supported",
        )
        return
    vm = found[1].vm
    if not (vm.id or vm.name):
        yield Refusal("SourceVMNotFound", "Failed to load source VM: both ID and name of the VM are missing")


def _is_past(date: str, now: datetime) -> bool:
    try:
        time = datetime.fromisoformat(date)
    except ValueError:
        return False
    return (time if time.tzinfo else time.replace(tzinfo=now.tzinfo)) < now


def mapping_refusals(spec: V2vImportSpec, shared: ResourceMappingSpec | None) -> Iterator[Refusal]:
    """What is wrong with the rows that an import uses."""
    found = source_of(spec)
    if found is None:
        return
    kind, source = found
    if shared is not None and (long := list(texts.too_long(shared))):
        yield from (Refusal(INCOMPLETE, f"the resource mapping: {reason}") for reason in long)
        return
    lists = [source.mappings, *([one] if (one := _lists(shared, kind)) is not None else [])]
    for one in lists:
        if counts := list(_row_counts(one)):
            yield from counts
            return
    yield from (Refusal(INCOMPLETE, reason) for reason in dict.fromkeys(_reasons(lists, kind)))


def _row_counts(lists: MappingLists) -> Iterator[Refusal]:
    for name, rows, most in (
        ("networkMappings", lists.network_mappings, MOST_NETWORKS),
        ("storageMappings", lists.storage_mappings, MOST_DISKS),
        ("diskMappings", lists.disk_mappings, MOST_DISKS),
    ):
        if len(rows) > most:
            yield Refusal(INCOMPLETE, f"{name} has {len(rows)} rows; write at most {most}")


def _reasons(lists: Sequence[MappingLists], kind: SourceKind) -> Iterator[str]:
    for one in lists:
        for row in one.network_mappings:
            yield from _network_reasons(row)
        for storage in (*one.storage_mappings, *one.disk_mappings):
            yield from _storage_reasons(storage)
    if kind is SourceKind.OVIRT:
        names = [row.source.name for one in lists for row in one.network_mappings if row.source.name]
        bad = [name for name in names if "/" not in name]
        if bad:
            yield (
                f"Network mapping name format is invalid: [{', '.join(map(shown, bad))}]. Expected format is "
                "'network-name/vnic-profile-name'"
            )


def _network_reasons(row: NetworkItem) -> Iterator[str]:
    what = f"the mapping of network {shown(row.source.name or row.source.id)}"
    target = row.target
    if row.type not in ("", POD, MULTUS):
        yield f"{what}: type {shown(row.type)} is not one of {POD}, {MULTUS}"
        return
    if not row.type and target is not None and target.namespace:
        yield (
            f"{what}: type is empty and the target has a namespace. When target type is omitted, the "
            f"namespace must be omitted as well. Write type: {MULTUS}"
        )
        return
    if row.type != MULTUS:
        return
    if target is None or not target.name:
        yield f"{what}: type is {MULTUS}, and target names no NetworkAttachmentDefinition"
        return
    if not is_object_name(target.name):
        yield f"{what}: {shown(target.name)} is not the name of a NetworkAttachmentDefinition"
    if target.namespace and not is_namespace(target.namespace):
        yield f"{what}: {shown(target.namespace)} is not a namespace"


def _storage_reasons(row: StorageItem) -> Iterator[str]:
    what = f"the mapping of storage {shown(row.source.name or row.source.id)}"
    name = row.target.name if row.target is not None else ""
    if name and not is_object_name(name):
        yield f"{what}: {shown(name)} is not the name of a storage class"
    if row.volume_mode not in VOLUME_MODES:
        yield f"{what}: volumeMode {shown(row.volume_mode)} is not one of Filesystem, Block"
    if row.access_mode not in ("", *ACCESS_MODES):
        yield f"{what}: accessMode {shown(row.access_mode)} is not one of {', '.join(ACCESS_MODES)}"
