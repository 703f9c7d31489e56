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
from steps.model.plan import Bus, ClusterTarget, DiskForm, Gate, InterfaceModel, MacPolicy, OnFailure
from steps.model.source_mark import LONGEST_SUFFIX, LONGEST_TAG
from steps.model.sources import SourceKind
from workflows.api.base import Flag, Model, none_to_list, rules
from workflows.api.boot_check import BootCheckSettings
from workflows.api.guest import GuestSettings
from workflows.api.hooks import HOOK_ROWS, MOST_HOOKS, HookRow
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

SCHEMA_ROWS: Final = 1024
"""Rows of networkMapping that the schema accepts, more than any import has: its rules need a bound.

An import with more than `workflows.plan.MOST_NETWORKS` is reported in its condition.
"""
LONGEST_LABEL: Final = 63
LONGEST_OBJECT: Final = 253
LONGEST_DISK: Final = 256
"""Characters of the label or the key of a disk. A volume of OpenStack has a name of at most 255."""
DNS_LABEL_OR_EMPTY: Final = rules(
    (
        "self.matches('^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$')",
        "it is not a valid name: use at most 63 lower-case letters, digits and '-'",
    )
)
OBJECT_NAME: Final = rules(
    (
        "self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$')",
        "it is not a valid name: use lower-case letters, digits, '-' and '.'",
    )
)
_MEMORY: Final = rules(
    (
        "self == '' || (self.matches('^[0-9]{1,18}([.][0-9]{1,9})?([KMGTP]i|[kMGTP])?$') && "
        "self.matches('[1-9]'))",
        "memory is not a positive quantity: write one such as 8Gi or 512Mi",
    )
)

NicChoice = Annotated[InterfaceModel | None, BeforeValidator(_empty_to_none)]
"""An interface model, null, or the empty string, which vm-import-controller's schema also allows."""


class SecretReference(Model):
    """Where the credentials are."""

    name: Text = Field(default="", description="The name of the Secret. Required if there are credentials.")
    namespace: Text = Field(
        default="", description="The namespace of the Secret. The default is that of this object."
    )


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

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.type) || (self.type != 'pod' && self.type != 'ignored') || "
                "!has(self.destinationNetwork) || self.destinationNetwork.size() == 0",
                "a row of the type pod or ignored has no destinationNetwork: remove one of the two",
            ),
            (
                "!has(self.type) || self.type == '' || "
                "(has(self.sourceNetwork) && self.sourceNetwork.size() > 0)",
                "a row with a type needs sourceNetwork: write the network at the source",
            ),
            (
                "!has(self.type) || self.type != 'multus' || "
                "(has(self.destinationNetwork) && self.destinationNetwork.size() > 0)",
                "a row of the type multus needs destinationNetwork: write it, or the type pod or ignored",
            ),
            (
                "!has(self.type) || self.type != 'ignored' || !has(self.mac) || self.mac == ''",
                "a row of the type ignored leaves the NICs out, so mac has no effect: remove it",
            ),
        )
    )

    source_network: Text = Field(
        default="",
        description="The network at the source, by its name or its inventory path. Required in each row.",
    )
    destination_network: Text = Field(
        default="",
        description="The NetworkAttachmentDefinition, as NAME or NAMESPACE/NAME. NAME alone means the "
        "namespace of the new VM. Required for the type multus.",
    )
    type: Annotated[NetworkType | None, BeforeValidator(_empty_to_none)] = Field(
        default=None,
        description="What these NICs become. multus: they are bridged to destinationNetwork. pod: they go to "
        "the network of the pods, which only one NIC of a VM can have. ignored: the VM does not get them. "
        "The default is multus.",
    )
    network_interface_model: NicChoice = Field(
        default=None, description="The model of these NICs. The default is that of the source."
    )
    mac: Annotated[MacPolicy | None, BeforeValidator(_empty_to_none)] = Field(
        default=None,
        description="Which MAC addresses these NICs get. keep: those of the source. new: the target chooses "
        "new ones. The default is keep.",
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


def _is_given(*names: str) -> str:
    """In CEL: whether one of these optional texts is neither absent, null nor empty."""
    return " || ".join(f"(has(self.{name}) && self.{name} != '')" for name in names)


class DiskMapping(Model):
    """Settings for one disk."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                _is_given("sourceDisk"),
                "a row needs sourceDisk: write the ID (disk-0), the label or the key of the disk",
            ),
            (
                "!has(self.skip) || !self.skip || "
                f"!({_is_given('storageClass', 'busType', 'as', 'name', 'accessMode', 'volumeMode')})",
                "skip leaves the disk out, so the other fields have no effect: remove them",
            ),
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
        default="",
        description="The disk, by its ID in vmferry (disk-0), or by its label or key at the source. "
        "Required.",
        json_schema_extra={"maxLength": LONGEST_DISK},
    )
    storage_class: Text = Field(
        default="",
        description="The storage class of this disk. The default is spec.storageClass, else that of the "
        "mapping. With a mapping, an empty text means the default class of the cluster.",
        json_schema_extra={"maxLength": LONGEST_OBJECT, **OBJECT_NAME},
    )
    bus_type: Text = Field(
        default="",
        description="The bus of this disk: virtio, scsi, sata or usb. The default is that of the source.",
        json_schema_extra={
            "maxLength": 16,
            **rules(
                (
                    f"self in {['', *map(str, Bus)]}",
                    f"busType is not a bus: write {', '.join([*Bus][:-1])} or {[*Bus][-1]}",
                )
            ),
        },
    )
    as_: Annotated[DiskForm | None, BeforeValidator(_empty_to_none)] = Field(
        default=None,
        alias="as",
        description="Target harvester: what the disk becomes. image: an image of Harvester, and a volume "
        "over it. volume: a volume of the storage class, on which the disk lands directly. The default is "
        "image.",
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
        json_schema_extra={"maxLength": LONGEST_LABEL, **DNS_LABEL_OR_EMPTY},
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


_IGNORED: Final = "Accepted for compatibility with vm-import-controller, and ignored."
_KINDS: Final = " or ".join((", ".join([*SourceKind][:-1]), [*SourceKind][-1]))


class SourceReference(Model):
    """The source of the VM: an ObjectReference of which four fields are used."""

    api_version: Text = Field(
        default="", description=f"The API version of the source. The default is {API_VERSION}."
    )
    kind: Text = Field(default="", description=f"The kind of the source: {_KINDS}. Required.")
    name: Text = Field(default="", description="The name of the source. Required.")
    namespace: Text = Field(
        default="",
        description="The namespace of the source. Another namespace must allow it with the annotation "
        f"{GROUP}/allowed-namespaces on the source. The default is that of the import.",
    )
    uid: Text = Field(default="", description=_IGNORED, exclude=True)
    resource_version: Text = Field(default="", description=_IGNORED, exclude=True)
    field_path: Text = Field(default="", description=_IGNORED, exclude=True)


class MappingReference(Model):
    """The ImportMapping whose rows an import uses, too."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                _is_given("name"),
                "importMapping.name is empty: write the name of an ImportMapping, or remove importMapping",
            )
        )
    )

    name: Text = Field(
        default="",
        description="The name of the ImportMapping. Required.",
        json_schema_extra={"maxLength": LONGEST_OBJECT, **OBJECT_NAME},
    )
    namespace: Text = Field(
        default="",
        description="The namespace of the ImportMapping. Another namespace must allow it with the annotation "
        f"{GROUP}/allowed-namespaces on the mapping. The default is that of the import.",
        json_schema_extra={"maxLength": LONGEST_LABEL, **DNS_LABEL_OR_EMPTY},
    )


