"""Makes the plan of an import, or lists every reason why it cannot run. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from steps.model.kinds import API_VERSION
from steps.model.naming import DNS_LABEL, normalise
from steps.model.plan import (
    Bus,
    DiskRule,
    ImportRef,
    InterfaceModel,
    MacPolicy,
    NetworkRule,
    Plan,
    PowerPlan,
    SourceKind,
    SourcePlan,
    Spelling,
    TargetPlan,
)
from workflows.api.resources import OpenstackSource, Source, VirtualMachineImport, VmwareSource
from workflows.api.spec import DiskMapping, NetworkMapping
from workflows.quantity import mebibytes
from workflows.settings import Settings

GRACE_SECONDS: Final = 60
"""vm-import-controller's default for gracefulShutdownTimeoutSeconds, also used for values below 1."""

IMAGE_PAUSE: Final = 10
"""vm-import-controller's default for uploadImageRetryDelay."""
_ADDRESSES: Final = {
    str(SourceKind.VMWARE): ("endpoint", "https://HOST/sdk"),
    str(SourceKind.OPENSTACK): ("endpoint", "https://HOST:5000/v3"),
    str(SourceKind.OVA): ("url", "https://HOST/PATH/MACHINE.ova"),
}
"""The field with a source's address, and what to write there."""
_INTERFACES: Final = ("public", "internal", "admin")


class Invalid(Exception):  # noqa: N818 - a verdict about a request
    """Every reason why an import cannot run as it is written."""

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__(" | ".join(reasons))


def plan(import_: VirtualMachineImport, source: Source, settings: Settings) -> Plan:
    """Resolve an import and its source into a request.

    Raises:
        Invalid: with every reason.
    """
    reasons = [*import_reasons(import_), *source_reasons(source)]
    if reasons:
        raise Invalid(reasons)
    spec, metadata = import_.spec, import_.metadata
    grace = spec.graceful_shutdown_timeout_seconds or 0
    return Plan(
        run=run_name(metadata.name, metadata.uid, metadata.generation),
        import_=ImportRef(name=metadata.name, namespace=metadata.namespace, uid=metadata.uid),
        source=source_plan(source),
        vm=spec.virtual_machine_name,
        folder=spec.folder,
        power=PowerPlan(
            force=bool(spec.force_power_off), grace_seconds=grace if grace > 0 else GRACE_SECONDS
        ),
        skip_preflight_checks=bool(spec.skip_preflight_checks),
        target=target_plan(import_, settings),
        approvals=spec.approvals,
        scratch=settings.scratch,
    )


def source_plan(source: Source) -> SourcePlan:
    """How to reach a source."""
    return SourcePlan(
        kind=SourceKind(source.kind),
        name=source.metadata.name,
        namespace=source.metadata.namespace,
        endpoint=endpoint(source),
        insecure_skip_tls_verify=source.spec.insecure_skip_tls_verify,
        **_of_kind(source),
    )


def endpoint(source: Source) -> str:
    """The address to which the credentials for a source are sent."""
    return source.spec.endpoint if isinstance(source, VmwareSource | OpenstackSource) else source.spec.url


def _of_kind(source: Source) -> dict[str, Any]:
    """Fields of this kind of source. Numbers below 1 mean the default, as in vm-import-controller."""
    if isinstance(source, VmwareSource):
        return {"datacenter": source.spec.dc, "thumbprint": source.spec.thumbprint}
    if isinstance(source, OpenstackSource):
        looks, pause = source.spec.upload_image_retry_count, source.spec.upload_image_retry_delay
        return {
            "region": source.spec.region,
            "interface": source.spec.interface or "public",
            "image_looks": looks if looks > 0 else None,
            "image_pause": pause if pause > 0 else IMAGE_PAUSE,
        }
    seconds = source.spec.http_timeout_seconds or 0
    return {"download_seconds": seconds if seconds > 0 else None}


