"""The dry run: what an import would do and every reason against it. Changes nothing."""

from __future__ import annotations

import gc
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from controller.local.cluster_target import KUBECONFIG
from controller.local.tempdir import temporary_folder
from controller.manifests import read, resolve
from controller.manifests.environment import Environment
from controller.manifests.resolve import Job, why_not_here
from controller.step_program import write_credentials
from controller.units import size
from steps.model import matching, vm_fields
from steps.model.admission import Admission
from steps.model.collisions import collisions
from steps.model.contract import Exit, StepError, is_retryable
from steps.model.machine import Concern, Machine, Severity
from steps.model.mapping import Shape, shape
from steps.model.matching import Resolution, resolutions
from steps.model.plan import DiskWay, HookPlan, Plan, SourcePlan, TargetKind
from steps.model.target_answer import TargetAnswer
from steps.model.volumes import Volumes
from steps.preflight import examine, refusal_reasons
from steps.providers import Access, Inventory, Provider, connect
from steps.runtime.stop import Stop
from workflows.api.sources import Source
from workflows.dryrun import disk_address, form_of, planned_manifest
from workflows.stages import planned_names
from workflows.status.conditions import admission_warnings
from workflows.ways import EMBEDDED_VOLUME

PATIENCE: Final = 10.0
"""Seconds that an API server may be unreachable before a plan reports the target as not checked."""

MOST_ROWS: Final = 10
"""Rows that one warning lists."""


@dataclass(frozen=True)
class DryRunResult:
    """What one import would do, or why it cannot be done."""

    job: Job
    machine: Machine | None
    shape: Shape | None
    manifest: dict[str, Any] | None
    reasons: tuple[tuple[Exit, str], ...]
    admission: Admission | None = None
    """The cluster's answer; None if the target is a folder."""

    @property
    def code(self) -> Exit:
        return self.reasons[0][0] if self.reasons else Exit.DONE


@contextmanager
def credentials(values: Mapping[str, bytes]) -> Iterator[Path]:
    """Credentials as files for the duration of a `with`: providers accept only files."""
    with temporary_folder() as folder:
        files = folder.path / "credentials"
        write_credentials(files, values)
        yield files


def open_provider(plan: SourcePlan, files: Path, stop: Stop, run: str) -> Any:
    """A provider for read-only access. It leaves nothing at the source."""
    access = Access(plan=plan, credentials=files, stop=stop, run=run, step="look", state_folder=files)
    return connect(access)


@contextmanager
def open_source(source: Source, given: read.Manifests, variables: Environment) -> Iterator[Provider]:
    """A provider of a source from the manifests or the environment, to look at its inventory."""
    plan, values = resolve.access(source, given, variables)
    # A name of its own: a session of the same name would be taken for that of a killed attempt, and ended.
    run = f"inventory-{uuid.uuid4().hex[:12]}"
    with credentials(values) as files, open_provider(plan, files, Stop(), run) as provider:
        yield provider