_RULES: Final = (
    (
        "!has(self.virtualMachine) || !has(self.virtualMachine.instancetype) || "
        "(!has(self.cpus) && (!has(self.memory) || self.memory == ''))",
        "virtualMachine.instancetype gives the VM its CPU and memory: remove it, or cpus and memory",
    ),
    (
        "!has(self.virtualMachine) || !has(self.virtualMachine.powerState) || !has(self.startVirtualMachine)",
        "virtualMachine.powerState and startVirtualMachine are both set: keep powerState",
    ),
    (
        "!has(self.virtualMachine) || !has(self.virtualMachine.runStrategy) || "
        "self.virtualMachine.runStrategy == 'Manual' || !has(self.startVirtualMachine) || "
        "self.startVirtualMachine",
        "KubeVirt starts a VM with that virtualMachine.runStrategy, but startVirtualMachine is false: remove "
        "runStrategy, or write powerState instead of startVirtualMachine",
    ),
    (
        "!has(self.target) || self.target != 'harvester' || !has(self.virtualMachine) || "
        "!has(self.virtualMachine.instancetype)",
        "virtualMachine.instancetype cannot be used with the target harvester, which sets the CPU of each VM "
        "itself: remove it, and set cpus and memory",
    ),
    (
        "!has(self.target) || self.target != 'kubevirt' || !has(self.diskMapping) || "
        "self.diskMapping.all(row, !has(row.as) || row.as != 'image')",
        "diskMapping has `as: image`, but the target kubevirt has no images: remove `as`",
    ),
    (
        "!has(self.target) || self.target != 'harvester' || !has(self.diskMapping) || "
        "self.diskMapping.all(row, (has(row.as) && row.as == 'volume') || "
        "((!has(row.accessMode) || row.accessMode == '') && (!has(row.volumeMode) || row.volumeMode == '')))",
        "diskMapping has accessMode or volumeMode for an image of Harvester, which has its own: remove them, "
        "or write `as: volume`",
    ),
)
"""Rules over several fields. `workflows.plan` and `workflows.vm_settings` have the same for files."""
_DISK_ROWS: Final = rules(
    (
        "self.size() > 128 || self.all(one, !has(one.sourceDisk) || one.sourceDisk == '' || "
        "self.exists_one(other, has(other.sourceDisk) && other.sourceDisk == one.sourceDisk))",
        "two rows have the same sourceDisk, so it is not clear which one counts: keep one of them",
    ),
    (
        "self.size() > 128 || self.all(one, !has(one.name) || one.name == '' || "
        "self.exists_one(other, has(other.name) && other.name == one.name))",
        "two rows have the same name, but a volume is for one disk: write different names",
    ),
)
"""The cost grows with the square of the rows, and the API server refuses what costs too much. In longer lists
only `workflows.plan` looks for duplicate rows.
"""
_APPROVALS: Final = rules(
    (
        "self.all(one, self.exists_one(other, other == one))",
        "approvals names a step twice: keep one of them",
    )
)


