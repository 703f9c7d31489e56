"""The resources of `v2v.kubevirt.io/v1beta1`, as manifests hold them.

Field by field after kubevirt/vm-import-operator (pkg/apis/v2v/v1beta1). Nothing is required here, so that a
spec of any shape can be read; `REQUIRED` marks what the schema requires. `workflows.v2v` checks the rest.

`target` of a row is an object with a name. The design document of vm-import-operator also writes a plain
name, so both are accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from workflows.api.base import Flag, Model, none_to_list, rules
from workflows.api.resources import Metadata
from workflows.api.spec import (
    DNS_LABEL_OR_EMPTY,
    LONGEST_LABEL,
    LONGEST_OBJECT,
    OBJECT_NAME,
    SCHEMA_ROWS,
    Text,
)
from workflows.api.status import Reported

REQUIRED: Final[dict[str, Any]] = {"x-required": True}
"""For `workflows.api.crd_v2v`: the schema requires the field."""
ANY: Final[dict[str, Any]] = {"x-any": True}
"""For `workflows.api.crd_v2v`: an object or a text."""
ACCESS_MODES: Final = ("ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany", "ReadWriteOncePod")
LONGEST_NAME: Final = 63
_ROWS: Final[dict[str, Any]] = {"maxItems": SCHEMA_ROWS}
"""More than any import has: the rules of the rows need a bound."""


def _one_of(name: str, *texts: str) -> dict[str, Any]:
    """A rule for a text that is one of these, or empty. An enum would refuse the empty text."""
    listed = ", ".join(f"'{text}'" for text in ("", *texts))
    return rules((f"self in [{listed}]", f"{name} must be {', '.join(texts)}, or left out"))


def _named(value: Any) -> Any:
    """A plain name as an object with that name."""
    return {"name": value} if isinstance(value, str) else value


def _none_to_empty(value: Any) -> Any:
    return {} if value is None else value


class ObjectReference(Model):
    """An object by its name."""

    model_config = ConfigDict(
        json_schema_extra=rules(("self.name != ''", "name is empty: write the name of the object"))
    )

    name: Text = Field(
        default="",
        description="The name of the object.",
        json_schema_extra={**REQUIRED, "maxLength": LONGEST_OBJECT, **OBJECT_NAME},
    )
    namespace: Text = Field(
        default="",
        description="The namespace of the object. The default is that of the import.",
        json_schema_extra={"maxLength": LONGEST_LABEL, **DNS_LABEL_OR_EMPTY},
    )


class Source(Model):
    """A network, a storage or a disk at the source."""

    id: Text = Field(default="", description="Its ID at the source, required if `name` is not set.")
    name: Text = Field(default="", description="Its name at the source, required if `id` is not set.")


class Target(Model):
    """What it becomes."""

    name: Text = ""
    namespace: Text = ""


_SOURCE: Final = "The network, storage or disk at the source, by its ID, its name or both."
_TARGET: Final = (
    "A NetworkAttachmentDefinition (name and namespace) or a storage class (name), or only its name as a "
    "text. The default is the network of the pods, or the default class of the cluster."
)


class NetworkItem(Model):
    """The network for the NICs of a network at the source."""

    source: Annotated[Source, BeforeValidator(_none_to_empty)] = Field(
        default=Source(), description=_SOURCE, json_schema_extra=REQUIRED
    )
    target: Annotated[Target | None, BeforeValidator(_named)] = Field(
        default=None, description=_TARGET, json_schema_extra=ANY
    )
    type: Text = Field(
        default="",
        description="The kind of network: pod or multus. The default is pod if the target has no namespace, "
        "else multus.",
        json_schema_extra=_one_of("type", "pod", "multus"),
    )


class StorageItem(NetworkItem):
    """The storage class of a disk, or of the disks of a storage at the source."""

    type: Text = Field(
        default="", description="Accepted for compatibility with vm-import-operator, and ignored."
    )
    volume_mode: Text = Field(
        default="",
        description="The volume mode: Filesystem or Block. The default is that of the storage class.",
        json_schema_extra=_one_of("volumeMode", "Filesystem", "Block"),
    )
    access_mode: Text = Field(
        default="",
        description="The access mode, such as ReadWriteOnce or ReadWriteMany. The default is that of the "
        "storage class.",
        json_schema_extra=_one_of("accessMode", *ACCESS_MODES),
    )


Networks = Annotated[tuple[NetworkItem, ...], BeforeValidator(none_to_list)]
Storages = Annotated[tuple[StorageItem, ...], BeforeValidator(none_to_list)]


class MappingLists(Model):
    """Rows for networks, storages and disks."""

    network_mappings: Networks = Field(
        default=(),
        description="To which network each NIC is attached. The default is no row.",
        json_schema_extra=_ROWS,
    )
    storage_mappings: Storages = Field(
        default=(),
        description="Storage classes by storage domain (oVirt) or datastore (VMware). The default is no row.",
        json_schema_extra=_ROWS,
    )
    disk_mappings: Storages = Field(
        default=(),
        description="Storage classes of single disks, which have precedence. The default is no row.",
        json_schema_extra=_ROWS,
    )


class Cluster(Model):
    """A cluster of oVirt."""

    id: Text = Field(default="", description="The ID of the cluster. The default is any.")
    name: Text = Field(default="", description="The name of the cluster. The default is any.")


class VmwareVm(Model):
    """A VM of vSphere."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(has(self.id) && self.id != '') || (has(self.name) && self.name != '')",
                "the VM has neither id nor name: write one of them",
            )
        )
    )

    id: Text = Field(
        default="",
        description="The BIOS UUID, the instance UUID or the managed object ID of the VM, required if `name` "
        "is not set.",
    )
    name: Text = Field(
        default="",
        description="The name of the VM, or its inventory path, required if `id` is not set.",
    )