def read_inventory(provider: Provider) -> Inventory:
    """The inventory of a source. Python's collector of cycles is paused meanwhile.

    It would look through all objects again and again while their number grows, and find nothing.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return provider.inventory()
    finally:
        if was_enabled:
            gc.enable()


def dry_run(job: Job, stop: Stop) -> DryRunResult:
    """Find the VM and map it. Changes nothing."""
    with credentials(job.credentials) as folder:
        try:
            with open_provider(job.plan.source, folder, stop, job.plan.run) as provider:
                return _examine(job, provider, stop)
        except StepError as error:
            return DryRunResult(job, None, None, None, ((error.code, str(error)),))


def _examine(job: Job, provider: Provider, stop: Stop) -> DryRunResult:
    return judge(job, examine(provider, job.plan), stop)


def judge(job: Job, machine: Machine, stop: Stop) -> DryRunResult:
    """What the import of this VM would do."""
    refusals = (*refusal_reasons(job.plan, machine), *_embedded_reasons(job.plan))
    try:
        target_shape = shape(job.plan, machine)
    except StepError:  # its name is refused; `refusal_reasons` reports it
        return DryRunResult(job, machine, None, None, refusals)
    if job.plan.target.kind is TargetKind.DIRECTORY:
        return DryRunResult(
            job,
            machine,
            target_shape,
            planned_manifest(job.plan.target.kind, target_shape, Volumes()),
            refusals,
        )
    answer = _ask_target(job.plan, machine, target_shape, stop)
    manifest = planned_manifest(job.plan.target.kind, target_shape, answer.volumes)
    refused = ((Exit(one.code), one.message) for one in answer.refused)
    return DryRunResult(job, machine, target_shape, manifest, (*refusals, *refused), answer.admission)


def _embedded_reasons(plan: Plan) -> Iterator[tuple[Exit, str]]:
    """Why `vmferry run` could not carry out the plan, whatever the VM is like."""
    if plan.target.way is DiskWay.MIXED:
        yield Exit.UNSUPPORTED, EMBEDDED_VOLUME


def _ask_target(plan: Plan, machine: Machine, target_shape: Shape, stop: Stop) -> TargetAnswer:
    if not os.environ.get(KUBECONFIG):
        return TargetAnswer.unknown(f"{KUBECONFIG} is not set, so vmferry did not check any cluster")
    from steps.runtime import kubeapi  # noqa: PLC0415 - only a cluster needs the client
    from steps.targets import in_cluster  # noqa: PLC0415
    from steps.targets.asking import ask  # noqa: PLC0415

    try:
        target = in_cluster(plan, kubeapi.connect(stop, patience=PATIENCE), stop, machine=machine)
    except StepError as error:
        is_unknown = is_retryable(error.code)
        return TargetAnswer.unknown(str(error)) if is_unknown else TargetAnswer.refusal(error)
    return ask(target, target_shape)


def with_collisions(results: Sequence[DryRunResult]) -> list[DryRunResult]:
    """The results with what VMs of the plan have in common that only one VM may have at its target.

    In folders they do not meet.
    """
    vms = {
        number: (f"{result.job.plan.import_.namespace}/{result.job.name}", result.shape)
        for number, result in enumerate(results)
        if result.shape is not None and result.job.plan.target.kind is not TargetKind.DIRECTORY
    }
    found = dict(zip(vms, collisions(list(vms.values())), strict=True))
    return [
        replace(
            result, reasons=(*result.reasons, *((error.code, str(error)) for error in found.get(number, ())))
        )
        for number, result in enumerate(results)
    ]


def document(result: DryRunResult) -> dict[str, Any]:
    """The dry run for a program."""
    plan = result.job.plan
    return {
        "import": plan.import_.name,
        "namespace": plan.import_.namespace,
        "possible": not result.reasons,
        "reasons": [{"exitCode": int(code), "message": text} for code, text in result.reasons],
        "admission": result.admission.model_dump(by_alias=True, mode="json") if result.admission else None,
        "concerns": [concern.model_dump(by_alias=True) for concern in concerns(result)],
        "stages": planned_names(plan.target.kind, plan.target.way, embedded=True, asked=plan.asked_stages),
        "hooks": [hook.model_dump(mode="json") for hook in plan.hooks],
        "rows": [found._asdict() for found in rows_that_count(result)],
        "disks": {"way": str(plan.target.way), "reason": plan.target.way_reason},
        "source": result.machine.model_dump(by_alias=True, mode="json") if result.machine else None,
        "target": result.shape.model_dump(by_alias=True, mode="json") if result.shape else None,
        "manifest": result.manifest,
    }


def _hook(job: Job, hook: HookPlan) -> str:
    """A hook, with its program, or why `vmferry run` cannot run it."""
    given = job.hooks.get(hook.name)
    if why := why_not_here(hook.name, given, job.plan.import_.namespace):
        return f"{hook.name} ({why})"
    return f"{hook.name} ({' '.join(given.spec.command)})" if given is not None else hook.name


def rows_that_count(result: DryRunResult) -> tuple[Resolution, ...]:
    """What the NICs and disks of the VM become, with the rows that say so."""
    return resolutions(result.machine, result.job.plan.target) if result.machine else ()


def unused_rows(results: Iterable[DryRunResult]) -> Iterator[str]:
    """A warning for each mapping with rows that fit none of the VMs: a name may be misspelt."""
    unused: dict[str, frozenset[str]] = {}
    for result in results:
        target = result.job.plan.target
        if result.machine is None or target.mapping is None:
            continue
        title, found = target.mapping.title, matching.unused_rows(result.machine, target)
        unused[title] = unused.get(title, found) & found
    for title, rows in unused.items():
        if rows:
            listed = ", ".join(sorted(rows)[:MOST_ROWS])
            more = f" and {len(rows) - MOST_ROWS} more" if len(rows) > MOST_ROWS else ""
            yield f"{title}: nothing of these VMs fits {listed}{more}; compare them with `vmferry inventory`"


def concerns(result: DryRunResult) -> tuple[Concern, ...]:
    """The concerns to show, without duplicates."""
    if result.shape is not None:
        return result.shape.concerns
    return result.machine.concerns if result.machine else ()


def render(result: DryRunResult) -> RenderableType:
    """The dry run for a person."""
    return Group(*_parts(result))


def _parts(result: DryRunResult) -> Iterator[RenderableType]:
    name = result.job.name
    verdict = ("cannot be imported", "red") if result.reasons else ("can be imported", "green")
    yield Text.assemble((name, "bold"), "  ", verdict)
    if result.machine and result.shape:
        yield _machine(result.machine, result.shape)
        yield _disks(result.job.plan, result.machine, result.shape)
        yield _interfaces(result.machine, result.shape)
        yield from (Text.assemble(("vm: ", "bold"), text) for text in vm_fields.words(result.shape))
    for hook in result.job.plan.hooks:
        yield Text.assemble(("hook: ", "bold"), f"{hook.moment} {hook.stage}: {_hook(result.job, hook)}")
    if result.job.plan.target.way_reason:
        target = result.job.plan.target
        yield Text.assemble(("disks: ", "bold"), f"{target.way}, because {target.way_reason}")
    if result.job.plan.target.mapping is not None:
        for found in rows_that_count(result):
            yield Text.assemble(("row: ", "bold"), str(found))
    for concern in concerns(result):
        if concern.severity is not Severity.BLOCK:
            yield Text.assemble((f"{concern.severity}: ", "yellow"), str(concern))
    for text in admission_warnings(result.admission) if result.admission else ():
        yield Text.assemble(("target: ", "yellow"), text)
    for _, text in result.reasons:
        yield Text.assemble(("reason: ", "red"), text)


def _machine(machine: Machine, vm: Shape) -> Table:
    firmware = "UEFI" if machine.firmware.kind == "efi" else "BIOS"
    extras = [
        extra
        for extra, on in (("secure boot", machine.firmware.secure_boot), ("TPM", machine.firmware.tpm))
        if on
    ]
    rows = Table("", "source", "becomes", box=None, padding=(0, 2, 0, 0))
    rows.add_row("name", escape(machine.path or machine.name), f"{vm.namespace}/{vm.name}")
    before = f"{machine.vcpus} vCPUs, {machine.cores_per_socket} per socket"
    instancetype = vm.settings.instancetype
    rows.add_row("CPU", before, str(instancetype or vm.topology))
    rows.add_row("memory", f"{machine.memory_mib} MiB", str(instancetype or f"{vm.memory_mib}Mi"))
    rows.add_row("firmware", firmware, ", ".join([firmware, *extras]))
    rows.add_row("power", str(machine.power), "started" if vm.start else "left off")
    return rows


def _disks(plan: Plan, machine: Machine, vm: Shape) -> Table:
    """The disks; also what each becomes, if that differs between them."""
    mixed = plan.target.way is DiskWay.MIXED
    columns = ("disk", "label", "on", "size", "in use", "bus", "boot", *(("becomes",) if mixed else ()))
    rows = Table(*columns, box=None, padding=(0, 2, 0, 0))
    for disk, target in zip(machine.disks, vm.disks, strict=True):
        used = size(disk.allocated) if disk.allocated is not None else "?"
        rows.add_row(
            disk.id,
            escape(disk.label),
            disk_address(disk),
            size(disk.capacity),
            used,
            str(target.bus),
            str(target.boot_order),
            *((form_of(target),) if mixed else ()),
        )
    return rows


def _interfaces(machine: Machine, vm: Shape) -> Table:
    rows = Table("NIC", "MAC", "network", "becomes", "model", box=None, padding=(0, 2, 0, 0))
    targets = {interface.nic: interface for interface in vm.interfaces}
    for nic in machine.nics:
        target = targets.get(nic.id)
        network = (target.network or "pod network") if target else "left out"
        rows.add_row(nic.id, nic.mac or "", escape(nic.network), network, str(target.model) if target else "")
    return rows
