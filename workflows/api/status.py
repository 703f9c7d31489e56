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

    type: Text = Field(default="", description="what the condition is about")
    status: Text = Field(default="", description="True, False or Unknown")
    last_update_time: Text = Field(default="", description="when this condition last changed")
    last_transition_time: Text = Field(default="", description="when its status last changed")
    reason: Text = Field(default="", description="the reason, in one word")
    message: Text = Field(default="", description="the reason, for people")


Conditions = Annotated[tuple[Condition, ...], BeforeValidator(none_to_list)]


class Verification(Reported):
    """The last attempt to verify a source, and the failed ones before it."""

    time: Text = Field(default="", description="when the last attempt ended")
    failures: int = Field(default=0, description="failed attempts in a row")
    refusals: int = Field(default=0, description="how many of them refused the credentials")
    credentials: Text = Field(default="", description="version of the Secret that was used")
    check: Text = Field(default="", description="uid of the pod that made the attempt")


class SourceStatus(Reported):
    """The status of a source."""

    status: Text = Field(default="", description="clusterReady or clusterNotReady")
    conditions: Conditions = Field(default=(), description="ClusterReady and ClusterError")
    message: Text = Field(default="", description="what is wrong and what to do")
    observed_generation: int = Field(default=0, description="generation of the spec that was processed")
    verification: Annotated[Verification, BeforeValidator(_none_to_mapping)] = Field(
        default=Verification(), description="the last attempt, and how many have failed"
    )


class DiskImportStatus(Reported):
    """The status of one disk."""

    disk: Text = Field(default="", description="ID of the disk")
    disk_name: Text = Field(
        default="", description="name of the disk's volume, with .img; its ID until admit has chosen the name"
    )
    disk_size: int = Field(default=0, description="capacity in bytes")
    disk_local_path: Text = Field(default="", description="of vm-import-controller; never set")
    disk_route: Text = Field(default="", description="of vm-import-controller; never set")
    virtual_machine_image: Text = Field(
        default="", alias="VirtualMachineImage", description="name of the VirtualMachineImage"
    )
    disk_conditions: Conditions = Field(
        default=(),
        description="VirtualMachineImageSubmitted, VirtualMachineImageReady and VirtualMachineImageFailed",
    )
    bus_type: Text = Field(default="", description="bus of the disk in the new VM")
    step: Text = Field(default="", description="the step whose bytes are counted")
    bytes_done: int = Field(default=0, description="bytes that this step has moved")
    bytes_total: int = Field(default=0, description="bytes that this step has to move")
    percent: int = Field(default=0, description="progress of the disk over all its steps")
    bytes_per_second: int = Field(default=0, description="bytes per second; 0 while unknown or idle")
    seconds_left: int = Field(default=0, description="seconds that it will still take; 0 while unknown")
    progress_time: Text = Field(default="", description="when bytesDone last changed")
    digest: Text = Field(default="", description="digest of the disk as it was served")
    integrity: Text = Field(
        default="",
        description="sha512: equal to the target's own checksum; tls: the target publishes none and "
        "downloaded over HTTPS; transfer-only: it publishes none and downloaded over HTTP",
    )

    @property
    def id(self) -> str:
        """The id of the disk. Versions that did not choose names wrote it into `diskName`."""
        return self.disk or self.disk_name


class WorkflowReference(Reported):
    """The Workflow that runs the import."""

    name: Text = Field(default="", description="its name")
    namespace: Text = Field(default="", description="its namespace")
    generation: int = Field(default=0, description="generation of the import for which it was created")
    link: Text = Field(default="", description="its address in Argo's UI")


class PlannedReference(Reported):
    """The result of a dry run."""

    config_map: Text = Field(default="", description="ConfigMap with the plan and the manifest")
    hash: Text = Field(default="", description="hash of both: an import warns if it differs")


class ImportStatus(Reported):
    """The status of an import."""

    import_status: Text = Field(
        default="",
        description=f"the phase: {', '.join(phase for phase in ImportPhase if phase)}, or empty at first",
    )
    disk_import_status: Annotated[tuple[DiskImportStatus, ...], BeforeValidator(none_to_list)] = Field(
        default=(), description="the status of each disk"
    )
    import_conditions: Conditions = Field(
        default=(),
        description="VMShutdownGuest, VMPoweringOff, VMPoweredOff, VMExported and VMExportFailed; Succeeded "
        "(True, False, or Unknown while it is under way); MappingRulesVerified; MappingResolved; "
        "TargetAdmitted; Planned; ArgoNotAnswering; WorkflowStalled; SourceLeftovers; SourceMarked",
    )
    new_virtual_machine: Text = Field(default="", description="of vm-import-controller; never set")
    imported_virtual_machine_name: Text = Field(default="", description="name of the new VM")
    step: Text = Field(default="", description="the step that runs, or the one that failed")
    message: Text = Field(default="", description="what happens, or what failed, why, and what to do")
    percent: int = Field(default=0, description="progress of the import; it never falls within a run")
    eta: Text = Field(
        default="", description="how long the slowest disk will still take; empty while unknown"
    )
    powered_off: Text = Field(
        default="", description="the VM at its source that the import powered off; empty if it was off before"
    )
    stopping_since: Text = Field(
        default="", description="when the controller began to stop the import, because it was deleted"
    )
    workflow: WorkflowReference | None = Field(
        default=None, description="the Workflow; it is named before it is created"
    )
    planned: PlannedReference | None = Field(default=None, description="the result of the last dry run")
    observed_generation: int = Field(default=0, description="generation of the spec that was processed")

    def disk(self, name: str) -> DiskImportStatus | None:
        """The row of the disk with that id, or None."""
        return next((row for row in self.disk_import_status if row.id == name), None)
