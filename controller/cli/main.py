"""The command line `vmferry`. Its exit codes are those of the steps, and an API (docs/reference/cli.md)."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from controller.cli import cluster, dryrun, extras, inspection, inventory, plans, selecting, summary, undo
from controller.cli.app import (
    Folder,
    Manifest,
    Output,
    OutputFormat,
    app,
    attempt,
    command,
    dump,
    err,
    out,
    print_warning,
    write,
)
from controller.cli.rates import Rates
from controller.cli.selecting import SourceName, Vms, Yes
from controller.cli.view import table
from controller.cli.watch import Watch
from controller.client import changes, plan_changes
from controller.local import cluster_target, imports, removal
from controller.local.imports import EmbeddedRun
from controller.local.rundir import RunDir
from controller.local.runner import FIRST_DELAY, SOURCE_WAIT
from controller.manifests import mapping, resolve
from steps.model.contract import Exit, StepError
from steps.model.plan import CpuTopology, DiskFormat, NamePolicy, NetworkPolicy, Plan, TargetKind
from steps.model.yaml import to_yaml
from steps.runtime.program import PLAN
from steps.runtime.stop import Stop
from workflows.settings import Settings, WantedWay
from workflows.status.nodes import Phase, phase_of

__all__ = ["app", "attempt", "main"]


def main() -> None:
    """Run the command line and exit with its exit code."""
    sys.exit(attempt())


def _jobs(filenames: list[str] | None) -> list[resolve.Job]:
    """The imports of manifests, for their credentials."""
    given = selecting.read_manifests(filenames or [])
    return selecting.select(given, Settings(), resolve.WITHOUT, (), None).jobs


def _mapping_choice(path: Path | None) -> resolve.MappingChoice:
    """The mapping of the option `--mapping`, for imports that name none."""
    return resolve.MappingChoice(mapping.load(path)) if path is not None else resolve.ONLY_NAMED


Topology = Annotated[
    CpuTopology,
    typer.Option(help="CPU topology: one socket, as Harvester needs it, or the topology of the source."),
]

Disks = Annotated[
    WantedWay,
    typer.Option(
        help="How disks get to their volumes on KubeVirt. A local process cannot mount a claim, so `auto` is "
        "`pull` here: CDI downloads them. `land` needs vmferry in the cluster."
    ),
]

MappingFile = Annotated[
    Path | None,
    typer.Option(
        "--mapping",
        metavar="FILE",
        help="An ImportMapping as YAML, for imports that name none in spec.importMapping: networks, storage "
        "classes and buses. Rows of an import have precedence.",
    ),
]

VirtioWin = Annotated[
    Path | None,
    typer.Option(
        "--virtio-win",
        metavar="PATH",
        help="Folder or ISO image of virtio-win, with the drivers for Windows guests that spec.guest.adapt "
        "converts.",
    ),
]

SourceWait = Annotated[
    int,
    typer.Option(
        min=0,
        help="Seconds that each attempt of a step waits for a source that has stopped answering. A source "
        "that has not answered at all is not waited for.",
    ),
]


@command(
    epilog="Examples: vmferry run -f vm.yaml --into ./alpine · "
    "vmferry run -f source.yaml --vm '/DC0/vm/prod/*' --mapping mapping.yaml --into ./prod · "
    "vmferry run -f source.yaml -f plan.yaml --into ./waves"
)
def run(
    into: Annotated[
        Path,
        typer.Option(
            help="Folder for the result. It must be new or empty; the folder of a MigrationPlan may be "
            "from an earlier run."
        ),
    ],
    filename: Manifest = None,
    vm: Vms = None,
    source: SourceName = None,
    mapping_file: MappingFile = None,
    to: Annotated[TargetKind, typer.Option(help="Target: the folder, or the cluster of KUBECONFIG.")] = (
        TargetKind.DIRECTORY
    ),
    format: Annotated[DiskFormat, typer.Option(help="Format of the imported disks.")] = DiskFormat.QCOW2,  # noqa: A002
    network_policy: Annotated[
        NetworkPolicy,
        typer.Option(help="If a mapped source network does not exist: warn, or refuse the import."),
    ] = NetworkPolicy.LENIENT,
    name_policy: Annotated[
        NamePolicy,
        typer.Option(help="If the VM's name is not a DNS-1123 label: normalise it, or refuse the import."),
    ] = NamePolicy.NORMALISE,
    cpu_topology: Topology = CpuTopology.ONE_SOCKET,
    disks: Disks = WantedWay.PULL,
    retry_delay: Annotated[
        float,
        typer.Option(
            min=0, help="Seconds before the first retry of a step. Each further retry waits twice as long."
        ),
    ] = FIRST_DELAY,
    source_wait: SourceWait = SOURCE_WAIT,
    virtio_win: VirtioWin = None,
    yes: Yes = False,
    output: Output = OutputFormat.TABLE,
) -> int:
    """Import VMs into a folder, or with `--to harvester` or `--to kubevirt` into a cluster.

    Every stage is a local process.

    The manifests are those of `kubectl apply`: Secret, source, ImportMapping and VirtualMachineImport, in any
    order.

    A MigrationPlan instead of imports selects VMs and imports them in waves. The same command continues it:
    it retries only what failed.

    GOVC_URL, GOVC_USERNAME, GOVC_PASSWORD, GOVC_DATACENTER and VM_NAME, or OS_AUTH_URL, OS_USERNAME,
    OS_PASSWORD, OS_PROJECT_NAME, OS_USER_DOMAIN_NAME, OS_REGION_NAME and OS_VM_NAME, set what no manifest
    sets.

    A target in a cluster needs KUBECONFIG, nginx and SVC_ADDRESS: the HOST or HOST:PORT at which the cluster
    downloads the disks from this host. The folder then holds state, logs and scratch.
    """
    settings = Settings(
        target=to,
        format=format,
        network_policy=network_policy,
        name_policy=name_policy,
        cpu_topology=cpu_topology,
        disks=disks,
        source_wait_seconds=source_wait,
        virtio_win=str(virtio_win.absolute()) if virtio_win is not None else "",
    )
    given, mappings = selecting.read_manifests(filename or []), _mapping_choice(mapping_file)
    if given.plans:
        plans.refuse_options(vm, source)
        return plans.run(given, settings, mappings, into, retry_delay, output, yes=yes)
    selected = selecting.select(given, settings, mappings, vm or (), source)
    jobs = selected.jobs
    resolve.refuse_landing(jobs)
    resolve.refuse_hooks(jobs)
    inspection.require_tools([job.plan for job in jobs])
    target = cluster_target.from_environment(os.environ) if to is not TargetKind.DIRECTORY else None
    if target is not None:
        cluster_target.check([job.plan for job in jobs], target)
    selecting.confirm(selected, yes=yes)
    return _carry_out(imports.create(jobs, into, target), retry_delay, output)


@command(
    epilog="Examples: vmferry retry ./alpine · vmferry retry web-01 -n default · "
    "vmferry retry plan/production -n default"
)
def retry(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|NAME",
            help="Folder of the import, as given to `run --into`; with -n the import's name, or plan/NAME.",
        ),
    ],
    filename: Manifest = None,
    retry_delay: Annotated[
        float,
        typer.Option(
            min=0, help="Seconds before the first retry of a step. Each further retry waits twice as long."
        ),
    ] = FIRST_DELAY,
    source_wait: Annotated[
        int | None,
        typer.Option(min=0, help="Another value for `run --source-wait`; without it the value stays."),
    ] = None,
    virtio_win: VirtioWin = None,
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", help="Retry the import NAME of this namespace in the cluster.")
    ] = "",
    output: Output = OutputFormat.TABLE,
) -> int:
    """Resume imports that failed or were interrupted. Completed stages are not repeated.

    With -f vmferry reads the credentials from the manifests again, for example after a password has changed.

    With -n the import is one in the cluster of KUBECONFIG. vmferry's controller there retries it, with the
    credentials of the source's Secret. For a MigrationPlan, as plan/NAME, it retries the imports that failed
    and creates deleted ones again.
    """
    if namespace:
        if filename:
            raise StepError(
                Exit.INVALID,
                "-f and -n cannot be combined",
                "in a cluster vmferry reads the credentials from the source's Secret",
                "change the Secret, then run the command without -f",
            )
        return cluster.request(str(folder), namespace, changes.retry, plan_changes.retry, output)
    cluster.refuse_a_name(folder, "retry")
    given = _jobs(filename) if filename else []
    new_jobs = {_import_key(job.plan): job for job in given}
    rundirs = imports.find(folder)
    if filename:
        _refuse_unmatched(rundirs, new_jobs)
    chosen = [(rundir, new_jobs.get(_import_key(_plan(rundir)))) for rundir in rundirs]
    runs = [imports.reopen(rundir, job.credentials if job else None, job) for rundir, job in chosen]
    reopened = [run for run in runs if run is not None]
    if source_wait is not None:
        for run in reopened:
            imports.set_source_wait(run.rundir, source_wait)
    if virtio_win is not None:
        for run in reopened:
            imports.set_virtio_win(run.rundir, virtio_win)
    return _carry_out(reopened, retry_delay, output)


def _refuse_unmatched(rundirs: Sequence[RunDir], given: Collection[tuple[str, str]]) -> None:
    """Raise StepError (INVALID) for an import to resume that would silently keep its old credentials."""
    for rundir in rundirs:
        key = _import_key(_plan(rundir))
        if key not in given and phase_of(rundir.load()) is not Phase.SUCCEEDED:
            given_names = ", ".join("/".join(pair) for pair in given) or "none"
            raise StepError(
                Exit.INVALID,
                f"the manifests do not contain VirtualMachineImport {'/'.join(key)} of {rundir.root}",
                f"found: {given_names}",
                "give the manifest of that import, or run without -f to keep its credentials",
            )


def _plan(rundir: RunDir) -> Plan:
    return Plan.load(rundir.request / PLAN)


def _import_key(plan: Plan) -> tuple[str, str]:
    return plan.import_.namespace, plan.import_.name


def _carry_out(runs: Sequence[EmbeddedRun], retry_delay: float, output: OutputFormat) -> int:
    if not runs:
        err.print("nothing to do: the import has already succeeded", highlight=False)
    with Watch(err) as watch:
        results = asyncio.run(imports.run_all(runs, watch, first_delay=retry_delay)) if runs else []
    if output is not OutputFormat.TABLE:
        dump([summary.document(result) for result in results], output)
    for result in results:
        summary.print_result(result)
    return summary.exit_code(results)


@command(epilog="Example: vmferry discard ./alpine")
def discard(folder: Folder) -> int:
    """Abandon imports that failed or were stopped. Deletes what they made at the target and in the folder.

    For an import into a cluster this deletes its images, volumes and VM, unless the VM was already started.
    The VM at the source stays as it is, powered off.
    """
    rundirs = imports.find(folder)
    unfinished = [rundir for rundir in rundirs if phase_of(rundir.load()) is not Phase.SUCCEEDED]
    for rundir in unfinished or rundirs:
        for path in removal.discard(rundir):
            err.print(f"deleted {escape(path)}", highlight=False, soft_wrap=True)
    return Exit.DONE


@command(epilog="Examples: vmferry status ./alpine -o json · vmferry status ./waves")
def status(folder: Folder, output: Output = OutputFormat.TABLE) -> int:
    """Show the status of imports, also of imports that another vmferry process runs.

    For the folder of a MigrationPlan it also shows the plan, and the VMs whose imports have not started.
    """
    documents, state = [], plans.state_of(folder)
    if state is not None and output is OutputFormat.TABLE:
        write("".join(f"{line}\n" for line in plans.state_lines(state)))
    for rundir in imports.find(folder) if state is None else imports.of_plan(folder):
        name, is_running = _plan(rundir).import_.name, rundir.is_running()
        workflow = rundir.load()
        interrupted = not is_running and not phase_of(workflow).fulfilled
        documents.append(summary.state(name, rundir, workflow, interrupted=interrupted))
        if output is OutputFormat.TABLE:
            out.print(table(name, workflow, Rates(), None if interrupted else datetime.now(UTC)))
            if interrupted:
                summary.print_interrupted(name, rundir)
    if output is not OutputFormat.TABLE:
        dump(documents if state is None else {**state, "imports": documents}, output)
    return Exit.DONE


@command(epilog="Examples: vmferry plan -f vm.yaml -o yaml · vmferry plan -f source.yaml --vm 'web*'")
def plan(
    filename: Manifest = None,
    vm: Vms = None,
    source: SourceName = None,
    mapping_file: MappingFile = None,
    to: Annotated[
        TargetKind, typer.Option(help="Target: the folder, or the cluster of KUBECONFIG.")
    ] = TargetKind.DIRECTORY,
    network_policy: Annotated[NetworkPolicy, typer.Option()] = NetworkPolicy.LENIENT,
    name_policy: Annotated[NamePolicy, typer.Option()] = NamePolicy.NORMALISE,
    cpu_topology: Topology = CpuTopology.ONE_SOCKET,
    disks: Disks = WantedWay.PULL,
    output: Output = OutputFormat.TABLE,
) -> int:
    """Show what `run` would do, and every reason why it would not. Changes nothing.

    For a MigrationPlan it shows the waves and what the inventory shows of each VM.

    With `--to harvester` or `--to kubevirt` the cluster of KUBECONFIG checks the VM and its disks by dry
    runs.
    """
    settings = Settings(
        target=to,
        network_policy=network_policy,
        name_policy=name_policy,
        cpu_topology=cpu_topology,
        disks=disks,
    )
    stop = Stop()
    given, mappings = selecting.read_manifests(filename or []), _mapping_choice(mapping_file)
    if given.plans:
        plans.refuse_options(vm, source)
        return plans.show(given, settings, mappings, stop, output)
    jobs = selecting.select(given, settings, mappings, vm or (), source).jobs
    results = dryrun.with_collisions([dryrun.dry_run(job, stop) for job in jobs])
    if output is not OutputFormat.TABLE:
        dump([dryrun.document(result) for result in results], output)
    else:
        for result in results:
            out.print(dryrun.render(result))
            if result.manifest:
                out.print(to_yaml(result.manifest), markup=False, highlight=False, soft_wrap=True)
    for warning in dryrun.unused_rows(results):
        print_warning(warning)
    return next((result.code for result in results if result.reasons), Exit.DONE)


undo.register(_jobs)
inventory.register()
inspection.register()
extras.register()
cluster.register()

if __name__ == "__main__":
    main()
