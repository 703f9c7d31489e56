"""The custom resource MigrationPlan: which VMs of a source are imported, how, in which order, and when.

Its schema is strict: it is a kind of vmferry only, so no older manifest has to stay valid. The template is as
lenient as the spec of an import, because it is one. The same rules are in `workflows.migration.rules`, for
manifests that no API server has seen. The descriptions become those of the CRD.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError

from steps.model.kinds import API_VERSION, GROUP
from steps.model.sources import SourceKind
from steps.model.wildcards import WILDCARDS
from workflows.api.base import Flag, Model, none_to_list, none_to_map, rules
from workflows.api.mapping import LONGEST_NAME, LONGEST_OBJECT, REQUIRED
from workflows.api.resources import Metadata
from workflows.api.schema import RULES, structural
from workflows.api.spec import Text, VirtualMachineImportSpec
from workflows.api.status import Conditions, Reported

MOST_ROWS: Final = 256
"""Rows of `vms`."""
MOST_TAGS: Final = 16
MOST_WINDOWS: Final = 32
MOST_WAVES: Final = 1000
MOST_VMS: Final = 1000
MOST_PAUSE_MINUTES: Final = 365 * 24 * 60
LONGEST_PLAN: Final = 40
"""Characters of a plan's name: the names of its imports begin with it."""
FIXED: Final[Mapping[str, str]] = {
    "sourceCluster": "the plan has it in spec.sourceCluster",
    "virtualMachineName": "spec.vms selects the VMs",
    "folder": "spec.vms selects the VMs",
    "dryRun": "set spec.suspend of the plan, or run `vmferry plan`",
    "suspend": "set spec.suspend of the plan, or that of a single import",
    "cancel": "cancel single imports",
}
"""Fields of an import that a template must not have, and what to do instead."""
_TEXT: Final[dict[str, Any]] = {"minLength": 1, "maxLength": LONGEST_NAME}
NO_ROW: Final = -1
"""The row of a VM that no row selects any more."""
_CLOCK: Final = "^([01][0-9]|2[0-3]):[0-5][0-9]$"
_DATE: Final = "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"
_PERCENT: Final = "^([1-9][0-9]?|100)%$"
_WILD: Final = f"[{WILDCARDS[:-1]}\\\\[]"


def _template(value: dict[str, Any]) -> dict[str, Any]:
    """The fields of the template of all imports."""
    if "targetVirtualMachineName" in value:
        raise ValueError("targetVirtualMachineName is for one VM: write it into overrides of its row")
    return _overrides(value)


def _overrides(value: dict[str, Any]) -> dict[str, Any]:
    """The fields, if an import may have them."""
    for name, instead in FIXED.items():
        if name in value:
            raise ValueError(f"{name} cannot be in a template: {instead}")
    try:
        VirtualMachineImportSpec.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        words = "unknown field" if fault["type"] == "extra_forbidden" else fault["msg"]
        raise ValueError(f"{'.'.join(map(str, fault['loc']))}: {words}") from None
    return value


def _template_schema(*, of_row: bool) -> dict[str, Any]:
    """That of an import's spec. Rules of a row would cost the API server too much; vmferry checks them."""
    schema = structural(VirtualMachineImportSpec)
    left_out = {*FIXED} if of_row else {*FIXED, "targetVirtualMachineName"}
    properties = {name: part for name, part in schema["properties"].items() if name not in left_out}
    kept = {**schema, "properties": properties, "nullable": True}
    return _without_rules(kept) if of_row else kept


def _without_rules(schema: dict[str, Any]) -> dict[str, Any]:
    found = {name: part for name, part in schema.items() if name != RULES}
    if "properties" in found:
        parts = found["properties"].items()
        found["properties"] = {name: _without_rules(part) for name, part in parts}
    if "items" in found:
        found["items"] = _without_rules(found["items"])
    return found


Template = Annotated[dict[str, Any], BeforeValidator(none_to_map), AfterValidator(_template)]
Overrides = Annotated[dict[str, Any], BeforeValidator(none_to_map), AfterValidator(_overrides)]
"""Fields of `VirtualMachineImport.spec`, without those in `FIXED`."""


class Day(enum.StrEnum):
    """The days of a week, in their order."""

    MONDAY = "Mon"
    TUESDAY = "Tue"
    WEDNESDAY = "Wed"
    THURSDAY = "Thu"
    FRIDAY = "Fri"
    SATURDAY = "Sat"
    SUNDAY = "Sun"


class AtThreshold(enum.StrEnum):
    """What stops when too many imports of a wave have failed. Nothing that runs is ended."""

    FINISH_WAVE = "finishWave"
    STOP_STARTING = "stopStarting"


