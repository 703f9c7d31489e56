"""Makes the plan of an import, or lists every reason why it cannot run. Pure."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import urlsplit

from steps.model import inventory_path
from steps.model.kinds import API_VERSION
from steps.model.naming import DNS_LABEL, normalise, shown
from steps.model.plan import (
    Adapt,
    AgentPlan,
    Attachment,
    Bus,
    CpuTopology,
    DiskForm,
    DiskFormat,
    DiskRule,
    DiskWay,
    GuestPlan,
    ImportRef,
    InterfaceModel,
    MacPolicy,
    NetworkRule,
    OnFailure,
    Plan,
    PowerPlan,
    SourcePlan,
    Spelling,
    TargetKind,
    TargetPlan,
    WhenNotAdaptable,
)
from steps.model.source_mark import LONGEST_SUFFIX, LONGEST_TAG, SourceMark
from steps.model.sources import SourceKind
from workflows import boot_checks, hooks, import_mapping, profiles, texts, vm_settings, ways
from workflows.api.guest import GuestSettings, WantedAgent
from workflows.api.mapping import ImportMapping
from workflows.api.resources import VirtualMachineImport
from workflows.api.sources import Source
from workflows.api.spec import (
    DiskMapping,
    MappingReference,
    NetworkMapping,
    NetworkType,
    SourceReference,
    VirtualMachineImportSpec,
)
from workflows.quantity import mebibytes
from workflows.settings import Settings

GRACE_SECONDS: Final = 60
"""vm-import-controller's default for gracefulShutdownTimeoutSeconds, also used for values below 1."""
_NOT_IN_MARKS: Final = frozenset("/,%\\")
"""Characters that a source refuses in a name or a tag: vSphere escapes them in names, and Nova refuses two of
them in tags (nova/api/openstack/compute/server_tags.py)."""
_DEVICE: Final = re.compile(r"/dev/[A-Za-z0-9._/+-]{1,120}")
MOST_NETWORKS: Final = 64
MOST_DISKS: Final = 256
"""Rows of a mapping. A VM of vSphere has at most 10 NICs and 256 disks."""


class Invalid(Exception):  # noqa: N818 - a verdict about a request
    """Every reason why an import cannot run as it is written."""

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__(" | ".join(reasons))


def plan(
    import_: VirtualMachineImport,
    source: Source,
    settings: Settings,
    mapping: ImportMapping | None = None,
) -> Plan:
    """Resolve an import, its source and its mapping into a request.

    Raises:
        Invalid: with every reason.
    """
    reasons = [
        *import_reasons(import_),
        *mark_reasons(import_.spec, SourceKind(source.kind)),
        *form_reasons(import_.spec, settings, mapping),
        *vm_settings.reasons(import_.spec, settings),
        *guest_reasons(import_.spec, settings),
        *(import_mapping.reasons(mapping) if mapping is not None else ()),
        *source_reasons(source, local_files=settings.local_files),
        *profile_reasons(import_.spec, source, settings),
        *boot_checks.reasons(import_.spec, settings),
        *hooks.reasons(import_.spec, settings),
    ]
    if reasons:
        raise Invalid(reasons)
    spec, metadata = import_.spec, import_.metadata
    grace = spec.graceful_shutdown_timeout_seconds or 0
    profile = profiles.chosen(settings, source, spec.profile)
    values = profiles.find(settings, profile)
    target = target_plan(import_, settings, SourceKind(source.kind), mapping)
    if reasons := list(_late_reasons(spec, settings, target)):
        raise Invalid(reasons)
    vm, folder = inventory_path.of_import(source.kind, spec.virtual_machine_name, spec.folder)
    planned = Plan(
        run=run_name(metadata.name, metadata.uid, metadata.generation),
        import_=ImportRef(
            api_version=import_.api_version,
            name=metadata.name,
            namespace=metadata.namespace,
            uid=metadata.uid,
        ),
        source=source_plan(source).model_copy(
            update={"wait_seconds": settings.source_wait_seconds, "proxy": values.proxy}
        ),
        vm=vm,
        folder=folder,
        power=PowerPlan(
            force=bool(spec.force_power_off),
            force_without_tools=bool(spec.power_off_without_guest_tools),
            grace_seconds=grace if grace > 0 else GRACE_SECONDS,
        ),
        skip_preflight_checks=bool(spec.skip_preflight_checks),
        target=target,
        approvals=spec.approvals,
        on_failure=spec.on_failure or OnFailure.KEEP_OFF,
        mark=source_mark(spec),
        guest=guest_plan(spec, settings, target),
        scratch=values.scratch or settings.scratch,
        profile=profile,
        pods=values.pods,
        limits=settings.limits,
        boot_check=boot_checks.planned(spec, settings),
        hooks=hooks.planned(spec),
    )
    if reasons := list(hooks.stage_reasons(planned, embedded=not settings.mounts_claims)):
        raise Invalid(reasons)
    return planned