_MARK: Final = (
    r"!self.matches('[/,%\\\\]|^\\s|\\s$')",
    r"no source takes it: write it without / , % and \, and without spaces at its ends",
)
"""For a tag or a suffix at the source."""
_NO_STEP: Final = (
    "!(self in ['.', '..'])",
    "it means a folder in an address at the source: write another tag",
)


class SourceMarkSpec(Model):
    """How the VM at the source is marked after a success."""

    tag: Text = Field(
        default="",
        description="A tag that the VM gets. vSphere: CATEGORY:NAME, or NAME if only one category has it; "
        "the tag must exist. oVirt: the name of an existing tag. OpenStack: a server tag. The default is "
        "none.",
        json_schema_extra={"maxLength": LONGEST_TAG, **rules(_MARK, _NO_STEP)},
    )
    name_suffix: Text = Field(
        default="",
        description="A text that is appended to the name of the VM, such as -imported. The default is none.",
        json_schema_extra={"maxLength": LONGEST_SUFFIX, **rules(_MARK)},
    )
    disconnect_nics: Flag | None = Field(
        default=None,
        description="Whether the NICs of the VM are disconnected: in vSphere and oVirt the links of its "
        "NICs, in OpenStack its ports. A VM that runs is left alone. The default is false.",
    )