def target_plan(import_: VirtualMachineImport, settings: Settings) -> TargetPlan:
    """What to create at the target."""
    spec, namespace = import_.spec, import_.metadata.namespace
    return TargetPlan(
        kind=settings.target,
        namespace=namespace,
        vm_name=spec.target_virtual_machine_name,
        format=settings.format,
        storage_class=spec.storage_class,
        default_bus=Bus(spec.default_disk_bus_type or Bus.VIRTIO),
        default_model=spec.default_network_interface_model or InterfaceModel.VIRTIO,
        networks=tuple(_rule(row, namespace) for row in spec.network_mapping),
        network_policy=settings.network_policy,
        name_policy=settings.name_policy,
        spelling=Spelling.LETTERS,
        cpu_topology=settings.cpu_topology,
        vcpus=spec.cpus,
        memory_mib=mebibytes(spec.memory) if spec.memory else None,
        start=spec.start_virtual_machine is not False,
        disks=tuple(_disk_rule(row) for row in spec.disk_mapping),
        reuse_unstamped=settings.reuse_unstamped,
    )


def import_reasons(import_: VirtualMachineImport) -> Iterator[str]:
    """What is wrong with an import, independent of its source."""
    spec = import_.spec
    if not spec.virtual_machine_name:
        yield "spec.virtualMachineName is empty: write the name of the VM to import"
    if spec.source_cluster.api_version not in ("", API_VERSION):
        yield f"spec.sourceCluster.apiVersion {spec.source_cluster.api_version!r} is not {API_VERSION}"
    wanted = spec.target_virtual_machine_name
    if wanted and not DNS_LABEL.fullmatch(wanted):
        yield (
            f"spec.targetVirtualMachineName {wanted!r} is not RFC 1123 compliant: lower-case letters, digits "
            "and '-', at most 63"
        )
    counted = Counter(row.source_network for row in spec.network_mapping)
    for name, count in counted.items():
        if count > 1:
            yield f"source network {name!r} appears {count} times in spec.networkMapping; keep one row"
    for row in spec.network_mapping:
        yield from _row_reasons(row)
    for disk in spec.disk_mapping:
        yield from _disk_reasons(disk)
    yield from _size_reasons(spec.cpus, spec.memory)


def _row_reasons(row: NetworkMapping) -> Iterator[str]:
    parts = row.destination_network.split("/")
    if len(parts) > 2 or not all(parts):
        yield (
            f"invalid destination network {row.destination_network!r} for {row.source_network!r}; "
            "write NAME or NAMESPACE/NAME of a NetworkAttachmentDefinition"
        )
    if not row.source_network:
        yield f"a row of spec.networkMapping to {row.destination_network!r} has no sourceNetwork"


def _disk_reasons(row: DiskMapping) -> Iterator[str]:
    if not row.source_disk:
        yield "a row of spec.diskMapping has no sourceDisk: write the disk's id (disk-0), label or key"
    if row.bus_type and row.bus_type not in list(Bus):
        yield (
            f"spec.diskMapping: busType {row.bus_type!r} of {row.source_disk!r} is not one of "
            f"{', '.join(Bus)}"
        )


def _size_reasons(cpus: int | None, memory: str) -> Iterator[str]:
    if cpus is not None and cpus < 1:
        yield f"spec.cpus is {cpus}: write 1 or more, or omit it to keep the number at the source"
    if memory and mebibytes(memory) is None:
        yield f"spec.memory {memory!r} is not a whole number of MiB: write a quantity such as 8Gi or 512Mi"


def source_reasons(source: Source) -> Iterator[str]:
    """What is wrong with a source as written."""
    if not endpoint(source):
        field, example = _ADDRESSES[source.kind]
        yield f"{source.kind} {source.metadata.name} has no spec.{field}; write {example}"
    if isinstance(source, OpenstackSource) and source.spec.interface not in ("", *_INTERFACES):
        yield f"spec.interface {source.spec.interface!r} is not one of {', '.join(_INTERFACES)}"


def _disk_rule(row: DiskMapping) -> DiskRule:
    bus = Bus(row.bus_type) if row.bus_type else None
    return DiskRule(disk=row.source_disk, storage_class=row.storage_class, bus=bus)


def _rule(row: NetworkMapping, namespace: str) -> NetworkRule:
    destination = row.destination_network
    return NetworkRule(
        source=row.source_network,
        destination=destination if "/" in destination else f"{namespace}/{destination}",
        model=row.network_interface_model,
        mac=row.mac or MacPolicy.KEEP,
    )


def run_name(name: str, uid: str, generation: int) -> str:
    """`vmi-<stem>-<hash of the uid>-g<generation>`: the same for the same import, short enough for claims."""
    stem = normalise(name)[:32].strip("-")
    return f"vmi-{stem}-{hashlib.sha256(uid.encode()).hexdigest()[:8]}-g{generation}"