class PlanSource(Model):
    """The source of the VMs."""

    api_version: Literal["migration.harvesterhci.io/v1beta1"] | None = Field(
        default=None,
        description=f"The API version of the source. The default is {API_VERSION}.",
        json_schema_extra={"enum": [API_VERSION]},
    )
    kind: SourceKind | None = Field(
        default=None, description="The kind of the source.", json_schema_extra=REQUIRED
    )
    name: str = Field(
        default="",
        description="The name of the source.",
        json_schema_extra={**REQUIRED, "minLength": 1, "maxLength": LONGEST_OBJECT},
    )
    namespace: str | None = Field(
        default=None,
        description="The namespace of the source. Another namespace than that of the plan must allow it with "
        f"the annotation {GROUP}/allowed-namespaces, as for an import. The default is that of the plan.",
        json_schema_extra={"minLength": 1, "maxLength": 63},
    )


class PlanVms(Model):
    """A row that selects one or more VMs: all of name, folder and tags that are given must fit."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.name) || has(self.folder) || (has(self.tags) && self.tags.size() > 0)",
                "a row needs name, folder or tags: write which VMs it selects, such as name: '*' for all",
            ),
            (
                "!has(self.overrides) || !has(self.overrides.targetVirtualMachineName) || "
                f"(has(self.name) && !self.name.matches('{_WILD}'))",
                "overrides.targetVirtualMachineName is for one VM: write a row whose name has no wildcard",
            ),
        )
    )

    name: str | None = Field(
        default=None,
        description="A pattern for the name or the inventory path of the VM, or its ID. `*` fits any text, "
        "`?` one character, `[ab]` one of these. Patterns are case-sensitive. The default is any VM.",
        json_schema_extra=_TEXT,
    )
    folder: str | None = Field(
        default=None,
        description="A pattern for the folder of the VM or a folder above it: a path, or one below the "
        "datacenter's `vm` folder. oVirt: the cluster. KubeVirt: the namespace. The default is any folder.",
        json_schema_extra=_TEXT,
    )
    tags: Annotated[tuple[str, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="Patterns for tags, as NAME or CATEGORY:NAME. For each pattern the VM needs a tag that "
        "fits. KubeVirt: labels. The default is no tag. At most 16.",
        json_schema_extra={"maxItems": MOST_TAGS, "x-shortest": 1, "x-longest": LONGEST_NAME},
    )
    wave: int | None = Field(
        default=None,
        description="The number of the wave of these VMs, from 1. If one row has it, all rows need it, and "
        "waves.size must not be set. The default is a wave by waves.size.",
        json_schema_extra={"minimum": 1, "maximum": MOST_WAVES},
    )
    overrides: Overrides = Field(
        default={},
        description="Fields of an import's spec, for these VMs. A field here replaces the whole field of "
        "the template. The default is no field.",
        json_schema_extra={"x-schema": _template_schema(of_row=True)},
    )


class Waves(Model):
    """How many VMs are imported at a time, and what happens between two waves."""

    size: int | None = Field(
        default=None,
        description="The number of VMs of a wave. Waves follow the order of spec.vms. The default is one "
        "wave with all VMs.",
        json_schema_extra={"minimum": 1, "maximum": MOST_VMS},
    )
    pause_minutes: int | None = Field(
        default=None,
        description="The minutes between the end of a wave and the start of the next one. The default is 0 "
        "minutes.",
        json_schema_extra={"minimum": 0, "maximum": MOST_PAUSE_MINUTES},
    )
    approval: Flag | None = Field(
        default=None,
        description="Whether each wave after the first one waits for an approval. To approve it, annotate "
        f"the plan with {GROUP}/approve=NUMBER of the wave. The default is false.",
    )
    failure_threshold: int | str | None = Field(
        default=None,
        description="The number of failed or refused imports of a wave that stops the plan, or a part of the "
        "wave such as 20%. The approval of the next wave resumes it. The default is 1, because the VM of a "
        "failed import is off.",
        json_schema_extra={
            "x-int-or-string": True,
            **rules(
                (
                    f"type(self) == int ? self >= 1 : self.matches('{_PERCENT}')",
                    "failureThreshold must be a number from 1, or a percentage from 1% to 100%",
                )
            ),
        },
    )
    at_threshold: AtThreshold | None = Field(
        default=None,
        description="What stops at the threshold. finishWave: the next wave does not start. stopStarting: "
        "also no further import of the wave starts. Imports that run are never ended. The default is "
        "finishWave.",
    )


class Window(Model):
    """A time in which imports may start."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.days) || !has(self.dates)",
                "a window has days or dates, not both: write two windows",
            )
        )
    )

    days: tuple[Day, ...] | None = Field(
        default=None,
        description="The days of the week on which the window begins. The default is every day.",
        json_schema_extra={"maxItems": 7},
    )
    dates: tuple[str, ...] | None = Field(
        default=None,
        description="The dates on which the window begins, as YYYY-MM-DD, instead of days of the week. The "
        "default is none. At most 100.",
        json_schema_extra={"maxItems": 100, "x-shortest": 1, "x-longest": 10, "x-item-pattern": _DATE},
    )
    start: str = Field(
        default="",
        description="The time at which the window begins, as HH:MM with 24 hours.",
        json_schema_extra={**REQUIRED, "pattern": _CLOCK, "maxLength": 5},
    )
    end: str = Field(
        default="",
        description="The time at which the window ends, as HH:MM. A time that is not after the start is on "
        "the next day.",
        json_schema_extra={**REQUIRED, "pattern": _CLOCK, "maxLength": 5},
    )
    time_zone: str | None = Field(
        default=None,
        description="The time zone of start and end, by its name in the IANA database, such as "
        "Europe/Berlin. The default is UTC.",
        json_schema_extra={"pattern": "^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$", "maxLength": 64},
    )


