"""The command `undo`: back to the VM at its source, in a folder or in a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from controller.cli import cluster, confirmation
from controller.cli.app import Manifest, Output, OutputFormat, command, dump, err, print_error
from controller.client import changes, plan_changes
from controller.local import imports
from controller.local.undo import Undone, undo
from controller.manifests.resolve import Job
from steps.model.contract import Exit, StepError
from steps.model.plan import Plan
from steps.model.restore import RestoreState
from steps.runtime.program import PLAN

EPILOG = (
    "Examples: vmferry undo ./alpine · vmferry undo ./alpine -f vm.yaml --yes · "
    "vmferry undo web-01 -n default -o json --yes"
)

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def register(jobs: Callable[[list[str] | None], list[Job]]) -> None:
    """Register the command; `jobs` reads manifests."""

    @command(epilog=EPILOG, name="undo")
    def undo_import(
        folder: Annotated[
            Path,
            typer.Argument(
                metavar="DIR|NAME",
                help="Folder of the import, as given to `run --into`; with -n the import's name.",
            ),
        ],
        filename: Manifest = None,
        namespace: Annotated[
            str,
            typer.Option("-n", "--namespace", help="Undo the import NAME of this namespace in the cluster"),
        ] = "",
        yes: Yes = False,
        output: Output = OutputFormat.TABLE,
    ) -> int:
        """Go back to the VM at its source: stop the VM at the target, then start the VM at the source.

        Nothing is deleted: the command says what remains at the target, and how to delete it. What the VM at
        the target has written since it was started stays on its disks and does not reach the source. A VM
        that was off at the source before the import stays off. A retry after an undo copies the VM again.

        An import that has succeeded has no credentials any more: give its manifests with -f.

        With -n the import is one in the cluster of KUBECONFIG. vmferry's controller there undoes it.
        """
        if namespace:
            if filename:
                raise StepError(
                    Exit.INVALID,
                    "-f and -n cannot be combined",
                    "in a cluster vmferry reads the credentials from the source's Secret",
                    "run the command without -f",
                )
            _confirm(f"import {namespace}/{folder}", yes=yes)
            return cluster.request(str(folder), namespace, changes.undo, plan_changes.undo, output)
        cluster.refuse_a_name(folder, "undo")
        rundirs = imports.find(folder)
        credentials = _credentials(jobs(filename) if filename else [])
        _confirm(", ".join(str(rundir.root) for rundir in rundirs), yes=yes)
        results = [
            undo(rundir, credentials.get(_key(Plan.load(rundir.request / PLAN)))) for rundir in rundirs
        ]
        if output is not OutputFormat.TABLE:
            dump([document(result) for result in results], output)
        for result in results:
            _print_result(result)
        return exit_code(results)


def exit_code(results: list[Undone]) -> int:
    """POWER if a VM does not run at its source although it should."""
    failed = any(result.source.state is RestoreState.FAILED for result in results)
    return Exit.POWER if failed else Exit.DONE


def document(result: Undone) -> dict[str, Any]:
    """What an undo did, for a program."""
    return {
        "import": result.name,
        "folder": str(result.folder),
        "source": {"state": str(result.source.state), "message": result.source.message},
        "remaining": list(result.remaining),
        "delete": list(result.delete),
    }


def _confirm(what: str, *, yes: bool) -> None:
    """Ask a person, unless the answer was given. Raises StepError (INVALID) without a yes."""
    if not yes:
        confirmation.ask("undo", f"Stop the VM at the target and start the VM at its source: {what}?")


def _credentials(given: list[Job]) -> Mapping[tuple[str, str], dict[str, bytes]]:
    return {_key(job.plan): job.credentials for job in given}


def _key(plan: Plan) -> tuple[str, str]:
    return plan.import_.namespace, plan.import_.name


def _print_result(result: Undone) -> None:
    if result.source.state is RestoreState.FAILED:
        print_error(f"{result.name}: {result.source.message}")
    else:
        parts = (f"{result.name}: undone", result.source.message, result.source.mark_message)
        _print("; ".join(filter(None, parts)))
    for text in result.remaining:
        _print(f"  remains:  {text}")
    for text in result.delete:
        _print(f"  delete:   {text}")


def _print(text: str) -> None:
    err.print(escape(text), soft_wrap=True, highlight=False)
