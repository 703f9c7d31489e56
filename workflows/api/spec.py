"""The specs of the custom resources: the fields of vm-import-controller plus additional fields.

Field by field after harvester/vm-import-controller (pkg/apis/migration.harvesterhci.io/v1beta1): everything
is optional and nullable there, so it is here. `workflows.plan` checks which fields an import needs.
The descriptions become those of the CRDs.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from steps.model.kinds import API_VERSION, GROUP
from steps.model.plan import ClusterTarget, DiskForm, Gate, InterfaceModel, MacPolicy, OnFailure
from steps.model.sources import SourceKind
from workflows.api.base import Flag, Model, none_to_list, rules
from workflows.api.guest import GuestSettings
from workflows.api.vm import VirtualMachineSettings


def _empty_to_none(value: Any) -> Any:
    return None if value == "" else value


def _none_to_empty(value: Any) -> Any:
    return "" if value is None else value


Text = Annotated[str, BeforeValidator(_none_to_empty)]
"""A string that may be null, which means empty."""
STRUCT: Final[dict[str, Any]] = {"nullable": False}
"""For `workflows.api.schema`: not a pointer in the Go types of vm-import-controller, so null is refused."""
STRICT: Final[dict[str, Any]] = {"x-strict": True}
"""For `workflows.api.schema`: a field of vmferry's own, which no older manifest has."""
ANY_TEXT: Final[dict[str, Any]] = {"x-any-text": True}
"""For `workflows.api.schema`: a string whose few valid values are not in vm-import-controller's schema."""

NicChoice = Annotated[InterfaceModel | None, BeforeValidator(_empty_to_none)]
"""An interface model, null, or the empty string, which vm-import-controller's schema also allows."""


class SecretReference(Model):
    """Where the credentials are."""

    name: Text = Field(default="", description="name of the Secret")
    namespace: Text = Field(default="", description="its namespace; default: that of this object")


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


class VolumeMode(enum.StrEnum):
    """How a volume is used (k8s.io/api core/v1 PersistentVolumeMode)."""

    BLOCK = "Block"
    FILESYSTEM = "Filesystem"


class AccessMode(enum.StrEnum):
    """From where a volume can be used (core/v1 PersistentVolumeAccessMode); a disk must be writable."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_ONCE_POD = "ReadWriteOncePod"
    READ_WRITE_MANY = "ReadWriteMany"


class DiskMapping(Model):
    """Settings for one disk."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.skip) || !self.skip || !(has(self.name) || has(self.accessMode) || "
                "has(self.volumeMode))",
                "skip leaves the disk out, so the other fields have no effect: remove them",
            )
        )
    )

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
    skip: Flag | None = Field(
        default=None,
        description="Whether the disk is left out: it is not copied, and the new VM does not have it. The "
        "default is false.",
    )
    name: Annotated[str | None, BeforeValidator(_empty_to_none)] = Field(
        default=None,
        description="The name of the volume of this disk: at most 63 lower-case letters, digits and '-'. It "
        "must not exist yet. The default is the name of the VM and the ID of the disk, such as web-disk-0.",
        json_schema_extra={"maxLength": 63},
    )
    access_mode: Annotated[AccessMode | None, BeforeValidator(_empty_to_none)] = Field(
        default=None,
        description="The access mode of the volume of this disk. Live migration needs ReadWriteMany. An "
        "image of Harvester has its own, so on Harvester it needs `as: volume`. The default is that of the "
        "storage class.",
    )
    volume_mode: Annotated[VolumeMode | None, BeforeValidator(_empty_to_none)] = Field(
        default=None,
        description="The volume mode of the volume of this disk: a block device, or a file system with a "
        "file for the disk. On Harvester it needs `as: volume`. The default is that of the storage class.",
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

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.virtualMachine) || !has(self.virtualMachine.instancetype) || "
                "(!has(self.cpus) && (!has(self.memory) || self.memory == ''))",
                "virtualMachine.instancetype gives the VM its CPU and memory: remove it, or cpus and memory",
            ),
            (
                "!has(self.virtualMachine) || !has(self.virtualMachine.powerState) || "
                "!has(self.startVirtualMachine)",
                "virtualMachine.powerState and startVirtualMachine are both set: keep powerState",
            ),
        )
    )

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
    power_off_without_guest_tools: Flag | None = Field(
        default=None,
        description="VMware: whether a VM is powered off hard if VMware Tools do not run in it, so that its "
        "guest cannot be asked to shut down. Data that the guest has not written yet is lost, as in a power "
        "failure. A VM with Tools is shut down. The default is false: the import of a running VM without "
        "Tools is refused.",
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
    virtual_machine: VirtualMachineSettings | None = Field(
        default=None,
        description="What the new VM gets in addition to what it has at its source: labels, scheduling, run "
        "strategy, power state, instancetype, a patch.",
        json_schema_extra=STRICT,
    )
    guest: GuestSettings | None = Field(
        default=None,
        description="What happens with the system on the disks before they are handed to the target.",
        json_schema_extra=STRICT,
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
