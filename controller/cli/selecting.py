"""The VMs of `vmferry run` and `vmferry plan`: all imports of the manifests, or those that patterns fit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import typer
from rich.markup import escape

from controller.cli import confirmation, dryrun
from controller.cli.app import err, print_warning
from controller.generate.selected import jobs_of
from controller.manifests import environment, read, resolve
from steps.model.wildcards import has_wildcard
from workflows.settings import Settings

MOST_SHOWN: Final = 50
"""VMs that a question lists."""
WILDCARDS: Final = "`*` fits any text, `?` one character, `[ab]` one of these; put it in quotes."
"""For the help of options with patterns."""

Vms = Annotated[
    list[str] | None,
    typer.Option(
        "--vm",
        metavar="PATTERN",
        help="Only VMs whose name or inventory path fits, or that have this ID. Without a "
        "VirtualMachineImport in the "
        "manifests, vmferry makes one for each of these VMs of the source. May be given several times. "
        + WILDCARDS,
    ),
]
SourceName = Annotated[
    str | None,
    typer.Option(
        "--source", metavar="[KIND/]NAME", help="With --vm: the source, if the manifests contain several."
    ),
]
Yes = Annotated[
    bool,
    typer.Option("--yes", "-y", help="With --vm: import all VMs that a wildcard fits, without a question."),
]


@dataclass(frozen=True)
class Selected:
    """Imports, and whether a wildcard chose them among all VMs of a source."""

    jobs: list[resolve.Job]
    is_by_wildcard: bool = False


def read_manifests(filenames: Sequence[str]) -> read.Manifests:
    """The manifests; what is ignored or converted is said on standard error.

    Raises:
        InvalidManifestsError: with every fault.
    """
    given = read.read(filenames)
    for warning in given.converted:
        print_warning(warning)
    for ignored in given.ignored:
        err.print(
            f"ignored {escape(ignored)} (not a vmferry resource)",
            highlight=False,
            style="dim",
            soft_wrap=True,
        )
    return given


def embedded(settings: Settings) -> Settings:
    """The settings of a run on this computer."""
    own = {"local_files": True, "mounts_claims": False, "allow_volumes": True}
    boots = {"boot_check": True, "boot_check_networks": None, "hooks": True}
    return settings.model_copy(update=own | boots)


def select(
    given: read.Manifests,
    settings: Settings,
    mappings: resolve.MappingChoice,
    vms: Sequence[str],
    source: str | None,
) -> Selected:
    """The imports of the manifests, or with `vms` those that the patterns fit; else VMs of the only source.

    Raises:
        InvalidManifestsError: with every reason.
        StepError: NOT_FOUND, if a pattern fits no VM of the source; the errors of the source.
    """
    local = embedded(settings)
    variables = environment.read(os.environ)
    if not vms or given.imports or given.v2v_imports:
        return Selected(resolve.jobs(given, variables, local, mappings, vms))
    chosen = resolve.only_source(given, variables, source)
    with dryrun.open_source(chosen, given, variables) as provider:
        machines = dryrun.read_inventory(provider).machines
    jobs = jobs_of(vms, machines, chosen, given, variables, local, mappings.default)
    return Selected(jobs, is_by_wildcard=any(map(has_wildcard, vms)))


def confirm(selected: Selected, *, yes: bool) -> None:
    """Ask before VMs that nobody has named are shut down. Raises StepError (INVALID) without a yes."""
    if not selected.is_by_wildcard or yes:
        return
    names = [_name(job) for job in selected.jobs]
    for name in names[:MOST_SHOWN]:
        err.print(f"  {escape(name)}", highlight=False, soft_wrap=True)
    if len(names) > MOST_SHOWN:
        err.print(f"  and {len(names) - MOST_SHOWN} more", highlight=False)
    question = f"Shut down and import {'this VM' if len(names) == 1 else f'these {len(names)} VMs'}?"
    confirmation.ask("run", question)


def _name(job: resolve.Job) -> str:
    folder = (job.plan.folder or "").rstrip("/")
    return f"{folder}/{job.plan.vm}" if folder else job.plan.vm