def profile_reasons(spec: VirtualMachineImportSpec, source: Source, settings: Settings) -> Iterator[str]:
    """What is wrong with the profile that counts, at the import or at its source."""
    if spec.profile:
        yield from profiles.reasons(settings, "spec.profile", spec.profile)
    else:
        yield from source_profile_reasons(source, settings)


def source_profile_reasons(source: Source, settings: Settings) -> Iterator[str]:
    """What is wrong with the profile that a source names."""
    yield from profiles.reasons(settings, f"spec.profile of {source.kind}", source.spec.profile)


def source_plan(source: Source) -> SourcePlan:
    """How to reach a source."""
    return SourcePlan(
        kind=SourceKind(source.kind),
        name=source.metadata.name,
        namespace=source.metadata.namespace,
        endpoint=source.spec.address,
        insecure_skip_tls_verify=source.spec.insecure_skip_tls_verify,
        **source.spec.plan_fields(),
    )


def target_plan(
    import_: VirtualMachineImport,
    settings: Settings,
    source: SourceKind,
    mapping: ImportMapping | None = None,
) -> TargetPlan:
    """What to create at the target."""
    spec, own = import_.spec, import_.metadata.namespace
    namespace = vm_settings.namespace_of(spec, own)
    kubevirt = settings.target is TargetKind.KUBEVIRT
    shared = import_mapping.storage_classes(mapping.spec) if mapping is not None else ()
    classes = (spec.storage_class, *(row.storage_class for row in spec.disk_mapping), *shared)
    plain = any(row.as_ is DiskForm.VOLUME for row in spec.disk_mapping)
    chosen = ways.choose(settings, source, classes, plain=plain)
    lands = chosen.way is DiskWay.LAND
    target = TargetPlan(
        kind=settings.target,
        namespace=namespace,
        needs_grant=settings.mounts_claims and namespace != own,
        vm_name=spec.target_virtual_machine_name,
        # CDI downloads every zero of a raw disk. A volume holds a raw disk.
        format=(DiskFormat.RAW if lands else DiskFormat.QCOW2) if kubevirt else settings.format,
        way=chosen.way,
        way_reason=chosen.why,
        storage_class=spec.storage_class,
        default_bus=Bus(spec.default_disk_bus_type or Bus.VIRTIO),
        default_model=spec.default_network_interface_model or InterfaceModel.VIRTIO,
        networks=tuple(_rule(row, namespace) for row in spec.network_mapping),
        network_policy=settings.network_policy,
        name_policy=settings.name_policy,
        spelling=Spelling.LETTERS,
        cpu_topology=CpuTopology.SOURCE if kubevirt else settings.cpu_topology,
        vcpus=spec.cpus,
        memory_mib=mebibytes(spec.memory) if spec.memory else None,
        start=vm_settings.is_started(spec),
        disks=tuple(_disk_rule(row, has_mapping=mapping is not None) for row in spec.disk_mapping),
        reuse_unstamped=settings.reuse_unstamped,
        vm_labels=spec.virtual_machine.labels if spec.virtual_machine else {},
        vm_annotations=spec.virtual_machine.annotations if spec.virtual_machine else {},
        settings=vm_settings.of_import(spec, settings),
    )
    return import_mapping.extended(target, mapping) if mapping is not None else target


