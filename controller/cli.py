"""The command line `vmferry`. Exit codes are those of the steps (docs/cli.md): an exit code is an API."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape

from controller import boot as booting
from controller import embedded, environment, inventory, jobs, manifests, planning
from controller.embedded import Outcome, Run
from controller.local import FIRST_DELAY
from controller.rates import Rates
from controller.rundir import RunDir
from controller.view import table
from controller.watch import Watch
from steps import __version__
from steps.contract import Exit, StepError, Stopped
from steps.plan import DiskFormat, NamePolicy, NetworkPolicy, Plan
from steps.program import PLAN
from steps.stop import Stop
from workflows.settings import Settings
from workflows.status import Phase, leaves, phase_of

P = ParamSpec("P")

INTERRUPTED: Final = 130
"""What a shell shows for a program that Ctrl-C ended."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Bring virtual machines from vSphere to Harvester and KubeVirt, or into a folder for a first try.",
    epilog="Exit codes: 0 done, 2 wrong command line, 10-19 a person must act, 30-32 try again, 130 Ctrl-C.",
)
out = Console(width=None if sys.stdout.isatty() else 400)
err = Console(stderr=True)

Manifest = Annotated[
    list[str] | None,
    typer.Option("-f", "--filename", help="YAML as for kubectl apply: a file, a folder, or - for stdin."),
]
Output = Annotated[str, typer.Option("-o", "--output", help="table, json or yaml.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that `run --into` was given.")]


def main() -> None:
    """Run the command line and leave with the exit code of what happened."""
    sys.exit(attempt())


def attempt(argv: Sequence[str] | None = None) -> int:
    """Run the command line without leaving the process."""
    try:
        app(argv, prog_name="vmferry")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else Exit.INTERNAL
    except manifests.InvalidManifestsError as error:
        for fault in error.faults:
            _error(fault)
        return error.code
    except StepError as error:
        _error(str(error))
        return error.code
    except (KeyboardInterrupt, Stopped):
        _error("stopped")
        return INTERRUPTED
    return Exit.DONE


def command(epilog: str, name: str | None = None) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Register a command whose result is the exit code."""

    def register(function: Callable[P, int]) -> Callable[P, int]:
        @functools.wraps(function)
        def leave(*args: P.args, **kwargs: P.kwargs) -> int:
            raise typer.Exit(function(*args, **kwargs))

        app.command(name, epilog=epilog)(leave)
        return function

    return register


def _error(text: str) -> None:
    err.print(f"[red]error:[/] {escape(text)}", soft_wrap=True, highlight=False)


def _version(value: bool) -> None:
    if value:
        out.print(f"vmferry {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    _show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


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
    output: Output = "table",
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
    output: Output = "table",
) -> int:
    """Go on with imports that failed or were interrupted; nothing that is done is done again.

    With -f the credentials are taken anew from the manifests, as after a password was changed.
    """
    fresh = {job.name: job.credentials for job in _jobs(filename, Settings())} if filename else {}
    found = embedded.find(folder)
    runs = [embedded.reopen(rundir, fresh.get(_import_name(rundir))) for rundir in found]
    return _carry_out([run for run in runs if run is not None], retry_delay, output)


def _import_name(rundir: RunDir) -> str:
    return Plan.load(rundir.request / PLAN).import_.name


def _carry_out(runs: Sequence[Run], retry_delay: float, output: str) -> int:
    if not runs:
        err.print("nothing to do: the import is done", highlight=False)
    with Watch(err) as watch:
        outcomes = asyncio.run(embedded.carry_out(runs, watch, first_delay=retry_delay)) if runs else []
    if output == "json":
        _dump([_outcome(outcome) for outcome in outcomes], output)
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
        _error(f"{outcome.name}: {cause.title} failed: {cause.words}")
        log = folder / ".vmferry" / "logs" / f"{cause.title.replace(' ', '-')}.log"
        err.print(f"  its log:  {log}", soft_wrap=True, highlight=False)
    if cause is not None and cause.stage == "preflight" and not outcome.stopped:
        err.print("  nothing was touched: mend it and say the same again", soft_wrap=True, highlight=False)
    else:
        err.print(f"  go on:    vmferry retry {folder}", soft_wrap=True, highlight=False)


@command(epilog="Example: vmferry status ./alpine -o json")
def status(folder: Folder, output: Output = "table") -> int:
    """Show where imports stand, also while another vmferry runs them."""
    found = {_import_name(rundir): rundir.load() for rundir in embedded.find(folder)}
    if output != "table":
        _dump([_state(name, workflow) for name, workflow in found.items()], output)
    else:
        for name, workflow in found.items():
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
    output: Output = "table",
) -> int:
    """Show what `run` would do, and every reason why it would not. Touches nothing."""
    settings = Settings(network_policy=network_policy, name_policy=name_policy)
    stop = Stop()
    results = [planning.dry_run(job, stop) for job in _jobs(filename, settings)]
    if output != "table":
        _dump([planning.document(result) for result in results], output)
    else:
        for result in results:
            out.print(planning.render(result))
            if result.manifest:
                out.print(inventory.to_yaml(result.manifest), markup=False, highlight=False, soft_wrap=True)
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
    output: Output = "table",
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
                inventory.to_yaml(inventory.manifest(machine, where, network)),
                end="",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
            return Exit.DONE
        found = provider.inventory()
    if output == "table":
        out.print(inventory.render(found))
    else:
        _dump(inventory.document(found), output)
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


def _dump(value: Any, output: str) -> None:
    if output == "json":
        out.print(json.dumps(value, indent=2), markup=False, highlight=False, soft_wrap=True)
    elif output == "yaml":
        text = inventory.to_yaml(json.loads(json.dumps(value)))
        out.print(text, end="", markup=False, highlight=False, soft_wrap=True)
    else:
        raise StepError(Exit.INVALID, f"unknown output {output!r}", remedy="choose table, json or yaml")


if __name__ == "__main__":
    main()
