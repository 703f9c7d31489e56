"""The resources of `v2v.kubevirt.io/v1beta1`, as manifests hold them.

Field by field after kubevirt/vm-import-operator (pkg/apis/v2v/v1beta1). Nothing is required here, so that a
spec of any shape can be read; `REQUIRED` marks what the schema requires. `workflows.v2v` checks the rest.

`target` of a row is an object with a name. The design document of vm-import-operator also writes a plain
name, so both are accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from workflows.api.base import Flag, Model, none_to_list
from workflows.api.resources import Metadata
from workflows.api.spec import Text
from workflows.api.status import Reported

REQUIRED: Final[dict[str, Any]] = {"x-required": True}
"""For `workflows.api.crd_v2v`: the schema requires the field."""
ANY: Final[dict[str, Any]] = {"x-any": True}
"""For `workflows.api.crd_v2v`: an object or a text."""
LONGEST_NAME: Final = 63


def _named(value: Any) -> Any:
    """A plain name as an object with that name."""
    return {"name": value} if isinstance(value, str) else value


def _none_to_empty(value: Any) -> Any:
    return {} if value is None else value


class ObjectReference(Model):
    """An object by its name."""

    name: Text = Field(default="", description="its name", json_schema_extra=REQUIRED)
    namespace: Text = Field(default="", description="its namespace; default: that of the import")


class Source(Model):
    """A network, a storage or a disk at the source."""

    id: Text = Field(default="", description="its ID at the source")
    name: Text = Field(default="", description="its name at the source")


class Target(Model):
    """What it becomes."""

    name: Text = ""
    namespace: Text = ""


_SOURCE: Final = "the network, storage or disk at the source, by its ID, its name or both"
_TARGET: Final = (
    "a NetworkAttachmentDefinition (name and namespace) or a storage class (name); or only its name as a text"
)


class NetworkItem(Model):
    """The network for the NICs of a network at the source."""

    source: Annotated[Source, BeforeValidator(_none_to_empty)] = Field(
        default=Source(), description=_SOURCE, json_schema_extra=REQUIRED
    )
    target: Annotated[Target | None, BeforeValidator(_named)] = Field(
        default=None, description=_TARGET, json_schema_extra=ANY
    )
    type: Text = Field(default="", description="pod or multus; default pod, if the target has no namespace")


class StorageItem(NetworkItem):
    """The storage class of a disk, or of the disks of a storage at the source."""

    type: Text = Field(default="", description="ignored")
    volume_mode: Text = Field(default="", description="Filesystem or Block; default: that of the class")
    access_mode: Text = Field(
        default="", description="ReadWriteOnce, ReadWriteMany and so on; default: that of the class"
    )


Networks = Annotated[tuple[NetworkItem, ...], BeforeValidator(none_to_list)]
Storages = Annotated[tuple[StorageItem, ...], BeforeValidator(none_to_list)]


class MappingLists(Model):
    """Rows for networks, storages and disks."""

    network_mappings: Networks = Field(default=(), description="to which network a NIC is attached")
    storage_mappings: Storages = Field(
        default=(), description="storage classes by storage domain (oVirt) or datastore (VMware)"
    )
    disk_mappings: Storages = Field(
        default=(), description="storage classes of single disks; they have precedence"
    )


class Cluster(Model):
    """A cluster of oVirt."""

    id: Text = Field(default="", description="its ID")
    name: Text = Field(default="", description="its name")


class VmwareVm(Model):
    """A VM of vSphere."""

    id: Text = Field(default="", description="its BIOS UUID, instance UUID or managed object ID")
    name: Text = Field(default="", description="its name, or its inventory path")


class OvirtVm(VmwareVm):
    """A VM of oVirt."""

    id: Text = Field(default="", description="its ID")
    name: Text = Field(default="", description="its name")
    cluster: Annotated[Cluster, BeforeValidator(_none_to_empty)] = Field(
        default=Cluster(), description="the cluster of the VM, if several have a VM of that name"
    )


class OvirtSource(Model):
    """A VM of an oVirt engine, and its mapping."""

    vm: Annotated[OvirtVm, BeforeValidator(_none_to_empty)] = Field(
        default=OvirtVm(), description="the VM, by its ID or its name", json_schema_extra=REQUIRED
    )
    mappings: Annotated[MappingLists, BeforeValidator(_none_to_empty)] = Field(
        default=MappingLists(), description="rows that have precedence over those of spec.resourceMapping"
    )


class VmwareSource(Model):
    """A VM of a vCenter or ESXi host, and its mapping."""

    vm: Annotated[VmwareVm, BeforeValidator(_none_to_empty)] = Field(
        default=VmwareVm(), description="the VM, by its ID or its name", json_schema_extra=REQUIRED
    )
    mappings: Annotated[MappingLists, BeforeValidator(_none_to_empty)] = Field(
        default=MappingLists(), description="rows that have precedence over those of spec.resourceMapping"
    )


class ImportSource(Model):
    """The source: exactly one of its fields is set."""

    ovirt: OvirtSource | None = Field(default=None, description="a VM of an oVirt engine")
    vmware: VmwareSource | None = Field(default=None, description="a VM of a vCenter or ESXi host")


class V2vImportSpec(Model):
    """Which VM to import, and how to create it."""

    provider_credentials_secret: Annotated[ObjectReference, BeforeValidator(_none_to_empty)] = Field(
        default=ObjectReference(),
        description="Secret with the key ovirt or vmware: a YAML text with apiUrl, username, password",
        json_schema_extra=REQUIRED,
    )
    resource_mapping: ObjectReference | None = Field(
        default=None, description="the ResourceMapping whose rows the import uses, too"
    )
    source: Annotated[ImportSource, BeforeValidator(_none_to_empty)] = Field(
        default=ImportSource(), description="the VM at its source", json_schema_extra=REQUIRED
    )
    target_vm_name: Text = Field(
        default="",
        description="name of the new VM; default: the name at the source, made valid",
        json_schema_extra={"maxLength": LONGEST_NAME},
    )
    start_vm: Flag | None = Field(
        default=None, description="whether to start the new VM at the end; default false"
    )
    warm: Flag | None = Field(
        default=None, description="refused: vmferry copies a VM only while it is off at its source"
    )
    finalize_date: Text = Field(
        default="",
        description="end of a warm import; if it is in the past, warm has no effect",
        json_schema_extra={"format": "date-time"},
    )


class ResourceMappingSpec(Model):
    """Rows that imports share."""

    ovirt: MappingLists | None = Field(default=None, description="for VMs of oVirt")
    vmware: MappingLists | None = Field(default=None, description="for VMs of vSphere")


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
        description="Valid, MappingRulesVerified, Processing or Succeeded",
        json_schema_extra=REQUIRED,
    )
    status: Text = Field(default="", description="True, False or Unknown", json_schema_extra=REQUIRED)
    reason: Text = Field(default="", description="the reason, in one word")
    message: Text = Field(default="", description="the reason, for people")
    last_heartbeat_time: Text = Field(
        default="",
        description="when the condition was last written",
        json_schema_extra={"format": "date-time"},
    )
    last_transition_time: Text = Field(
        default="", description="when its status last changed", json_schema_extra={"format": "date-time"}
    )


class DataVolumeItem(Reported):
    """A DataVolume of the import."""

    name: Text = Field(default="", description="its name", json_schema_extra=REQUIRED)


class WarmImportStatus(Reported):
    """Of warm imports; never set."""

    next_stage_time: Text = Field(
        default="", description="never set", json_schema_extra={"format": "date-time"}
    )
    successes: int = Field(default=0, description="never set")
    failures: int = Field(default=0, description="never set")
    consecutive_failures: int = Field(default=0, description="never set")
    root_snapshot: Text = Field(default="", description="never set")


Conditions = Annotated[tuple[V2vCondition, ...], BeforeValidator(none_to_list)]


class V2vStatus(Reported):
    """The status of an import."""

    target_vm_name: Text = Field(default="", description="name of the new VM")
    conditions: Conditions = Field(
        default=(), description="Valid, MappingRulesVerified, Processing and Succeeded"
    )
    data_volumes: Annotated[tuple[DataVolumeItem, ...], BeforeValidator(none_to_list)] = Field(
        default=(), description="the DataVolumes of the disks"
    )
    warm_import: WarmImportStatus | None = Field(default=None, description="of warm imports; never set")

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