def import_reasons(import_: VirtualMachineImport) -> Iterator[str]:
    """What is wrong with an import, independent of its source."""
    spec = import_.spec
    if long := [*texts.too_long(spec), *_row_counts(spec)]:
        yield from long
        return  # the other messages quote these texts
    if not spec.virtual_machine_name:
        yield "spec.virtualMachineName is empty: write the name of the VM to import"
    yield from _path_reasons(spec)
    if spec.source_cluster.api_version not in ("", API_VERSION):
        yield f"spec.sourceCluster.apiVersion {spec.source_cluster.api_version!r} is not {API_VERSION}"
    yield from reference_reasons(spec.source_cluster)
    yield from mapping_reasons(spec.import_mapping)
    yield from texts.bad_name("spec.storageClass", spec.storage_class)
    wanted = spec.target_virtual_machine_name
    if wanted and not DNS_LABEL.fullmatch(wanted):
        yield (
            f"spec.targetVirtualMachineName {wanted!r} is not RFC 1123 compliant: lower-case letters, digits "
            "and '-', at most 63"
        )
    yield from _volume_name_reasons(spec)
    yield from _twice_reasons(spec)
    counted = Counter(row.source_network for row in spec.network_mapping)
    for name, count in counted.items():
        if count > 1:
            yield f"source network {name!r} appears {count} times in spec.networkMapping; keep one row"
    for row in spec.network_mapping:
        yield from _row_reasons(row)
    for disk in spec.disk_mapping:
        yield from _disk_reasons(disk)
    yield from _size_reasons(spec.cpus, spec.memory)


def source_mark(spec: VirtualMachineImportSpec) -> SourceMark:
    """How the VM at the source is marked after a success; nothing by default."""
    wanted = spec.mark_source
    if wanted is None:
        return SourceMark()
    return SourceMark(
        tag=wanted.tag, name_suffix=wanted.name_suffix, disconnect_nics=bool(wanted.disconnect_nics)
    )


def mark_reasons(spec: VirtualMachineImportSpec, kind: SourceKind) -> Iterator[str]:
    """What is wrong with the mark of the VM at the source."""
    wanted = spec.mark_source
    if wanted is None or not any((wanted.tag, wanted.name_suffix, wanted.disconnect_nics)):
        return
    if kind.no_mark:
        yield f"spec.markSource does not work for {kind}: {kind.no_mark}; remove it"
    for name, text, most in (
        ("tag", wanted.tag, LONGEST_TAG),
        ("nameSuffix", wanted.name_suffix, LONGEST_SUFFIX),
    ):
        if len(text) > most:
            yield f"spec.markSource.{name} has {len(text)} characters; write at most {most}"
        elif not text.isprintable() or text != text.strip() or set(text) & _NOT_IN_MARKS:
            listed = " ".join(sorted(_NOT_IN_MARKS))
            yield (
                f"spec.markSource.{name} {shown(text)} cannot be used: write it without {listed}, without "
                "control characters, and without spaces at its ends"
            )
    if wanted.tag in (".", ".."):
        yield f"spec.markSource.tag {shown(wanted.tag)} cannot be used: in an address it means a folder"


def form_reasons(
    spec: VirtualMachineImportSpec, settings: Settings, mapping: ImportMapping | None = None
) -> Iterator[str]:
    """What is wrong with the forms of disks, at the target and with the settings of the installation."""
    images = [row for row in spec.disk_mapping if row.as_ is DiskForm.IMAGE]
    plain = [row for row in spec.disk_mapping if row.as_ is DiskForm.VOLUME]
    yield from _mode_reasons(spec, settings)
    if images and settings.target is TargetKind.KUBEVIRT:
        yield (
            f"spec.diskMapping has `as: image` for {_quoted(images)}, but the target kubevirt has no images; "
            "remove `as`"
        )
    if not plain or settings.target is not TargetKind.HARVESTER:
        return
    if not settings.allow_volumes:
        yield (
            f"spec.diskMapping has `as: volume` for {_quoted(plain)}, which this installation does not "
            "allow; remove it, or ask its administrator to set the chart's value harvester.allowVolumes"
        )
    shared = import_mapping.storage_classes(mapping.spec) if mapping is not None else ()
    for row in plain:
        named = row.storage_class or spec.storage_class
        for name in (named,) if named else shared:
            if name in settings.pull_classes:
                yield (
                    f"spec.diskMapping has `as: volume` for {row.source_disk!r}, but volumes of storage "
                    f"class {name} cannot be given to another namespace (setting kubevirt.pullClasses); "
                    f"{'use another class' if named else 'write another storageClass into the row'}"
                )


