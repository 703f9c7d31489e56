"""The command line `vmferry`. Exit codes are those of the steps (docs/cli.md): an exit code is an API."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from controller import boot as booting
from controller import embedded, environment, inventory, jobs, manifests, planning
from controller.embedded import Outcome, Run
from controller.frame import (
    INTERRUPTED,
    Folder,
    Format,
    Manifest,
    Output,
    app,
    attempt,
    command,
    dump,
    err,
    out,
    say_error,
)
from controller.local import FIRST_DELAY
from controller.rates import Rates
from controller.rundir import RunDir
from controller.view import table
from controller.watch import Watch
from steps.contract import Exit, StepError
from steps.plan import DiskFormat, NamePolicy, NetworkPolicy, Plan
from steps.program import PLAN
from steps.stop import Stop
from steps.yamltext import to_yaml
from workflows.settings import Settings
from workflows.status import Phase, leaves, phase_of

__all__ = ["app", "attempt", "main"]


def main() -> None:
    """Run the command line and leave with the exit code of what happened."""
    sys.exit(attempt())


def _jobs(filenames: list[str] | None, settings: Settings) -> list[jobs.Job]:
    given = manifests.read(filenames or [])
    for ignored in given.ignored:
        err.print(f"passed over {escape(ignored)}", highlight=False, style="dim")
    return jobs.jobs(given, environment.read(os.environ), settings)


@command(epilog="Example: vmferry run -f vm.yaml --into ./alpine")
def run(
    into: Annotated[Path, typer.Option(help="Folder for the result; new or empty.")],
    filename: Manifest = None,
    format: Annotated[DiskFormat, typer.Option(help="Format of the disks.")] = DiskFormat.QCOW2,  # noqa: A002
    network_policy: Annotated[
        NetworkPolicy, typer.Option(help="A source network that does not exist: warn, or refuse.")
    ] = NetworkPolicy.LENIENT,
    name_policy: Annotated[
        NamePolicy, typer.Option(help="A name that is no DNS-1123 label: make it fit, or refuse.")
    ] = NamePolicy.NORMALISE,
    retry_delay: Annotated[
        float, typer.Option(min=0, help="Seconds before a step is tried again; doubles each time.")
    ] = FIRST_DELAY,
    output: Output = Format.TABLE,
) -> int:
    """Import machines into a folder, with no cluster: every stage is a local process.

    Manifests are those of `kubectl apply`: Secret, VmwareSource and VirtualMachineImport in any order.
    GOVC_URL, GOVC_USERNAME, GOVC_PASSWORD, GOVC_DATACENTER and VM_NAME are taken where no manifest says
    otherwise.
    """
    settings = Settings(format=format, network_policy=network_policy, name_policy=name_policy)
    return _carry_out(embedded.create(_jobs(filename, settings), into), retry_delay, output)


@command(epilog="Example: vmferry retry ./alpine")
def retry(
    folder: Folder,
    filename: Manifest = None,
    retry_delay: Annotated[
        float, typer.Option(min=0, help="Seconds before a step is tried again; doubles each time.")
    ] = FIRST_DELAY,
    output: Output = Format.TABLE,
) -> int:
    """Go on with imports that failed or were interrupted; nothing that is done is done again.

    With -f the credentials are taken anew from the manifests, as after a password was changed.
    """
    given = _jobs(filename, Settings()) if filename else []
    fresh = {_key(job.plan): job.credentials for job in given}
    found = embedded.find(folder)
    runs = [embedded.reopen(rundir, fresh.get(_key(_plan(rundir)))) for rundir in found]
    return _carry_out([run for run in runs if run is not None], retry_delay, output)


def _plan(rundir: RunDir) -> Plan:
    return Plan.load(rundir.request / PLAN)


def _key(plan: Plan) -> tuple[str, str]:
    return plan.import_.namespace, plan.import_.name


def _carry_out(runs: Sequence[Run], retry_delay: float, output: Format) -> int:
    if not runs:
        err.print("nothing to do: the import is done", highlight=False)
    with Watch(err) as watch:
        outcomes = asyncio.run(embedded.carry_out(runs, watch, first_delay=retry_delay)) if runs else []
    if output is not Format.TABLE:
        dump([_outcome(outcome) for outcome in outcomes], output)
    for outcome in outcomes:
        _tell(outcome)
    codes = [outcome.code for outcome in outcomes if outcome.phase is not Phase.SUCCEEDED]
    stopped = any(outcome.stopped for outcome in outcomes)
    return INTERRUPTED if stopped else (codes or [Exit.DONE])[0]


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "import": outcome.name,
        "folder": str(outcome.folder),
        "phase": outcome.phase,
        "exitCode": int(outcome.code),
        "failed": outcome.cause.title if outcome.cause else None,
        "message": outcome.cause.words if outcome.cause else "",
    }


def _tell(outcome: Outcome) -> None:
    """The last words about an import: what came of it and what to do next."""
    folder = outcome.folder
    if outcome.phase is Phase.SUCCEEDED:
        err.print(f"{outcome.name}: imported into {folder}", soft_wrap=True, highlight=False, markup=False)
        err.print(
            f"  look at it:  vmferry status {folder}\n  try it:      vmferry boot {folder}", soft_wrap=True
        )
        return
    cause = outcome.cause
    if outcome.stopped:
        err.print(f"{outcome.name}: stopped; what is done is kept", highlight=False, markup=False)
    elif cause is not None:
        say_error(f"{outcome.name}: {cause.title} failed: {cause.words}")
        log = folder / ".vmferry" / "logs" / f"{cause.title.replace(' ', '-')}.log"
        err.print(f"  its log:  {log}", soft_wrap=True, highlight=False)
    if cause is not None and cause.stage == "preflight" and not outcome.stopped:
        err.print("  nothing was touched: mend it and say the same again", soft_wrap=True, highlight=False)
    else:
        err.print(f"  go on:    vmferry retry {folder}", soft_wrap=True, highlight=False)


@command(epilog="Example: vmferry status ./alpine -o json")
def status(folder: Folder, output: Output = Format.TABLE) -> int:
    """Show where imports stand, also while another vmferry runs them."""
    imports = embedded.find(folder)
    found = [(_plan(rundir).import_.name, rundir.load()) for rundir in imports]
    if output is not Format.TABLE:
        dump([_state(name, workflow) for name, workflow in found], output)
    else:
        for name, workflow in found:
            out.print(table(name, workflow, Rates()))
    return Exit.DONE


def _state(name: str, workflow: dict[str, Any]) -> dict[str, Any]:
    stages = [
        {
            "stage": leaf.stage,
            "disk": leaf.disk,
            "phase": leaf.phase,
            "attempts": leaf.attempts,
            "done": leaf.done,
            "total": leaf.total,
            "message": leaf.words,
        }
        for leaf in leaves(workflow)
    ]
    return {"import": name, "phase": phase_of(workflow), "stages": stages}


@command(epilog="Example: vmferry plan -f vm.yaml -o yaml")
def plan(
    filename: Manifest = None,
    network_policy: Annotated[NetworkPolicy, typer.Option()] = NetworkPolicy.LENIENT,
    name_policy: Annotated[NamePolicy, typer.Option()] = NamePolicy.NORMALISE,
    output: Output = Format.TABLE,
) -> int:
    """Show what `run` would do, and every reason why it would not. Touches nothing."""
    settings = Settings(network_policy=network_policy, name_policy=name_policy)
    stop = Stop()
    results = [planning.dry_run(job, stop) for job in _jobs(filename, settings)]
    if output is not Format.TABLE:
        dump([planning.document(result) for result in results], output)
    else:
        for result in results:
            out.print(planning.render(result))
            if result.manifest:
                out.print(to_yaml(result.manifest), markup=False, highlight=False, soft_wrap=True)
    return next((result.code for result in results if result.reasons), Exit.DONE)


@command(
    name="inventory",
    epilog="Example: vmferry inventory -f source.yaml --manifest web01 > web01.yaml",
)
def list_inventory(
    filename: Manifest = None,
    source: Annotated[str | None, typer.Option(help="Which source, when the manifests have several.")] = None,
    manifest: Annotated[
        str | None, typer.Option(metavar="NAME", help="Write a VirtualMachineImport of this machine.")
    ] = None,
    folder: Annotated[str | None, typer.Option(help="The machine's folder, with --manifest.")] = None,
    network: Annotated[
        str, typer.Option(help="Where --manifest maps every network until you edit it.")
    ] = "default/vlan1",
    output: Output = Format.TABLE,
) -> int:
    """List the machines, networks and folders of a source, or write the manifest that imports one of them."""
    given = manifests.read(filename or [])
    where, credentials = jobs.only_source(given, environment.read(os.environ), source)
    with (
        planning.Credentials(credentials) as files,
        planning.look(where, files, Stop(), "inventory") as provider,
    ):
        if manifest is not None:
            machine = provider.describe(manifest, folder)
            out.print(
                to_yaml(inventory.manifest(machine, where, network)),
                end="",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
            return Exit.DONE
        found = provider.inventory()
    if output is Format.TABLE:
        out.print(inventory.render(found))
    else:
        dump(inventory.document(found), output)
    return Exit.DONE


@command(epilog="Example: vmferry boot ./alpine --timeout 120")
def boot(
    folder: Folder,
    persistent: Annotated[bool, typer.Option(help="Let the machine change its disks.")] = False,
    kvm: Annotated[bool, typer.Option(help="Use /dev/kvm when it is there.")] = True,
    memory: Annotated[int | None, typer.Option(help="MiB, instead of the manifest's.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds until the machine must be off.")] = None,
) -> int:
    """Boot an imported machine under QEMU and show its serial console; its disks stay as they are.

    It runs cut off from the network, with the firmware, buses, cards and MACs of its manifest. On a terminal
    Ctrl-a x ends it.
    """
    console = (
        ["-serial", "mon:stdio"]
        if sys.stdin.isatty()
        else ["-serial", "file:/dev/stdout", "-monitor", "none"]
    )
    booting.load(folder)
    if kvm and not booting.kvm_usable():
        err.print("no usable KVM on this machine: software emulation, which is slower", style="dim")
    options = booting.Options(persistent=persistent, kvm=kvm, memory_mib=memory)
    code = booting.boot(folder, options, console, timeout=timeout)
    return Exit.DONE if code == 0 else Exit.INTERNAL


@command(epilog="Example: vmferry demo --into ./demo")
def demo(
    into: Annotated[Path, typer.Option(help="Folder for the demo; made anew each time.")] = Path("demo"),
) -> int:
    """Import a machine from a simulated vCenter and boot it, to see it all work. Needs a checkout."""
    checkout = Path(__file__).parents[1]
    prepare = checkout / "tests" / "prepare.sh"
    if not prepare.exists():
        raise StepError(
            Exit.UNSUPPORTED,
            "the demo is part of the source tree",
            f"there is none around {checkout}",
            "clone the repository and say `make demo`",
        )
    if subprocess.run([prepare, "packages", "vcenter", "guest"], check=False).returncode:
        return Exit.INVALID
    from tests.demo import demo as play  # noqa: PLC0415 - there in a checkout only

    return play(into)


if __name__ == "__main__":
    main()
