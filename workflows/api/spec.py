"""The specs of the custom resources: the fields of vm-import-controller plus additional fields.

Field by field after harvester/vm-import-controller (pkg/apis/migration.harvesterhci.io/v1beta1): everything
is optional and nullable there, so it is here. `workflows.plan` checks which fields an import needs.
The descriptions become those of the CRDs.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, model_validator
from pydantic.alias_generators import to_camel

from steps.model.kinds import API_VERSION, GROUP
from steps.model.plan import ClusterTarget, DiskForm, Gate, InterfaceModel, MacPolicy, OnFailure
from steps.model.sources import SourceKind


class Model(BaseModel):
    """Part of a resource. An unknown field is an error: a cluster would drop it silently."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


def _empty_to_none(value: Any) -> Any:
    return None if value == "" else value


def _none_to_empty(value: Any) -> Any:
    return "" if value is None else value


def none_to_list(value: Any) -> Any:
    """For a list that may be null, which means empty."""
    return [] if value is None else value


Text = Annotated[str, BeforeValidator(_none_to_empty)]
"""A string that may be null, which means empty."""
STRUCT: Final[dict[str, Any]] = {"nullable": False}
"""For `workflows.api.schema`: not a pointer in the Go types of vm-import-controller, so null is refused."""
ANY_TEXT: Final[dict[str, Any]] = {"x-any-text": True}
"""For `workflows.api.schema`: a string whose few valid values are not in vm-import-controller's schema."""

NicChoice = Annotated[InterfaceModel | None, BeforeValidator(_empty_to_none)]
"""An interface model, null, or the empty string, which vm-import-controller's schema also allows."""


class SecretReference(Model):
    """Where the credentials are."""

    name: Text = Field(default="", description="name of the Secret")
    namespace: Text = Field(default="", description="its namespace; default: that of this object")


Flag = Annotated[bool, Strict()]
"""Only true or false: the API server refuses 1 and "yes" too."""


class NetworkType(enum.StrEnum):
    """What the NICs of a row become, in the words of KubeVirt and Forklift."""

    MULTUS = "multus"
    """They are bridged to a NetworkAttachmentDefinition."""
    POD = "pod"
    """They are on the network of the pods."""
    IGNORED = "ignored"
    """The VM does not get them."""


class NetworkMapping(Model):
    """The destination network for the NICs of a network at the source."""

    source_network: Text = Field(default="", description="name or inventory path of the source's network")
    destination_network: Text = Field(
        default="", description="NAME or NAMESPACE/NAME of a NetworkAttachmentDefinition"
    )
    type: Annotated[NetworkType | None, BeforeValidator(_empty_to_none)] = Field(
        default=None,
        description="multus: these NICs are bridged to destinationNetwork; pod: they go to the network of "
        "the pods, which only one NIC of a VM can have; ignored: the VM does not get them; default multus",
    )
    network_interface_model: NicChoice = Field(
        default=None, description="model of these NICs; default: that of the source"
    )
    mac: Annotated[MacPolicy | None, BeforeValidator(_empty_to_none)] = Field(
        default=None,
        description="keep: these NICs keep the MAC addresses of the source; new: the target chooses new "
        "ones; default keep",
    )


class DiskMapping(Model):
    """Settings for one disk."""

    @model_validator(mode="before")
    @classmethod
    def _without_null_class(cls, given: Any) -> Any:
        """The row without a class that is null: an empty text means the default class, null means nothing."""
        if isinstance(given, Mapping) and given.get("storageClass", "") is None:
            return {name: value for name, value in given.items() if name != "storageClass"}
        return given

    source_disk: Text = Field(
        default="", description="the disk: its ID in vmferry (disk-0), or its label or key at the source"
    )
    storage_class: Text = Field(
        default="",
        description="storage class of this disk; default: spec.storageClass, else that of the mapping; with "
        "a mapping, an empty text means the default class of the cluster",
    )
    bus_type: Text = Field(
        default="", description="bus of this disk (virtio, scsi, sata, usb); default: that of the source"
    )
    as_: Annotated[DiskForm | None, BeforeValidator(_empty_to_none)] = Field(
        default=None,
        alias="as",
        description="target harvester: what the disk becomes. image: an image of Harvester, and a volume "
        "over it; volume: a volume of the storage class, on which the disk lands directly; default image",
    )


_IGNORED: Final = "accepted for compatibility; ignored"
_KINDS: Final = " or ".join((", ".join([*SourceKind][:-1]), [*SourceKind][-1]))