def guest_reasons(spec: VirtualMachineImportSpec, settings: Settings) -> Iterator[str]:
    """What is asked for about the guest, and cannot be done here."""
    wanted = spec.guest
    if wanted is None:
        return
    adapts = wanted.adapt not in (None, Adapt.NEVER)
    if settings.mounts_claims and adapts:
        yield (
            f"spec.guest.adapt is {wanted.adapt}, but in a cluster vmferry cannot adapt guests yet; remove "
            "it, or import with `vmferry run`"
        )
    elif settings.mounts_claims and wanted.inspect and not settings.guest:
        yield (
            "spec.guest.inspect is true, but this installation has no image for it; remove it, or ask its "
            "administrator to set the chart's value guest.enabled"
        )
    if settings.mounts_claims and not adapts and wanted.keys is not None:
        yield (
            "spec.guest.keys is set, but in a cluster vmferry cannot open encrypted devices yet; remove it, "
            "or import with `vmferry run`"
        )
    if adapts and wanted.inspect is False:
        yield (
            f"spec.guest.inspect is false, but spec.guest.adapt is {wanted.adapt}, which needs an "
            "inspection; remove spec.guest.inspect"
        )
    yield from _unused_guest_fields(wanted, adapts=adapts)
    for name, reference in (("keys", wanted.keys), ("firstBoot", wanted.first_boot)):
        if reference is not None:
            yield from texts.bad_name(f"spec.guest.{name}.name", reference.name)
            if not reference.name:
                yield f"spec.guest.{name}.name is empty: write the name of the object"
    if wanted.root and not _DEVICE.fullmatch(wanted.root):
        yield (
            f"spec.guest.root {shown(wanted.root)} is not a device: write it as `vmferry inspect` names it, "
            "such as /dev/sda2"
        )


def _unused_guest_fields(wanted: GuestSettings, *, adapts: bool) -> Iterator[str]:
    """Fields without effect: a person who writes one expects an effect."""
    fields: dict[str, object] = {
        "firstBoot": wanted.first_boot,
        "agent": wanted.agent,
        "whenNotAdaptable": wanted.when_not_adaptable,
    }
    for name, value in fields.items():
        if value is not None and not adapts:
            yield f"spec.guest.{name} has no effect without spec.guest.adapt: auto or always; remove it"


def _late_reasons(spec: VirtualMachineImportSpec, settings: Settings, target: TargetPlan) -> Iterator[str]:
    """What is wrong, and is known only with the way of the disks."""
    is_inspected = spec.guest is not None and spec.guest.inspect
    if is_inspected and target.way is not DiskWay.PULL and target.namespace == settings.release:
        yield (
            f"spec.guest.inspect is true, but {_IN_RELEASE}; remove it, or import the VM into another "
            "namespace"
        )
    yield from _unused_without_inspection(spec, settings, target)


def _unused_without_inspection(
    spec: VirtualMachineImportSpec, settings: Settings, target: TargetPlan
) -> Iterator[str]:
    """The same for fields of an inspection, which is the default in some imports."""
    wanted, planned = spec.guest or GuestSettings(), guest_plan(spec, settings, target)
    if planned.inspect:
        return
    why = f" is set, but the disks are not inspected: {planned.why}; remove it" if planned.why else ""
    for name, value in (("root", wanted.root), ("keys", wanted.keys)):
        if value:
            yield f"spec.guest.{name}{why or ' has no effect without spec.guest.inspect or adapt; remove it'}"


_IN_RELEASE: Final = (
    "the VM goes to the namespace of vmferry itself, where its volumes have names of their own"
)


def guest_plan(spec: VirtualMachineImportSpec, settings: Settings, target: TargetPlan) -> GuestPlan:
    """What happens with the guest's system. Disks that land are looked into unless the import says no."""
    wanted = spec.guest or GuestSettings()
    given = {"root": wanted.root, "has_keys": wanted.keys is not None}
    if wanted.adapt not in (None, Adapt.NEVER):
        return _adapted(wanted, settings)
    if wanted.inspect is not None:
        return GuestPlan(inspect=wanted.inspect, **given)
    if target.way is not DiskWay.LAND:
        return GuestPlan()
    if not settings.guest:
        return GuestPlan(why="this installation has no image for it (the chart's value guest.enabled)")
    if target.namespace == settings.release:
        return GuestPlan(why=_IN_RELEASE)
    why = "the disks land on their volumes; spec.guest.inspect: false omits it"
    return GuestPlan(inspect=True, optional=True, why=why, **given)


def _adapted(wanted: GuestSettings, settings: Settings) -> GuestPlan:
    adapt = wanted.adapt or Adapt.NEVER
    default = WhenNotAdaptable.FAIL if adapt is Adapt.ALWAYS else WhenNotAdaptable.CONTINUE
    agents = {WantedAgent.FIRST_BOOT: AgentPlan.FIRST_BOOT, WantedAgent.NONE: AgentPlan.NONE}
    return GuestPlan(
        inspect=True,
        adapt=adapt,
        root=wanted.root,
        when_not_adaptable=wanted.when_not_adaptable or default,
        agent=agents[wanted.agent] if wanted.agent is not None else AgentPlan.IF_CONVERTED,
        has_keys=wanted.keys is not None,
        has_scripts=wanted.first_boot is not None,
        virtio_win=settings.virtio_win,
    )


