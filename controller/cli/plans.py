"""`vmferry run` and `vmferry plan` with a MigrationPlan."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import typer
from rich.markup import escape

from controller.assess.texts import visible
from controller.assess.totals import counted
from controller.cli import confirmation, dryrun, inspection, summary, tables
from controller.cli.app import OutputFormat, dump, err, print_warning, write
from controller.cli.dryrun import DryRunResult
from controller.cli.selecting import MOST_SHOWN, embedded
from controller.cli.watch import Watch
from controller.local import cluster_target, plan_run
from controller.local.plan_run import PlanRun
from controller.manifests import environment, planned, resolve
from controller.manifests.planned import Given
from controller.manifests.read import Manifests
from controller.manifests.resolve import Job, MappingChoice
from controller.units import size
from steps.model.contract import Exit, StepError
from steps.model.machine import Machine, Severity
from steps.model.plan import TargetKind
from steps.preflight import without_set_sizes
from steps.providers import Inventory
from steps.runtime.stop import Stop
from workflows.api.conditions import stamp
from workflows.api.migration_plan import (
    MigrationPlanStatus,
    PlannedVm,
    PlanPhase,
    SelectionStatus,
    VmPhase,
)
from workflows.migration import windows
from workflows.migration.rules import selection_version
from workflows.settings import Settings

COLUMNS: Final = ("WAVE", "IMPORT", "VM", "HOST", "DISKS", "STORAGE CLASSES", "RESULT")


def refuse_options(vm: Sequence[str] | None, source: str | None) -> None:
    """Raise BadParameter for options that choose VMs: the plan does that."""
    if vm or source:
        raise typer.BadParameter("the MigrationPlan selects the VMs", param_hint="--vm, --source")


def _given(given: Manifests, settings: Settings, mappings: MappingChoice) -> Given:
    return planned.given(given, environment.read(os.environ), embedded(settings), mappings)


def _inventory(of: Given) -> Inventory:
    with dryrun.open_source(of.source, of.manifests, of.environment) as provider:
        return dryrun.read_inventory(provider)


# --- run


def run(
    given: Manifests,
    settings: Settings,
    mappings: MappingChoice,
    into: Path,
    retry_delay: float,
    output: OutputFormat,
    *,
    yes: bool,
) -> int:
    """Import the VMs of the plan, wave by wave; continue an earlier run of it in the same folder."""
    of = _given(given, settings, mappings)
    before = plan_run.read(into, of.plan)
    vms = _select(of, before)
    jobs = planned.jobs(of, vms)
    resolve.refuse_landing(jobs.values())
    resolve.refuse_hooks(jobs.values())
    inspection.require_tools([job.plan for job in jobs.values()])
    target = None
    if settings.target is not TargetKind.DIRECTORY:
        target = cluster_target.from_environment(os.environ)
        cluster_target.check([job.plan for job in jobs.values()], target)
    known = {vm.id for vm in before.vms} if before else set()
    _confirm(of, [vm for vm in vms if vm.id not in known], yes=yes)
    lock = plan_run.lock(into)
    try:
        with Watch(err) as watch:
            carried = PlanRun(
                plan=of.plan,
                folder=into.absolute(),
                vms=vms,
                jobs=jobs,
                watch=watch,
                target=target,
                before=_with_selection(before, of),
                approve=lambda question: yes or _is_approved(question),
                tell=_say,
                first_delay=retry_delay,
            )
            status = asyncio.run(carried.run())
    finally:
        os.close(lock)
    return _end(carried, status, output)


def _select(of: Given, before: MigrationPlanStatus | None) -> tuple[PlannedVm, ...]:
    """The VMs of the plan: those of an earlier run, until the rows change.

    The same rule as in the controller: a VM that somebody has created since is not shut down.
    """
    if before is not None and before.selection.version == selection_version(of.plan):
        return before.vms
    vms, found = planned.selected(of, _inventory(of), before.vms if before else ())
    for words in found.unused:
        print_warning(f"no VM fits {words}")
    return vms


def _with_selection(before: MigrationPlanStatus | None, of: Given) -> MigrationPlanStatus:
    selection = SelectionStatus(version=selection_version(of.plan), time=stamp(datetime.now(UTC)))
    return (before or MigrationPlanStatus()).model_copy(update={"selection": selection})


def _confirm(of: Given, vms: Sequence[PlannedVm], *, yes: bool) -> None:
    """Ask before VMs that nobody has named are shut down."""
    if yes or not vms or not planned.is_by_wildcard(of.plan):
        return
    for vm in vms[:MOST_SHOWN]:
        _say(f"  wave {vm.wave}  {visible(vm.vm)}")
    if len(vms) > MOST_SHOWN:
        _say(f"  and {len(vms) - MOST_SHOWN} more")
    confirmation.ask("run", f"Shut down and import these {len(vms)} VMs?")


def _is_approved(question: str) -> bool:
    return sys.stdin.isatty() and typer.confirm(question, err=True)


def _end(carried: PlanRun, status: MigrationPlanStatus, output: OutputFormat) -> int:
    if output is not OutputFormat.TABLE:
        results = [summary.document(result) for result in carried.results]
        dump({**_state(carried.plan.metadata.name, status), "imports": results}, output)
    for result in carried.results:
        if result.code != Exit.DONE:
            summary.print_result(result)
    _say(f"{carried.plan.metadata.name}: {status.phase}: {status.message}")
    if status.phase != PlanPhase.SUCCEEDED:
        _say("  run the same command again to continue; it retries only what failed")
    code = summary.exit_code(carried.results)
    return code or (Exit.NOT_FOUND if not status.vms else Exit.DONE)


def _state(name: str, status: MigrationPlanStatus) -> dict[str, Any]:
    """The state of a plan and its VMs, for a program."""
    return {
        "plan": name,
        "phase": status.phase,
        "message": status.message,
        "wave": status.wave,
        "waves": status.waves,
        "counts": status.counts.model_dump(by_alias=True),
        "vms": [
            {
                "vm": vm.vm,
                "id": vm.id,
                "import": vm.import_,
                "wave": vm.wave,
                "phase": vm.phase,
                "reason": vm.reason,
                "message": vm.message,
            }
            for vm in status.vms
        ],
    }


def _say(text: str) -> None:
    err.print(escape(text), highlight=False, soft_wrap=True)


# --- status


def state_of(folder: Path) -> dict[str, Any] | None:
    """The state of the plan whose imports are in a folder; None if it has no plan.

    Raises:
        StepError: INVALID, if the state cannot be read.
    """
    if not (folder / plan_run.STATE).exists():
        return None
    found = plan_run.PlanFile.load(folder / plan_run.STATE)
    return _state(found.name, found.status)


def state_lines(state: Mapping[str, Any]) -> Iterator[str]:
    """The state of a plan for a person: one line, and one for each VM without a folder of its own."""
    waves = f", wave {state['wave']} of {state['waves']}" if state["waves"] else ""
    yield f"{state['plan']}: {state['phase']}{waves}: {visible(state['message'], 1000)}"
    for vm in state["vms"]:
        if vm["phase"] == VmPhase.PENDING:
            yield f"  wave {vm['wave']}  {vm['import']}  pending: {visible(vm['vm'])}"


# --- plan


def show(
    given: Manifests, settings: Settings, mappings: MappingChoice, stop: Stop, output: OutputFormat
) -> int:
    """Show the waves of the plan, and what the inventory shows of each VM."""
    of = _given(given, settings, mappings)
    inventory = _inventory(of)
    vms, found = planned.selected(of, inventory, ())
    jobs = planned.jobs(of, vms)
    machines = {machine.source_id: machine for machine in inventory.machines}
    judged = [_judged(jobs[vm.import_], machines[vm.id], stop) for vm in vms]
    results = dict(zip([vm.import_ for vm in vms], dryrun.with_collisions(judged), strict=True))
    if output is not OutputFormat.TABLE:
        dump(_document(of, vms, results, found.unused), output)
    else:
        write("".join(f"{line}\n" for line in _lines(of, vms, results)))
    for words in found.unused:
        print_warning(f"no VM fits {words}")
    for warning in dryrun.unused_rows(results.values()):
        print_warning(warning)
    if not vms:
        raise StepError(Exit.NOT_FOUND, "the plan selects no VM", remedy="see `vmferry inventory`")
    return next((result.code for result in results.values() if result.reasons), Exit.DONE)


def _judged(job: Job, machine: Machine, stop: Stop) -> DryRunResult:
    needed = tuple(without_set_sizes(job.plan, machine.concerns))  # the inventory does not know the plan
    seen = machine.model_copy(update={"concerns": needed})
    return replace(dryrun.judge(job, seen, stop), manifest=None)


def _document(
    of: Given, vms: Sequence[PlannedVm], results: dict[str, DryRunResult], unused: Sequence[str]
) -> dict[str, Any]:
    now = datetime.now(UTC)
    opens = windows.opens(of.plan.spec.windows, now)
    return {
        "plan": of.plan.metadata.name,
        "namespace": of.plan.metadata.namespace,
        "open": windows.is_open(of.plan.spec.windows, now),
        "opens": stamp(opens) if opens else None,
        "unused": list(unused),
        "waves": [
            {
                "wave": wave,
                "vms": [_vm(vm, results[vm.import_]) for vm in vms if vm.wave == wave],
            }
            for wave in sorted({vm.wave for vm in vms})
        ],
    }


def _vm(vm: PlannedVm, result: DryRunResult) -> dict[str, Any]:
    return {
        "vm": vm.vm,
        "id": vm.id,
        "import": vm.import_,
        "host": vm.host,
        "storageClasses": list(vm.storage_classes),
        "bytes": _bytes(result),
        "possible": not result.reasons,
        "reasons": [{"exitCode": int(code), "message": text} for code, text in result.reasons],
        "concerns": [concern.model_dump(by_alias=True) for concern in dryrun.concerns(result)],
    }


def _bytes(result: DryRunResult) -> int:
    return sum(disk.capacity for disk in result.machine.disks) if result.machine else 0


def _lines(of: Given, vms: Sequence[PlannedVm], results: dict[str, DryRunResult]) -> Iterator[str]:
    rows = [_row(vm, results[vm.import_]) for vm in vms]
    yield from tables.aligned([COLUMNS, *rows])
    total = sum(map(_bytes, results.values()))
    blocked = sum(bool(result.reasons) for result in results.values())
    count = len({vm.wave for vm in vms})
    yield ""
    amount = f"{counted(len(vms), 'VM')} in {counted(count, 'wave')}, {size(total)}"
    yield f"{amount}; {blocked} cannot be imported"
    if of.plan.spec.windows and not windows.is_open(of.plan.spec.windows, datetime.now(UTC)):
        opens = windows.opens(of.plan.spec.windows, datetime.now(UTC))
        following = f"the next one opens at {stamp(opens)}" if opens else "none opens again: add one"
        yield f"no window is open; {following}"
    for vm in vms:
        result = results[vm.import_]
        yield from (f"{vm.import_}: reason: {visible(text)}" for _, text in result.reasons)
        for concern in dryrun.concerns(result):
            if concern.severity is Severity.WARN:
                yield f"{vm.import_}: warn: {visible(str(concern))}"


def _row(vm: PlannedVm, result: DryRunResult) -> tuple[str, ...]:
    warns = any(concern.severity is Severity.WARN for concern in dryrun.concerns(result))
    verdict = "blocked" if result.reasons else "warnings" if warns else "ready"
    classes = ", ".join(vm.storage_classes) or "-"
    return (
        str(vm.wave),
        vm.import_,
        vm.vm,
        vm.host or "-",
        size(_bytes(result)),
        classes,
        verdict,
    )
