"""The command `inventory`: lists a source, and writes the manifests that import its VMs."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.markup import escape
from typer.core import TyperCommand

from controller.assess import workload
from controller.assess.readiness import Readiness
from controller.assess.selection import Selection, Sort
from controller.assess.workload import MIB
from controller.cli import dryrun, listing
from controller.cli.app import Manifest, OutputFormat, command, dump, err, print_warning, write
from controller.cli.listing import InventoryFormat, Wanted
from controller.cli.selecting import WILDCARDS
from controller.generate import bulk, manifest_folder, mappingfile
from controller.generate.manifest import entries
from controller.generate.manifest_folder import ManifestDir, WriteResult
from controller.generate.mappingfile import Places, all_to
from controller.generate.naming import chosen
from controller.manifests import environment, read, resolve
from steps.model import inventory_path
from steps.model.contract import Exit
from steps.model.machine import Machine, Power
from steps.model.yaml import to_yaml
from workflows.api.sources import Source

INTO: Final = Path("imports")
"""Default folder for manifests."""
DESTINATION: Final = "default/vlan1"
"""Default destination network in the manifest of a single VM."""


class OptionalName(TyperCommand):
    """A command whose `--manifest` may have no value, which Typer's options do not support."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        return super().parse_args(ctx, with_manifest_value(args))


def with_manifest_value(argv: Sequence[str]) -> list[str]:
    """`argv` with a bare `--manifest` (at the end, or before an option) as `--manifest=`."""
    return [
        "--manifest=" if word == "--manifest" and after.startswith("-") else word
        for word, after in itertools.pairwise([*argv, "-"])
    ]


def list_inventory(
    filename: Manifest = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="[KIND/]NAME", help="The source to list, if the manifests contain several."),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Only VMs whose name or inventory path fits, or that have this ID. May be given several "
            "times: one must fit. "
            f"{WILDCARDS}",
        ),
    ] = None,
    folder: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Only VMs in this folder or below it: a path, or one below the datacenter's `vm` folder; "
            "the cluster of oVirt; the namespace of KubeVirt. With --manifest NAME: the VM's folder.",
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Only VMs with a tag that fits, as NAME or CATEGORY:NAME; for KubeVirt a label. If given "
            "several times, the VM needs a tag for each.",
        ),
    ] = None,
    power: Annotated[
        list[Power] | None, typer.Option(help="Only VMs in this power state. May be given several times.")
    ] = None,
    readiness: Annotated[
        list[Readiness] | None,
        typer.Option(help="Only VMs that can be imported, with warnings or not, or that cannot."),
    ] = None,
    sort: Annotated[
        Sort | None,
        typer.Option(
            help="Sort by this; `disks` is their size, `read` what an import reads. Default: as the source."
        ),
    ] = None,
    descending: Annotated[bool, typer.Option("--descending", help="Sort in descending order.")] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write an assessment of these VMs: FILE.html and FILE.md, or one of them if FILE ends so.",
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            metavar="MIB/S",
            help="For the estimated time: MiB per second that arrive from the source, all VMs together. "
            f"Default: {workload.ASSUMED.bytes_per_second / MIB:.0f}.",
        ),
    ] = None,
    rate_from: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Measure the rate in a folder of `vmferry run --into`."),
    ] = None,
    manifest: Annotated[
        str | None,
        typer.Option(
            metavar="[NAME]", help="Write the VirtualMachineImport of this VM. Give no name with --all."
        ),
    ] = None,
    every: Annotated[
        bool,
        typer.Option(
            "--all", help="With --manifest: write one manifest for each of these VMs into a folder."
        ),
    ] = False,
    into: Annotated[
        Path | None, typer.Option(metavar="DIR", help=f"Folder for --all. Default: {INTO}.")
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="An ImportMapping as YAML: where networks and disks go. Default: "
            f"{mappingfile.NAME} in the folder.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Overwrite files that were edited by hand.")] = False,
    network: Annotated[
        str | None,
        typer.Option(help=f"Destination of every network until you edit it. Without --all: {DESTINATION}."),
    ] = None,
    output: Annotated[
        InventoryFormat,
        typer.Option(
            "-o", "--output", help="Output format: a table for people, csv for spreadsheets, json or yaml."
        ),
    ] = InventoryFormat.TABLE,
) -> int:
    """List the VMs, networks and folders of a source, assess them, or write the manifests that import them.

    The readiness of a VM is what the inventory shows of it: `ready`, `warnings`, `blocked`. `vmferry plan`
    checks more, also at the target.

    `--report FILE` writes an assessment: readiness, blockers, sizes and the estimated time, with its formula
    and the origin of its rate.

    `--manifest NAME` writes the manifest of one VM to standard output. `--all --manifest` fills a folder with
    a manifest for each VM that can be imported, the source without its credentials, and mapping.vmferry, an
    ImportMapping in which each network and datastore has a row to edit. A second run writes the rows into the
    manifests. It keeps manifests that were edited by hand.
    """
    selection = Selection(
        names=tuple(name or ()),
        folders=tuple(folder or ()) if not manifest else (),
        tags=tuple(tag or ()),
        powers=tuple(power or ()),
        readiness=tuple(readiness or ()),
    )
    is_listed = bool(selection or sort or descending or report)
    _check(
        manifest, every=every, folders=folder or (), only_all=(into is not None or force), listed=is_listed
    )
    if every and (output is InventoryFormat.CSV or report is not None):
        raise typer.BadParameter("it lists VMs and writes no manifests", param_hint="--report, -o csv")
    _check_rate(rate, rate_from)
    given = read.read(filename or [])
    for warning in given.converted:
        print_warning(warning)
    variables = environment.read(os.environ)
    selected = resolve.only_source(given, variables, source)
    if mapping is not None and not mapping.is_file():
        raise typer.BadParameter(f"file {mapping} does not exist", param_hint="--mapping")
    wanted = Wanted(
        selection=selection,
        sort=sort,
        descending=descending,
        output=output,
        report=report,
        rate=listing.rate(rate, rate_from),
    )
    with dryrun.open_source(selected, given, variables) as provider:
        if manifest:
            machine = provider.describe(*_split(selected, manifest, folder[0] if folder else None))
            _write_manifest(machine, selected, manifest, _places(machine, mapping, network))
            return Exit.DONE
        inventory = dryrun.read_inventory(provider)
    listed = listing.listing(inventory, selected, wanted)
    if every:
        chosen = {one.machine.source_id for one in listed.vms}
        target = ManifestDir(into or INTO, force=force)
        written = bulk.write(inventory.machines, selected, target, mapping, network or "", chosen)
        _print_report(written, OutputFormat(output))
    else:
        listing.show(listed, selected, wanted)
    return Exit.DONE