def _mode_reasons(spec: VirtualMachineImportSpec, settings: Settings) -> Iterator[str]:
    """An image of Harvester has the modes of its own volume."""
    if settings.target is not TargetKind.HARVESTER:
        return
    moded = [row for row in spec.disk_mapping if row.access_mode or row.volume_mode]
    if images := [row for row in moded if row.as_ is not DiskForm.VOLUME]:
        yield (
            f"spec.diskMapping has accessMode or volumeMode for {_quoted(images)}, whose volume has "
            "the modes of an image of Harvester; remove them, or write `as: volume`"
        )


def _quoted(rows: Iterable[DiskMapping]) -> str:
    return ", ".join(repr(row.source_disk) for row in rows)


def reference_reasons(reference: SourceReference) -> Iterator[str]:
    """What is wrong with the words of a reference to a source."""
    yield from texts.bad_name("spec.sourceCluster.name", reference.name)
    yield from texts.bad_namespace("spec.sourceCluster.namespace", reference.namespace)


def mapping_reasons(reference: MappingReference | None) -> Iterator[str]:
    """What is wrong with the words of a reference to an ImportMapping."""
    if reference is None:
        return
    if not reference.name:
        yield "spec.importMapping.name is empty: write the name of an ImportMapping, or remove importMapping"
    yield from texts.bad_name("spec.importMapping.name", reference.name)
    yield from texts.bad_namespace("spec.importMapping.namespace", reference.namespace)


def _row_counts(spec: VirtualMachineImportSpec) -> Iterator[str]:
    """Each row costs a request at every reconcile."""
    for name, rows, most in (
        ("networkMapping", len(spec.network_mapping), MOST_NETWORKS),
        ("diskMapping", len(spec.disk_mapping), MOST_DISKS),
    ):
        if rows > most:
            yield f"spec.{name} has {rows} rows; write at most {most}"


def _volume_name_reasons(spec: VirtualMachineImportSpec) -> Iterator[str]:
    for name, count in Counter(row.name for row in spec.disk_mapping if row.name).items():
        if count > 1:
            yield f"spec.diskMapping has the name {shown(name)} {count} times; a volume is for one disk"


def _twice_reasons(spec: VirtualMachineImportSpec) -> Iterator[str]:
    for name, count in Counter(row.source_disk for row in spec.disk_mapping if row.source_disk).items():
        if count > 1:
            yield f"spec.diskMapping has {count} rows for the disk {shown(name)}; keep one row"
    for gate, count in Counter(spec.approvals).items():
        if count > 1:
            yield f"spec.approvals names {gate} {count} times; write it once"


def _row_reasons(row: NetworkMapping) -> Iterator[str]:
    if row.type is NetworkType.IGNORED and row.mac is not None:
        yield (
            f"the row of spec.networkMapping for {row.source_network!r} has the type ignored, so mac has no "
            "effect; remove it"
        )
    if import_mapping.attachment(row.type) is not Attachment.NETWORK:
        if row.destination_network:
            yield (
                f"the row of spec.networkMapping for {row.source_network!r} has the type {row.type} and "
                f"destinationNetwork {row.destination_network!r}: remove one of the two"
            )
        if not row.source_network:
            yield f"a row of spec.networkMapping with the type {row.type} has no sourceNetwork"
        return
    parts = row.destination_network.split("/")
    if len(parts) > 2 or not all(parts):
        yield (
            f"invalid destination network {row.destination_network!r} for {row.source_network!r}; "
            "write NAME or NAMESPACE/NAME of a NetworkAttachmentDefinition"
        )
    if not row.source_network:
        yield f"a row of spec.networkMapping to {row.destination_network!r} has no sourceNetwork"
    path = "destinationNetwork in spec.networkMapping: namespace" if len(parts) == 2 else ""
    yield from texts.bad_name("destinationNetwork in spec.networkMapping: name", parts[-1])
    if path:
        yield from texts.bad_namespace(path, parts[0])