class OvirtVm(VmwareVm):
    """A VM of oVirt."""

    id: Text = Field(default="", description="The ID of the VM, required if `name` is not set.")
    name: Text = Field(default="", description="The name of the VM, required if `id` is not set.")
    cluster: Annotated[Cluster, BeforeValidator(_none_to_empty)] = Field(
        default=Cluster(),
        description="The cluster of the VM, if several have a VM of that name. The default is any.",
    )


class OvirtSource(Model):
    """A VM of an oVirt engine, and its mapping."""

    vm: Annotated[OvirtVm, BeforeValidator(_none_to_empty)] = Field(
        default=OvirtVm(), description="The VM, by its ID or by its name.", json_schema_extra=REQUIRED
    )
    mappings: Annotated[MappingLists, BeforeValidator(_none_to_empty)] = Field(
        default=MappingLists(),
        description="Rows that have precedence over those of spec.resourceMapping. The default is none.",
    )


class VmwareSource(Model):
    """A VM of a vCenter or ESXi host, and its mapping."""

    vm: Annotated[VmwareVm, BeforeValidator(_none_to_empty)] = Field(
        default=VmwareVm(), description="The VM, by its ID or by its name.", json_schema_extra=REQUIRED
    )
    mappings: Annotated[MappingLists, BeforeValidator(_none_to_empty)] = Field(
        default=MappingLists(),
        description="Rows that have precedence over those of spec.resourceMapping. The default is none.",
    )