def _split(source: Source, vm: str, folder: str | None) -> tuple[str, str | None]:
    """Name and folder of a VM that may be named by its inventory path. Raises BadParameter."""
    try:
        return inventory_path.of_import(source.kind, vm, folder)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--folder") from None


def _check(
    manifest: str | None, *, every: bool, folders: Sequence[str], only_all: bool, listed: bool
) -> None:
    """Raise BadParameter for options that cannot be combined."""
    if manifest == "" and not every:
        raise typer.BadParameter("give the name of a VM, or use --all", param_hint="--manifest")
    if every and manifest != "" and (manifest or not only_all):
        raise typer.BadParameter("use --all --manifest, without a name", param_hint="--all")
    if only_all and not every:
        raise typer.BadParameter("they need --all", param_hint="--into, --force")
    if manifest and len(folders) > 1:
        raise typer.BadParameter("give one folder with --manifest NAME", param_hint="--folder")
    if manifest and listed:
        raise typer.BadParameter(
            "it selects one VM by its name; use --all --manifest to select by other options",
            param_hint="--manifest",
        )


def _check_rate(rate: float | None, rate_from: Path | None) -> None:
    """Raise BadParameter unless at most one of them is given, and the rate is a number."""
    if rate is not None and rate_from is not None:
        raise typer.BadParameter("give one of them", param_hint="--rate, --rate-from")
    if rate is not None and not math.isfinite(rate):
        raise typer.BadParameter("it must be a number of MiB per second", param_hint="--rate")


def _places(machine: Machine, mapping: Path | None, network: str | None) -> Places:
    return mappingfile.load(mapping)[1] if mapping else all_to(network or DESTINATION, [machine])


def _write_manifest(machine: Machine, source: Source, name: str, places: Places) -> None:
    """Write the manifest of one VM to standard output, below its remarks as comments."""
    (entry,) = entries([chosen(machine, source, name)], places)
    remarks = "".join(f"# {manifest_folder.line(remark)}\n" for remark in entry.remarks)
    write(remarks + to_yaml(entry.manifest))


def _print_report(report: bulk.FolderReport, output: OutputFormat) -> None:
    """Report what was written: lines on standard error, or a document on standard output."""
    if output is not OutputFormat.TABLE:
        dump(bulk.document(report), output)
    for file in report.files:
        if file.result in (WriteResult.WRITTEN, WriteResult.UPDATED):
            err.print(f"{file.result} {escape(str(file.path))}", highlight=False, soft_wrap=True)
    for warning in bulk.warnings(report):
        print_warning(warning)
    err.print(escape(bulk.summary(report)), highlight=False, soft_wrap=True)


def register() -> None:
    """Add the command to the application."""
    command(
        name="inventory",
        epilog="Examples: vmferry inventory -f source.yaml --folder prod --power on --sort disks · "
        "vmferry inventory -f source.yaml --name 'web*' --readiness blocked -o csv > blocked.csv · "
        "vmferry inventory -f source.yaml --report assessment --rate-from ./alpine · "
        "vmferry inventory -f source.yaml --manifest web01 > web01.yaml · "
        "vmferry inventory -f source.yaml --tag 'wave:1' --all --manifest --into imports",
        cls=OptionalName,
    )(list_inventory)