class PlanLimits(Model):
    """Limits in addition to those per source. Imports of all plans of the namespace count."""

    per_host: int | None = Field(
        default=None,
        description="The number of VMs of one host of the source (vSphere: an ESXi host) that are imported "
        "at a time. The host is the one that had the VM when the VMs were selected. The default is no limit.",
        json_schema_extra={"minimum": 1, "maximum": MOST_VMS},
    )
    per_storage_class: int | None = Field(
        default=None,
        description="The number of VMs with disks for one storage class that are imported at a time. The "
        "default is no limit.",
        json_schema_extra={"minimum": 1, "maximum": MOST_VMS},
    )


class MigrationPlanSpec(Model):
    """Which VMs are imported, how, in which order, and when."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!self.vms.exists(row, has(row.wave)) || self.vms.all(row, has(row.wave))",
                "some rows of vms have a wave and some do not: write the wave of each row, or of none",
            ),
            (
                "!has(self.waves) || !has(self.waves.size) || !self.vms.exists(row, has(row.wave))",
                "the rows of vms have waves, so waves.size has no effect: remove one of the two",
            ),
        )
    )

    source_cluster: PlanSource = Field(
        default=PlanSource(), description="The source of the VMs.", json_schema_extra=REQUIRED
    )
    vms: Annotated[tuple[PlanVms, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="The rows that select VMs, in the order in which they are imported. A VM belongs to the "
        "first row that fits it. Required. At most 256 rows and 1000 VMs.",
        json_schema_extra={**REQUIRED, "minItems": 1, "maxItems": MOST_ROWS},
    )
    exclude: Annotated[tuple[str, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="Patterns for the names, inventory paths or IDs of VMs that no row selects. The default "
        "is none. At most 256.",
        json_schema_extra={"maxItems": MOST_ROWS, "x-shortest": 1, "x-longest": LONGEST_NAME},
    )
    template: Template = Field(
        default={},
        description="The spec of each import, without the source and the VM. A change applies to imports "
        "that start later, and to failed ones when they are retried. The default is no field.",
        json_schema_extra={"x-schema": _template_schema(of_row=False)},
    )
    waves: Waves | None = Field(
        default=None, description="How the VMs are divided. The default is one wave with all VMs."
    )
    windows: Annotated[tuple[Window, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="The times in which imports may start or be retried; imports that have started continue. "
        "The default is at any time. At most 32.",
        json_schema_extra={"maxItems": MOST_WINDOWS},
    )
    priority: int | None = Field(
        default=None,
        description="The priority as a number. While a plan of the same namespace and source with a larger "
        "number imports a wave, this plan starts no import. The default is 0.",
        json_schema_extra={"minimum": -1000, "maximum": 1000},
    )
    limits: PlanLimits | None = Field(
        default=None,
        description="Limits for each host and each storage class, in addition to those for each source. The "
        "default is none.",
    )
    suspend: Flag | None = Field(
        default=None,
        description="Whether no import starts. VMs are selected, so that the selection can be read before "
        "anything starts. Imports that have started continue. The default is false.",
    )


class PlanPhase(enum.StrEnum):
    """The values of `status.phase` of a plan."""

    INVALID = "Invalid"
    SELECTING = "Selecting"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    WINDOW = "WaitingForWindow"
    PRIORITY = "WaitingForPriority"
    LIMITS = "WaitingForLimits"
    PAUSED = "Paused"
    APPROVAL = "WaitingForApproval"
    STOPPED = "Stopped"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class VmPhase(enum.StrEnum):
    """The phase of one VM of a plan."""

    PENDING = "Pending"
    """There is no import yet."""
    WAITING = "Waiting"
    """The import waits, or a retry was requested."""
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    """The import failed or was refused."""
    CANCELLED = "Cancelled"
    DELETED = "Deleted"
    """Somebody deleted the import before it succeeded."""


class PlannedVm(Reported):
    """A VM of the plan."""

    vm: Text = Field(default="", description="The name of the VM, as its import has it.")
    id: Text = Field(default="", description="The ID of the VM at its source.")
    import_: Text = Field(default="", alias="import", description="The name of the import.")
    wave: int = Field(default=0, description="The number of the wave of the VM.")
    phase: Text = Field(default="", description=f"The phase of the VM: {', '.join(VmPhase)}.")
    reason: Text = Field(default="", description="The reason of the phase, in one word.")
    message: Text = Field(
        default="", description="The reason of the failure, shortened, as a text for people."
    )
    host: Text = Field(default="", description="The host of the VM at the source, for limits.perHost.")
    storage_classes: Annotated[tuple[str, ...], BeforeValidator(none_to_list)] = Field(
        default=(), description="The storage classes of its disks, for limits.perStorageClass."
    )
    target: Text = Field(default="", description="The name of the new VM, if the plan had to choose one.")
    row: int = Field(
        default=0,
        description="The number of its row in spec.vms, from 0; -1 if its import was created and no row "
        "selects it any more.",
    )
    uid: Text = Field(default="", description="The uid of the import; empty before it was created.")
    retry: bool = Field(default=False, description="Whether a retry was requested and has not started.")


class SelectionStatus(Reported):
    """The last selection of VMs."""

    version: Text = Field(default="", description="The digest of what the VMs were selected with.")
    time: Text = Field(
        default="", description="When the VMs were selected, or the last attempt failed, as RFC 3339 in UTC."
    )
    failures: int = Field(default=0, description="The number of failed attempts in a row.")
    check: Text = Field(default="", description="The uid of the pod that made the attempt.")


class PlanCounts(Reported):
    """The number of VMs by phase."""

    total: int = Field(default=0, description="The number of all VMs.")
    pending: int = Field(default=0, description="The number of VMs without an import.")
    waiting: int = Field(default=0, description="The number of VMs whose import waits.")
    running: int = Field(default=0, description="The number of VMs whose import runs.")
    succeeded: int = Field(default=0, description="The number of VMs that were imported.")
    failed: int = Field(default=0, description="The number of VMs whose import failed or was refused.")
    cancelled: int = Field(default=0, description="The number of VMs whose import was cancelled.")
    deleted: int = Field(
        default=0, description="The number of VMs whose import was deleted before it succeeded."
    )


def _none_to_counts(value: Any) -> Any:
    return {} if value is None else value


class MigrationPlanStatus(Reported):
    """The status of a plan."""

    phase: Text = Field(default="", description=f"The phase of the plan: {', '.join(PlanPhase)}.")
    message: Text = Field(default="", description="What happens, or what the plan waits for, and what to do.")
    wave: int = Field(default=0, description="The number of the current wave; 0 before the first one.")
    waves: int = Field(default=0, description="The number of waves of the plan.")
    progress: Text = Field(default="", description="The current wave and the number of waves, as 2/4.")
    counts: Annotated[PlanCounts, BeforeValidator(_none_to_counts)] = Field(
        default=PlanCounts(), description="The number of VMs in each phase."
    )
    vms: Annotated[tuple[PlannedVm, ...], BeforeValidator(none_to_list)] = Field(
        default=(), description="The VMs in the order of their import."
    )
    selection: Annotated[SelectionStatus, BeforeValidator(_none_to_counts)] = Field(
        default=SelectionStatus(), description="The last selection of VMs from the source."
    )
    approved_wave: int = Field(default=0, description="The number of the last wave that a person approved.")
    wave_ended: Text = Field(
        default="", description="When the current wave ended, as RFC 3339 in UTC; empty while it runs."
    )
    conditions: Conditions = Field(
        default=(), description="The conditions Selected and Succeeded of the plan."
    )
    observed_generation: int = Field(
        default=0, description="The generation number of the spec that was processed."
    )


class MigrationPlan(Model):
    """VMs of a source that are imported in waves."""

    api_version: Literal["migration.harvesterhci.io/v1beta1"]
    kind: Literal["MigrationPlan"]
    metadata: Metadata
    spec: MigrationPlanSpec
    status: Any = None

    @property
    def title(self) -> str:
        """The plan, for messages."""
        return f"MigrationPlan {self.metadata.namespace}/{self.metadata.name}"