class ImportSource(Model):
    """The source: exactly one of its fields is set."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.ovirt) != has(self.vmware)", "source must have exactly one of ovirt and vmware")
        )
    )

    ovirt: OvirtSource | None = Field(
        default=None, description="A VM of an oVirt engine, required if `vmware` is not set."
    )
    vmware: VmwareSource | None = Field(
        default=None, description="A VM of a vCenter or ESXi host, required if `ovirt` is not set."
    )


class V2vImportSpec(Model):
    """Which VM to import, and how to create it."""

    provider_credentials_secret: Annotated[ObjectReference, BeforeValidator(_none_to_empty)] = Field(
        default=ObjectReference(),
        description="The Secret with the key ovirt or vmware: a YAML text with apiUrl, username, password.",
        json_schema_extra=REQUIRED,
    )
    resource_mapping: ObjectReference | None = Field(
        default=None,
        description="The ResourceMapping whose rows the import uses, too. The default is none.",
    )
    source: Annotated[ImportSource, BeforeValidator(_none_to_empty)] = Field(
        default=ImportSource(), description="The VM at its source.", json_schema_extra=REQUIRED
    )
    target_vm_name: Text = Field(
        default="",
        description="The name of the new VM: at most 63 lower-case letters, digits and '-'. The default is "
        "the name at the source, made valid.",
        json_schema_extra={"maxLength": LONGEST_NAME, **DNS_LABEL_OR_EMPTY},
    )
    start_vm: Flag | None = Field(
        default=None, description="Whether the new VM is started at the end. The default is false."
    )
    warm: Flag | None = Field(
        default=None,
        description="Whether the VM is copied while it runs. true is refused: vmferry copies a VM only while "
        "it is off at its source. The default is false.",
    )
    finalize_date: Text = Field(
        default="",
        description="When a warm import ends, as RFC 3339. If it is in the past, warm has no effect. The "
        "default is never.",
        json_schema_extra={"format": "date-time"},
    )


class ResourceMappingSpec(Model):
    """Rows that imports share."""

    ovirt: MappingLists | None = Field(
        default=None, description="Rows for VMs of oVirt. The default is none."
    )
    vmware: MappingLists | None = Field(
        default=None, description="Rows for VMs of vSphere. The default is none."
    )


class V2vImport(Model):
    """One VM to import."""

    api_version: Literal["v2v.kubevirt.io/v1beta1"]
    kind: Literal["VirtualMachineImport"]
    metadata: Metadata
    spec: Annotated[V2vImportSpec, BeforeValidator(_none_to_empty)] = V2vImportSpec()
    status: Any = None


class ResourceMapping(Model):
    """Rows that imports share."""

    api_version: Literal["v2v.kubevirt.io/v1beta1"]
    kind: Literal["ResourceMapping"]
    metadata: Metadata
    spec: Annotated[ResourceMappingSpec, BeforeValidator(_none_to_empty)] = ResourceMappingSpec()
    status: Any = None


class V2vCondition(Reported):
    """One condition. Times are RFC 3339 strings."""

    type: Text = Field(
        default="",
        description="The condition: Valid, MappingRulesVerified, Processing or Succeeded.",
        json_schema_extra=REQUIRED,
    )
    status: Text = Field(
        default="", description="Whether it holds: True, False or Unknown.", json_schema_extra=REQUIRED
    )
    reason: Text = Field(default="", description="The reason of the status, in one word.")
    message: Text = Field(default="", description="The reason of the status, as a text for people.")
    last_heartbeat_time: Text = Field(
        default="",
        description="When the condition was last written, as RFC 3339 in UTC.",
        json_schema_extra={"format": "date-time"},
    )
    last_transition_time: Text = Field(
        default="",
        description="When its status last changed, as RFC 3339 in UTC.",
        json_schema_extra={"format": "date-time"},
    )


class DataVolumeItem(Reported):
    """A DataVolume of the import."""

    name: Text = Field(default="", description="The name of the DataVolume.", json_schema_extra=REQUIRED)


_NEVER: Final = "Accepted for compatibility: vmferry makes no warm imports and never sets it."


class WarmImportStatus(Reported):
    """Of warm imports; never set."""

    next_stage_time: Text = Field(default="", description=_NEVER, json_schema_extra={"format": "date-time"})
    successes: int = Field(default=0, description=_NEVER)
    failures: int = Field(default=0, description=_NEVER)
    consecutive_failures: int = Field(default=0, description=_NEVER)
    root_snapshot: Text = Field(default="", description=_NEVER)


Conditions = Annotated[tuple[V2vCondition, ...], BeforeValidator(none_to_list)]


class V2vStatus(Reported):
    """The status of an import."""

    target_vm_name: Text = Field(default="", description="The name of the new VM.")
    conditions: Conditions = Field(
        default=(), description="The conditions Valid, MappingRulesVerified, Processing and Succeeded."
    )
    data_volumes: Annotated[tuple[DataVolumeItem, ...], BeforeValidator(none_to_list)] = Field(
        default=(), description="The DataVolumes of the disks."
    )
    warm_import: WarmImportStatus | None = Field(
        default=None, description="The state of a warm import, which vmferry never sets."
    )

    def condition(self, kind: str) -> V2vCondition | None:
        """The condition of that type, or None."""
        return next((one for one in self.conditions if one.type == kind), None)

    def to_document(self) -> dict[str, Any]:
        """The status as the API takes it. Empty fields are left out: its schema allows no null."""
        given = self.model_dump(by_alias=True, mode="json", exclude={"warm_import"})
        conditions = [_without_empty(one) for one in given["conditions"]]
        return {**given, "conditions": conditions}


def _without_empty(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value != ""}