def _disk_reasons(row: DiskMapping) -> Iterator[str]:
    if not row.source_disk:
        yield "a row of spec.diskMapping has no sourceDisk: write the disk's id (disk-0), label or key"
    yield from texts.bad_name("storageClass in spec.diskMapping", row.storage_class)
    if row.bus_type and row.bus_type not in list(Bus):
        yield (
            f"spec.diskMapping: busType {row.bus_type!r} of {row.source_disk!r} is not one of "
            f"{', '.join(Bus)}"
        )
    if row.name and not DNS_LABEL.fullmatch(row.name):
        yield (
            f"spec.diskMapping: the name {shown(row.name)} of {row.source_disk!r} is not valid: use at most "
            "63 lower-case letters, digits and '-'"
        )
    fields = ("storageClass", "busType", "as", "name", "accessMode", "volumeMode")
    given = [name for name in fields if _has(row, name)]
    if row.skip and given:
        yield (
            f"spec.diskMapping has `skip: true` for {row.source_disk!r}, so {', '.join(given)} of that row "
            "has no effect; remove one of the two"
        )


def _has(row: DiskMapping, name: str) -> bool:
    return bool(row.model_dump(by_alias=True).get(name))


def _path_reasons(spec: VirtualMachineImportSpec) -> Iterator[str]:
    try:
        inventory_path.of_import(spec.source_cluster.kind, spec.virtual_machine_name, spec.folder)
    except ValueError as error:
        yield (
            f"spec.virtualMachineName and spec.folder contradict each other: {error}; "
            "remove spec.folder, because the path names the folder"
        )


def _size_reasons(cpus: int | None, memory: str) -> Iterator[str]:
    if cpus is not None and cpus < 1:
        yield f"spec.cpus is {cpus}: write 1 or more, or omit it to keep the number at the source"
    if memory and mebibytes(memory) is None:
        yield f"spec.memory {memory!r} is not a whole number of MiB: write a quantity such as 8Gi or 512Mi"


def source_reasons(source: Source, *, local_files: bool = False) -> Iterator[str]:
    """What is wrong with a source as written. `local_files`: whether its address may be a file."""
    spec = source.spec
    if long := list(texts.too_long(spec)):
        yield from long
        return
    if spec.credentials is not None:
        yield from texts.bad_name("spec.credentials.name", spec.credentials.name)
        yield from texts.bad_namespace("spec.credentials.namespace", spec.credentials.namespace)
    for path, address in spec.addresses.items():
        yield from _address_reasons(source, path, address, local_files=local_files)
    yield from spec.reasons()


def _address_reasons(source: Source, path: str, address: str, *, local_files: bool) -> Iterator[str]:
    spec = source.spec
    if not address:
        yield f"{source.kind} {source.metadata.name} has no {path}; write {spec.EXAMPLE}"
    elif not _is_address(address):
        yield f"{path} {shown(address)} is not an address; write {spec.EXAMPLE}"
    elif not local_files and urlsplit(address).scheme not in ("http", "https"):
        yield (
            f"{path} {shown(address)} is not an http or https URL; write {spec.EXAMPLE} "
            "(in a cluster no local file is read: serve the file over HTTP)"
        )


def _is_address(text: str) -> bool:
    """Whether the host and the port of a URL can be read."""
    try:
        return urlsplit(text).port != 0
    except ValueError:
        return False


def _disk_rule(row: DiskMapping, *, has_mapping: bool) -> DiskRule:
    """A row with an empty class as text decides for the default class, if there is anything to decide."""
    return DiskRule(
        disk=row.source_disk,
        storage_class=row.storage_class,
        decides_storage=has_mapping and "storage_class" in row.model_fields_set,
        volume_mode=row.volume_mode or "",
        access_mode=row.access_mode or "",
        bus=Bus(row.bus_type) if row.bus_type else None,
        form=row.as_,
        skip=bool(row.skip),
        name=row.name or "",
    )


def _rule(row: NetworkMapping, namespace: str) -> NetworkRule:
    destination = row.destination_network
    return NetworkRule(
        source=row.source_network,
        destination=f"{namespace}/{destination}" if destination and "/" not in destination else destination,
        attachment=import_mapping.attachment(row.type),
        model=row.network_interface_model,
        mac=row.mac or MacPolicy.KEEP,
    )


def run_name(name: str, uid: str, generation: int) -> str:
    """`vmi-<stem>-<hash of the uid>-g<generation>`: the same for the same import, short enough for claims."""
    stem = normalise(name)[:32].strip("-")
    return f"vmi-{stem}-{hashlib.sha256(uid.encode()).hexdigest()[:8]}-g{generation}"