class VirtualMachineImportSpec(Model):
    """Which VM to import, and how to create it."""

    model_config = ConfigDict(json_schema_extra=rules(*_RULES))

    source_cluster: SourceReference = Field(
        default=SourceReference(), description="The source that has the VM. Required."
    )
    virtual_machine_name: Text = Field(
        default="",
        description="The name or the ID of the VM at its source. VMware: also its inventory path. Required.",
    )
    folder: str | None = Field(
        default=None,
        description="Where the VM is, if several VMs have its name. VMware: the folder, below the vm folder "
        "of the datacenter. oVirt: the cluster. KubeVirt: the namespace. The default is anywhere.",
    )
    network_mapping: Annotated[tuple[NetworkMapping, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="To which network each NIC is attached. The default is no row: then the first NIC goes "
        "to the network of the pods. At most 64 rows.",
        json_schema_extra={"maxItems": SCHEMA_ROWS},
    )
    import_mapping: MappingReference | None = Field(
        default=None,
        description="An ImportMapping, whose rows many imports share. The rows and the storage class of this "
        "import have precedence. The default is none.",
    )
    default_network_interface_model: NicChoice = Field(
        default=None, description="The model of NICs whose model is unknown. The default is virtio."
    )
    storage_class: Text = Field(
        default="",
        description="The storage class of the disks. The default is that of the mapping, else that of the "
        "cluster.",
    )
    default_disk_bus_type: Annotated[
        Literal["virtio", "scsi", "sata", "usb"] | None, BeforeValidator(_empty_to_none)
    ] = Field(
        default=None,
        description="The bus of disks whose bus is unknown: virtio, scsi, sata or usb. The default is "
        "virtio.",
        json_schema_extra=ANY_TEXT,
    )
    force_power_off: Flag | None = Field(
        default=None,
        description="Whether the VM is powered off hard, instead of shutting its guest down: for vSphere, "
        "oVirt and KubeVirt. OpenStack cannot do that, so there it only gives a warning: Nova asks the "
        "guest, then ends it. The default is false.",
    )
    graceful_shutdown_timeout_seconds: int | None = Field(
        default=None,
        description="For how many seconds the guest may shut down before the VM is powered off. Numbers "
        "below 1 mean the default. The default is 60 seconds.",
        json_schema_extra=STRUCT,
    )
    power_off_without_guest_tools: Flag | None = Field(
        default=None,
        description="VMware: whether a VM is powered off hard if VMware Tools do not run in it, so that its "
        "guest cannot be asked to shut down. Data that the guest has not written yet is lost, as in a power "
        "failure. A VM with Tools is shut down. The default is false: the import of a running VM without "
        "Tools is refused.",
    )
    profile: Text = Field(
        default="",
        description="The profile of the installation: scratch, the placement and the second network of the "
        "pods, and the proxy. Its administrator knows which profiles exist. The default is the profile "
        "of the source, else that of the installation.",
        json_schema_extra={"maxLength": LONGEST_LABEL, **DNS_LABEL_OR_EMPTY},
    )
    skip_preflight_checks: Flag | None = Field(
        default=None,
        description="Whether vmferry skips the checks of networks and guest tools at the source. An "
        "insufficient quota there, and insufficient capacity or nodes at the target, then only give "
        "warnings. The default is false.",
    )
    target_virtual_machine_name: Text = Field(
        default="",
        description="The name of the new VM: at most 63 lower-case letters, digits and '-'. The default is "
        "the name at the source, made valid.",
        json_schema_extra={"maxLength": LONGEST_LABEL, **DNS_LABEL_OR_EMPTY},
    )
    target: Annotated[ClusterTarget | None, BeforeValidator(_empty_to_none)] = Field(
        default=None,
        description="Where the VM goes. harvester: the disks become images of Harvester. kubevirt: the disks "
        "become DataVolumes of CDI, for a cluster without Harvester. The default is the setting of the "
        "installation.",
    )
    disk_mapping: Annotated[tuple[DiskMapping, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="Storage class, bus, form and name of single disks. The default is no row. At most 256 "
        "rows.",
        json_schema_extra={"maxItems": 256, **_DISK_ROWS},
    )
    cpus: int | None = Field(
        default=None,
        description="The number of virtual CPUs of the new VM, at least 1. The default is that of the "
        "source.",
        json_schema_extra={"minimum": 1},
    )
    memory: Text = Field(
        default="",
        description="The memory of the new VM: a quantity in whole MiB, such as 8Gi or 512Mi. The default is "
        "that of the source.",
        json_schema_extra={"maxLength": 32, **_MEMORY},
    )
    start_virtual_machine: Flag | None = Field(
        default=None,
        description="Whether the new VM is started at the end. virtualMachine.powerState has more choices. "
        "The default is true.",
    )
    virtual_machine: VirtualMachineSettings | None = Field(
        default=None,
        description="What the new VM gets in addition to what it has at its source: labels, scheduling, run "
        "strategy, power state, instancetype, a patch. The default is nothing.",
        json_schema_extra=STRICT,
    )
    guest: GuestSettings | None = Field(
        default=None,
        description="What happens with the system on the disks before they are handed to the target. The "
        "default is nothing.",
        json_schema_extra=STRICT,
    )
    boot_check: BootCheckSettings | None = Field(
        default=None,
        description="How vmferry proves, after the start of the new VM, that its guest has booted. The "
        "import has succeeded only after that. An empty object means all defaults. The default is no proof.",
        json_schema_extra=STRICT,
    )
    hooks: Annotated[tuple[HookRow, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="Hooks that run before or after stages of the import. The administrator defines them as "
        "ImportHooks in the namespace of vmferry. A hook that fails ends the import, unless its ImportHook "
        "says otherwise. The default is none. At most 16 rows.",
        json_schema_extra={**STRICT, "maxItems": MOST_HOOKS, **HOOK_ROWS},
    )
    dry_run: Flag | None = Field(
        default=None,
        description="Whether nothing is changed, and the plan and the manifest of the VM are written to a "
        "ConfigMap. The default is false.",
    )
    approvals: Annotated[tuple[Gate, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="Steps that wait until a person approves them with the annotation "
        f"{GROUP}/approve: poweroff or start. The default is none.",
        json_schema_extra={"maxItems": len(Gate), **_APPROVALS},
    )
    on_failure: Annotated[OnFailure | None, BeforeValidator(_empty_to_none)] = Field(
        default=None,
        description="What happens to the source VM if the import fails permanently or is cancelled. keepOff: "
        "a VM that the import shut down stays off, and a retry resumes. restorePower: it is started again, "
        "and a retry copies everything again. The default is keepOff.",
    )
    mark_source: SourceMarkSpec | None = Field(
        default=None,
        description="How the VM at the source is marked after the import has succeeded, so that nobody "
        "starts it by accident: for vSphere, OpenStack and oVirt. The default is no mark. A mark that cannot "
        "be set is a warning, and vmferry tries it again.",
        json_schema_extra=STRICT,
    )
    suspend: Flag | None = Field(
        default=None,
        description="Whether no further step starts; running steps finish. The default is false.",
    )
    cancel: Flag | None = Field(
        default=None,
        description="Whether the import stops and releases what it holds at the source. The default is "
        "false.",
    )
