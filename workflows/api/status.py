"""The statuses of the custom resources: the fields of vm-import-controller plus additional fields.

Another version or vm-import-controller may have written the status in a cluster, so nothing is refused:
unknown fields are ignored, and malformed fields count as absent.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from workflows.api.base import Model, none_to_list
from workflows.api.spec import Text


class ImportPhase(enum.StrEnum):
    """The values of `status.importStatus`, in vm-import-controller's spelling, from first to last."""

    NEW = ""
    INVALID = "virtualMachineImportInvalid"
    VALID = "virtualMachineImportValid"
    SOURCE_READY = "sourceReady"
    DISKS_EXPORTED = "disksExported"
    IMAGES_SUBMITTED = "diskImageSubmitted"
    IMAGE_FAILED = "diskImageFailed"
    IMAGES_READY = "diskImagesReady"
    CREATED = "virtualMachineCreated"
    RUNNING = "virtualMachineRunning"
    FAILED = "VMMigrationFailed"


class ConditionStatus(enum.StrEnum):
    """The values of a condition's `status`."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


def _none_to_mapping(value: Any) -> Any:
    return {} if value is None else value


class Reported(Model):
    """Part of a status."""

    model_config = ConfigDict(extra="ignore")

    @classmethod
    def read(cls, value: Any) -> Self:
        """A status as it was found, without its malformed fields."""
        given = dict(value) if isinstance(value, dict) else {}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            bad = {fault["loc"][0] for fault in error.errors() if fault["loc"]}
        try:
            return cls.model_validate({name: part for name, part in given.items() if name not in bad})
        except ValidationError:
            return cls()

    def to_document(self) -> dict[str, Any]:
        """The status as the API takes it; every field, so that a merge patch clears removed values."""
        return self.model_dump(by_alias=True, mode="json")


class Condition(Reported):
    """One condition. Times are RFC 3339 strings."""

    type: Text = Field(default="", description="What the condition is about, such as VMPoweredOff.")
    status: Text = Field(default="", description="Whether it holds: True, False or Unknown.")
    last_update_time: Text = Field(
        default="", description="When this condition last changed, as RFC 3339 in UTC."
    )
    last_transition_time: Text = Field(
        default="", description="When its status last changed, as RFC 3339 in UTC."
    )
    reason: Text = Field(default="", description="The reason of the status, in one word.")
    message: Text = Field(default="", description="The reason of the status, as a text for people.")


Conditions = Annotated[tuple[Condition, ...], BeforeValidator(none_to_list)]


class Verification(Reported):
    """The last attempt to verify a source, and the failed ones before it."""

    time: Text = Field(default="", description="When the last attempt ended, as RFC 3339 in UTC.")
    failures: int = Field(default=0, description="The number of failed attempts in a row.")
    refusals: int = Field(default=0, description="The number of them that refused the credentials.")
    credentials: Text = Field(default="", description="The version of the Secret that was used.")
    check: Text = Field(default="", description="The UID of the pod that made the attempt.")


class SourceStatus(Reported):
    """The status of a source."""

    status: Text = Field(
        default="", description="Whether the source can be used: clusterReady or clusterNotReady."
    )
    conditions: Conditions = Field(default=(), description="The conditions ClusterReady and ClusterError.")
    message: Text = Field(
        default="", description="What is wrong and what to do; empty while the source is ready."
    )
    observed_generation: int = Field(
        default=0, description="The generation number of the spec that was processed."
    )
    verification: Annotated[Verification, BeforeValidator(_none_to_mapping)] = Field(
        default=Verification(), description="The last attempt to reach the source, and how many have failed."
    )


class DiskImportStatus(Reported):
    """The status of one disk."""

    disk: Text = Field(default="", description="The ID of the disk in vmferry, such as disk-0.")
    disk_name: Text = Field(
        default="",
        description="The name of the volume of the disk, with .img; the ID of the disk until admit has "
        "chosen the name.",
    )
    disk_size: int = Field(default=0, description="The capacity of the disk in bytes.")
    disk_local_path: Text = Field(
        default="", description="A field of vm-import-controller, which vmferry never sets."
    )
    disk_route: Text = Field(
        default="", description="A field of vm-import-controller, which vmferry never sets."
    )
    virtual_machine_image: Text = Field(
        default="",
        alias="VirtualMachineImage",
        description="The name of the VirtualMachineImage of Harvester.",
    )
    disk_conditions: Conditions = Field(
        default=(),
        description="The conditions VirtualMachineImageSubmitted, VirtualMachineImageReady and "
        "VirtualMachineImageFailed.",
    )
    bus_type: Text = Field(default="", description="The bus of the disk in the new VM.")
    step: Text = Field(default="", description="The step whose bytes are counted, such as export.")
    bytes_done: int = Field(default=0, description="The number of bytes that this step has moved.")
    bytes_total: int = Field(default=0, description="The number of bytes that this step has to move.")
    percent: int = Field(default=0, description="The progress of the disk over all its steps, in percent.")
    bytes_per_second: int = Field(
        default=0, description="The current rate in bytes per second; 0 while it is unknown or nothing moves."
    )
    seconds_left: int = Field(
        default=0, description="The seconds that this step will still take; 0 while unknown."
    )
    progress_time: Text = Field(default="", description="When bytesDone last changed, as RFC 3339 in UTC.")
    digest: Text = Field(default="", description="The digest of the disk as it was served, as ALGORITHM:HEX.")
    integrity: Text = Field(
        default="",
        description="How the target has proved the disk. sha512: it is equal to the own checksum of the "
        "target. tls: the target publishes none, and downloaded over HTTPS. transfer-only: it publishes "
        "none, and downloaded over HTTP.",
    )

    @property
    def id(self) -> str:
        """The id of the disk. Versions that did not choose names wrote it into `diskName`."""
        return self.disk or self.disk_name


class HookStatus(Reported):
    """A hook of the import, or its part for one disk."""

    name: Text = Field(default="", description="The name of the ImportHook.")
    moment: Text = Field(default="", description="Whether it runs before or after the stage.")
    stage: Text = Field(default="", description="The stage, such as poweroff.")
    disk: Text = Field(default="", description="The ID of the disk; empty for a stage of the whole VM.")
    phase: Text = Field(
        default="",
        description="Running, Succeeded, Failed, or Ignored: it failed, and the import continues.",
    )
    message: Text = Field(default="", description="The last words of the hook, or why it has failed.")
    object_name: Text = Field(
        default="",
        description="The name of its Pod or Workflow in the namespace of vmferry; empty for `vmferry run`.",
    )
    started: Text = Field(default="", description="When the hook began, as RFC 3339 in UTC.")
    finished: Text = Field(default="", description="When it ended, as RFC 3339 in UTC; empty while it runs.")


class WorkflowReference(Reported):
    """The Workflow that runs the import."""

    name: Text = Field(default="", description="The name of the Workflow.")
    namespace: Text = Field(default="", description="The namespace of the Workflow.")
    generation: int = Field(
        default=0, description="The generation number of the import for which it was created."
    )
    link: Text = Field(
        default="", description="The address of the Workflow in the UI of Argo; empty without a UI."
    )


class PlannedReference(Reported):
    """The result of a dry run."""

    config_map: Text = Field(
        default="", description="The name of the ConfigMap with the plan and the manifest."
    )
    hash: Text = Field(default="", description="The hash of both; an import warns if it differs.")


class ImportStatus(Reported):
    """The status of an import."""

    import_status: Text = Field(
        default="",
        description=f"The phase: {', '.join(phase for phase in ImportPhase if phase)}, or empty at first.",
    )
    disk_import_status: Annotated[tuple[DiskImportStatus, ...], BeforeValidator(none_to_list)] = Field(
        default=(), description="The status of each disk of the VM."
    )
    import_conditions: Conditions = Field(
        default=(),
        description="The conditions VMShutdownGuest, VMPoweringOff, VMPoweredOff, VMExported and "
        "VMExportFailed; Succeeded (True, False, or Unknown while it is under way); MappingRulesVerified; "
        "MappingResolved; TargetAdmitted; GuestInspected; Planned; ArgoNotAnswering; WorkflowStalled; "
        "SourceLeftovers; SourceMarked; BootChecked.",
    )
    hooks: Annotated[tuple[HookStatus, ...], BeforeValidator(none_to_list)] = Field(
        default=(), description="The hooks that have begun, in the order of their start. At most 100."
    )
    new_virtual_machine: Text = Field(
        default="", description="A field of vm-import-controller, which vmferry never sets."
    )
    imported_virtual_machine_name: Text = Field(default="", description="The name of the new VM.")
    step: Text = Field(default="", description="The step that runs, or the one that failed.")
    message: Text = Field(default="", description="What happens, or what failed, why, and what to do.")
    percent: int = Field(
        default=0, description="The progress of the import in percent; it never falls within a run."
    )
    eta: Text = Field(
        default="",
        description="How long the slowest disk will still take, in hours, minutes or seconds such as 2m30s; "
        "empty while unknown.",
    )
    powered_off: Text = Field(
        default="",
        description="The VM at its source that the import powered off; empty if it was off before.",
    )
    stopping_since: Text = Field(
        default="",
        description="When the controller began to stop the import, because it was deleted, as RFC 3339 in "
        "UTC.",
    )
    workflow: WorkflowReference | None = Field(
        default=None, description="The Workflow of the import; it is named before it is created."
    )
    planned: PlannedReference | None = Field(
        default=None, description="The result of the last dry run; none before there was one."
    )
    observed_generation: int = Field(
        default=0, description="The generation number of the spec that was processed."
    )

    def disk(self, name: str) -> DiskImportStatus | None:
        """The row of the disk with that id, or None."""
        return next((row for row in self.disk_import_status if row.id == name), None)
