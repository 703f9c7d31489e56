"""What is wrong with a MigrationPlan, in sentences. The CRD has the same rules in CEL. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, Final

from pydantic import ValidationError

from steps.model.document import first_error
from steps.model.kinds import API_VERSION
from steps.model.naming import shown
from steps.model.plan import SourcePlan
from steps.model.selecting import Listing, Rows, VmRow
from steps.model.wildcards import has_wildcard
from workflows import texts
from workflows.api.migration_plan import (
    LONGEST_PLAN,
    MOST_PAUSE_MINUTES,
    MOST_ROWS,
    MOST_TAGS,
    MOST_VMS,
    MOST_WAVES,
    MOST_WINDOWS,
    MigrationPlan,
    MigrationPlanSpec,
    PlanVms,
    Waves,
    Window,
)
from workflows.api.resources import VirtualMachineImport
from workflows.migration.windows import zone
from workflows.plan import import_reasons

PROBE: Final = "any"
"""The name of a VM in an import that only shows whether a template is right."""
STORAGE_FIELDS: Final = ("storageClass", "diskMapping", "importMapping")
"""Fields of a template that decide the storage classes of disks."""
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d", re.ASCII)
_PERCENT: Final = re.compile(r"([1-9]\d?|100)%", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def reasons(plan: MigrationPlan) -> Iterator[str]:
    """Every reason why the plan cannot run."""
    spec, name = plan.spec, plan.metadata.name
    if long := [*_sizes(spec), *texts.too_long(spec)]:
        yield from long
        return  # the other messages quote these texts
    if len(name) > LONGEST_PLAN:
        yield f"the name {name} has {len(name)} characters; a plan has at most {LONGEST_PLAN}"
    if spec.source_cluster.kind is None:
        yield "spec.sourceCluster.kind is empty: write the kind of the source"
    if not spec.source_cluster.name:
        yield "spec.sourceCluster.name is empty: write the name of the source"
    yield from _row_reasons(spec)
    yield from _import_reasons(plan)
    if spec.waves is not None:
        yield from _wave_reasons(spec.waves)
    for number, window in enumerate(spec.windows):
        yield from (f"spec.windows[{number}]: {words}" for words in _window_reasons(window))
    for field, value in _limits(spec):
        if value is not None and not 1 <= value <= MOST_VMS:
            yield f"{field} is {value}: write 1 to {MOST_VMS}, or remove it for no limit"
    if spec.priority is not None and not -1000 <= spec.priority <= 1000:
        yield f"spec.priority is {spec.priority}: write a number from -1000 to 1000"


def _sizes(spec: MigrationPlanSpec) -> Iterator[str]:
    counted = (
        ("spec.vms", len(spec.vms), MOST_ROWS),
        ("spec.exclude", len(spec.exclude), MOST_ROWS),
        ("spec.windows", len(spec.windows), MOST_WINDOWS),
        *((f"spec.vms[{n}].tags", len(row.tags), MOST_TAGS) for n, row in enumerate(spec.vms)),
    )
    for name, count, most in counted:
        if count > most:
            yield f"{name} has {count} entries; write at most {most}"
    if not spec.vms:
        yield "spec.vms is empty: write which VMs to import, such as name: '*' for all"


def _row_reasons(spec: MigrationPlanSpec) -> Iterator[str]:
    for number, row in enumerate(spec.vms):
        yield from (f"spec.vms[{number}]: {words}" for words in _one_row(row))
    waves = [row.wave is not None for row in spec.vms]
    if any(waves) and not all(waves):
        yield "some rows of spec.vms have a wave and some do not: write the wave of each row, or of none"
    if any(waves) and spec.waves is not None and spec.waves.size is not None:
        yield "the rows of spec.vms have waves, so spec.waves.size has no effect: remove one of the two"
    if not all(spec.exclude):
        yield "spec.exclude has an empty pattern: remove it"


def _one_row(row: PlanVms) -> Iterator[str]:
    if not (row.name or row.folder or row.tags):
        yield "it needs name, folder or tags: write which VMs it selects, such as name: '*' for all"
    if not all(row.tags):
        yield "tags has an empty pattern: remove it"
    if row.wave is not None and not 1 <= row.wave <= MOST_WAVES:
        yield f"wave is {row.wave}: write 1 to {MOST_WAVES}"
    if row.overrides.get("targetVirtualMachineName") and (not row.name or has_wildcard(row.name)):
        yield ("overrides.targetVirtualMachineName is for one VM: write a row whose name has no wildcard")


def _import_reasons(plan: MigrationPlan) -> Iterator[str]:
    """What is wrong with the imports that the template and each row make, whatever their VMs are."""
    seen: set[str] = set()
    for number, row in enumerate(plan.spec.vms):
        spec = {**plan.spec.template, **row.overrides}
        where = f"spec.vms[{number}].overrides" if row.overrides else "spec.template"
        for words in _probe(plan, spec):
            if words not in seen:
                seen.add(words)
                yield f"{where}: {words}"


def _probe(plan: MigrationPlan, spec: dict[str, Any]) -> Sequence[str]:
    reference = plan.spec.source_cluster
    source = {"kind": str(reference.kind or ""), "name": reference.name, "namespace": reference.namespace}
    document = {
        "apiVersion": API_VERSION,
        "kind": "VirtualMachineImport",
        "metadata": {"name": PROBE, "namespace": plan.metadata.namespace},
        "spec": {**spec, "sourceCluster": source, "virtualMachineName": PROBE},
    }
    try:
        import_ = VirtualMachineImport.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        return [first_error(error)]
    return list(import_reasons(import_))


def _wave_reasons(waves: Waves) -> Iterator[str]:
    for field, value, least, most in (
        ("size", waves.size, 1, MOST_VMS),
        ("pauseMinutes", waves.pause_minutes, 0, MOST_PAUSE_MINUTES),
    ):
        if value is not None and not least <= value <= most:
            yield f"spec.waves.{field} is {value}: write {least} to {most}"
    threshold = waves.failure_threshold
    if threshold is None:
        return
    is_right = threshold >= 1 if isinstance(threshold, int) else _PERCENT.fullmatch(threshold)
    if not is_right:
        yield (
            f"spec.waves.failureThreshold is {shown(str(threshold))}: write a number from 1, or a percentage "
            "from 1% to 100%"
        )


def _window_reasons(window: Window) -> Iterator[str]:
    for field, value in (("start", window.start), ("end", window.end)):
        if not _CLOCK.fullmatch(value):
            yield f"{field} is {shown(value)}: write a time as HH:MM, such as 22:00"
    if window.days is not None and window.dates is not None:
        yield "it has days and dates: write two windows"
    for text in window.dates or ():
        if not _is_date(text):
            yield f"{shown(text)} is not a date: write YYYY-MM-DD"
    try:
        zone(window)
    except ValueError:
        yield (
            f"there is no time zone {shown(window.time_zone or '')}: write a name of the IANA database, "
            "such as Europe/Berlin"
        )


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        # The days around it must exist, too: a window may begin or end there in UTC.
        return date.min.year < date.fromisoformat(text).year < date.max.year
    except ValueError:
        return False


def _limits(spec: MigrationPlanSpec) -> Iterator[tuple[str, int | None]]:
    if spec.limits is not None:
        yield "spec.limits.perHost", spec.limits.per_host
        yield "spec.limits.perStorageClass", spec.limits.per_storage_class


def listing(plan: MigrationPlan, source: SourcePlan) -> Listing:
    """What a look at the source needs to select the VMs of the plan."""
    rows = (VmRow(name=row.name or "", folder=row.folder or "", tags=row.tags) for row in plan.spec.vms)
    return Listing(source=source, select=Rows(rows=tuple(rows), exclude=plan.spec.exclude))


def selection_version(plan: MigrationPlan) -> str:
    """A digest of what decides which VMs are selected, and for which storage classes."""
    spec = plan.spec
    storage = [
        {name: given[name] for name in STORAGE_FIELDS if name in given}
        for given in (spec.template, *(row.overrides for row in spec.vms))
    ]
    rows = [(row.name, row.folder, row.tags) for row in spec.vms]
    source = spec.source_cluster.model_dump(mode="json")
    text = json.dumps([source, rows, spec.exclude, storage], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
