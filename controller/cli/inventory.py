"""The command `inventory`: lists a source, and writes the manifests that import its VMs."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.markup import escape
from typer.core import TyperCommand

from controller.cli import dryrun, tables
from controller.cli.app import Manifest, Output, OutputFormat, command, dump, err, out, print_warning, write
from controller.generate import bulk, manifest_folder, mappingfile
from controller.generate.manifest import entries
from controller.generate.manifest_folder import ManifestDir, WriteResult
from controller.generate.mappingfile import Places, all_to
from controller.generate.naming import chosen
from controller.manifests import environment, read, resolve
from steps.model.contract import Exit
from steps.model.machine import Machine
from steps.model.yaml import to_yaml
from steps.providers import Inventory, Provider
from steps.runtime.stop import Stop
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
    manifest: Annotated[
        str | None,
        typer.Option(
            metavar="[NAME]", help="Write the VirtualMachineImport of this VM. Give no name with --all."
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="With --manifest: write one manifest for each VM into a folder.")
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
    folder: Annotated[
        str | None, typer.Option(help="The VM's folder at the source, with --manifest NAME.")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help=f"Destination of every network until you edit it. Without --all: {DESTINATION}."),
    ] = None,
    output: Output = OutputFormat.TABLE,
) -> int:
    """List the VMs, networks and folders of a source, or write the manifests that import the VMs.

    `--manifest NAME` writes the manifest of one VM to standard output. `--all --manifest` fills a folder with
    a manifest for each VM that can be imported, the source without its credentials, and mapping.vmferry, an
    ImportMapping in which each network and datastore has a row to edit. A second run writes the rows into the
    manifests. It keeps manifests that were edited by hand.
    """
    _check(manifest, every=every, folder=folder, only_all=(into is not None or force))
    given = read.read(filename or [])
    for warning in given.converted:
        print_warning(warning)
    variables = environment.read(os.environ)
    selected = resolve.only_source(given, variables, source)
    if mapping is not None and not mapping.is_file():
        raise typer.BadParameter(f"file {mapping} does not exist", param_hint="--mapping")
    with _open(selected, given, variables) as provider:
        if manifest:
            machine = provider.describe(manifest, folder)
            _write_manifest(machine, selected, manifest, _places(machine, mapping, network))
            return Exit.DONE
        listed = provider.inventory()
    if every:
        target = ManifestDir(into or INTO, force=force)
        _print_report(bulk.write(listed.machines, selected, target, mapping, network or ""), output)
    else:
        _print_inventory(listed, output)
    return Exit.DONE


def _check(manifest: str | None, *, every: bool, folder: str | None, only_all: bool) -> None:
    """Raise BadParameter for options that cannot be combined."""
    if manifest == "" and not every:
        raise typer.BadParameter("give the name of a VM, or use --all", param_hint="--manifest")
    if every and manifest != "" and (manifest or not only_all):
        raise typer.BadParameter("use --all --manifest, without a name", param_hint="--all")
    if only_all and not every:
        raise typer.BadParameter("they need --all", param_hint="--into, --force")
    if folder is not None and not manifest:
        raise typer.BadParameter("it needs --manifest NAME", param_hint="--folder")


@contextmanager
def _open(source: Source, given: read.Manifests, variables: environment.Environment) -> Iterator[Provider]:
    plan, credentials = resolve.access(source, given, variables)
    with (
        dryrun.credentials(credentials) as files,
        dryrun.open_provider(plan, files, Stop(), "inventory") as provider,
    ):
        yield provider


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


def _print_inventory(listed: Inventory, output: OutputFormat) -> None:
    if output is OutputFormat.TABLE:
        out.print(tables.render(listed))
    else:
        dump(tables.document(listed), output)


def register() -> None:
    """Add the command to the application."""
    command(
        name="inventory",
        epilog="Examples: vmferry inventory -f source.yaml --manifest web01 > web01.yaml · "
        "vmferry inventory -f source.yaml --all --manifest --into imports",
        cls=OptionalName,
    )(list_inventory)