class SourceReference(Model):
    """The source of the VM: an ObjectReference of which four fields are used."""

    api_version: Text = Field(default="", description=API_VERSION)
    kind: Text = Field(default="", description=_KINDS)
    name: Text = Field(default="", description="name of the source")
    namespace: Text = Field(default="", description="its namespace; default: that of the import")
    uid: Text = Field(default="", description="accepted for compatibility; ignored", exclude=True)
    resource_version: Text = Field(
        default="", description="accepted for compatibility; ignored", exclude=True
    )
    field_path: Text = Field(default="", description="accepted for compatibility; ignored", exclude=True)


class MappingReference(Model):
    """The ImportMapping whose rows an import uses, too."""

    name: Text = Field(default="", description="name of the ImportMapping")
    namespace: Text = Field(
        default="",
        description="its namespace; default: that of the import; another namespace must allow it with the "
        f"annotation {GROUP}/allowed-namespaces",
    )


class VirtualMachineImportSpec(Model):
    """Which VM to import, and how to create it."""

    source_cluster: SourceReference = Field(default=SourceReference(), description="the source of the VM")
    virtual_machine_name: Text = Field(
        default="", description="name or ID of the VM at its source; VMware: also its inventory path"
    )
    folder: str | None = Field(
        default=None,
        description="VMware: the folder of the VM, below the datacenter's vm folder; oVirt: its cluster; "
        "KubeVirt: its namespace",
    )
    network_mapping: Annotated[tuple[NetworkMapping, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="to which network a NIC is attached; the first NIC without a row goes to the pod network",
    )
    import_mapping: MappingReference | None = Field(
        default=None,
        description="an ImportMapping, whose rows many imports share; the rows and the storage class of this "
        "import have precedence",
    )
    default_network_interface_model: NicChoice = Field(
        default=None, description="model of NICs whose model is unknown; default virtio"
    )
    storage_class: Text = Field(default="", description="storage class of the disks; default: the cluster's")
    default_disk_bus_type: Annotated[
        Literal["virtio", "scsi", "sata", "usb"] | None, BeforeValidator(_empty_to_none)
    ] = Field(
        default=None,
        description="bus (virtio, scsi, sata, usb) of disks whose bus is unknown; default virtio",
        json_schema_extra=ANY_TEXT,
    )
    force_power_off: Flag | None = Field(
        default=None, description="VMware: power the VM off instead of shutting its guest down"
    )
    graceful_shutdown_timeout_seconds: int | None = Field(
        default=None,
        description="VMware: seconds that the guest may take to shut down before the VM is powered off; "
        "default 60",
        json_schema_extra=STRUCT,
    )
    skip_preflight_checks: Flag | None = Field(
        default=None,
        description="skip the checks of networks and guest tools at the source; a quota there, and the "
        "capacity and the nodes of the target, only warn",
    )
    target_virtual_machine_name: Text = Field(
        default="", description="name of the new VM; default: the name at the source, made valid"
    )
    target: Annotated[ClusterTarget | None, BeforeValidator(_empty_to_none)] = Field(
        default=None,
        description="harvester: the disks become images of Harvester; kubevirt: the disks become DataVolumes "
        "of CDI, for a cluster without Harvester; default: the setting of the installation",
    )
    disk_mapping: Annotated[tuple[DiskMapping, ...], BeforeValidator(none_to_list)] = Field(
        default=(), description="storage class, bus and form of single disks"
    )
    cpus: int | None = Field(
        default=None, description="virtual CPUs of the new VM; default: those of the source"
    )
    memory: Text = Field(
        default="", description="memory of the new VM, as a quantity such as 8Gi; default: that of the source"
    )
    start_virtual_machine: Flag | None = Field(
        default=None, description="whether to start the new VM; default true"
    )
    dry_run: Flag | None = Field(
        default=None,
        description="change nothing: the plan and the manifest of the VM are written to a ConfigMap",
    )
    approvals: Annotated[tuple[Gate, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="steps that wait until a person approves them with the annotation "
        f"{GROUP}/approve: poweroff or start",
    )
    on_failure: Annotated[OnFailure | None, BeforeValidator(_empty_to_none)] = Field(
        default=None,
        description="what happens to the source VM if the import fails for good or is cancelled. keepOff: a "
        "VM that the import shut down stays off, and a retry resumes; restorePower: it is started again, and "
        "a retry copies everything again; default keepOff",
    )
    suspend: Flag | None = Field(
        default=None, description="if true, no further step starts; running steps finish"
    )
    cancel: Flag | None = Field(
        default=None, description="if true, the import stops and releases what it holds at the source"
    )
