"""The commands for an import in a cluster: approve, suspend, resume, cancel; and `retry` with a namespace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from controller.cli.app import Output, OutputFormat, command, dump, err
from controller.client import ask, changes
from steps.model.contract import Exit, StepError
from steps.model.plan import Gate
from steps.runtime.stop import Stop

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The VirtualMachineImport in the cluster of KUBECONFIG.")
]
Namespace = Annotated[
    str,
    typer.Option(
        "-n",
        "--namespace",
        help="Namespace of the import. Default: the namespace of the kubeconfig's context.",
    ),
]
WATCH: Final = (
    "to watch it:  kubectl get -n {namespace} virtualmachineimport.migration {name} -o wide --watch"
)


def approve(
    name: Name,
    gate: Annotated[
        Gate | None,
        typer.Argument(
            metavar="[GATE]", help="poweroff or start. Default: the gate at which the import waits."
        ),
    ] = None,
    namespace: Namespace = "",
    output: Output = OutputFormat.TABLE,
) -> int:
    """Approve the step at which an import in a cluster waits, or a later one in advance."""
    return request(name, namespace, changes.approve(gate), output)


def suspend(name: Name, namespace: Namespace = "", output: Output = OutputFormat.TABLE) -> int:
    """Suspend an import in a cluster. Running steps finish, and no further step starts."""
    return request(name, namespace, changes.suspend, output)


def resume(name: Name, namespace: Namespace = "", output: Output = OutputFormat.TABLE) -> int:
    """Resume an import in a cluster that was suspended or cancelled."""
    return request(name, namespace, changes.resume, output)


def cancel(name: Name, namespace: Namespace = "", output: Output = OutputFormat.TABLE) -> int:
    """Cancel an import in a cluster. It releases what it holds at the source and keeps completed work."""
    return request(name, namespace, changes.cancel, output)


def refuse_a_name(folder: Path, verb: str) -> None:
    """Raise StepError (NOT_FOUND) for a word that names no folder; it may name an import in a cluster."""
    if not folder.exists() and len(folder.parts) == 1:
        raise StepError(
            Exit.NOT_FOUND,
            f"folder {folder} does not exist",
            remedy=f"for an import in a cluster, run: vmferry {verb} {folder.name} -n NAMESPACE",
        )


def request(name: str, namespace: str, make: changes.MakeRequest, output: OutputFormat) -> int:
    """Send the request and show the import's status."""
    from steps.runtime import kubeapi  # noqa: PLC0415 - only imports into a cluster need its client

    where = namespace or kubeapi.context_namespace()
    import_ = ask.send(kubeapi.connect(Stop(), patience=0), where, name, make, _print)
    if output is not OutputFormat.TABLE:
        dump(ask.document(import_), output)
        return Exit.DONE
    _print(ask.status_line(import_))
    _print(WATCH.format(namespace=where, name=name))
    return Exit.DONE


def _print(text: str) -> None:
    err.print(text, soft_wrap=True, highlight=False, markup=False)


def register() -> None:
    command(epilog="Example: vmferry approve web-01 -n default")(approve)
    command(epilog="Example: vmferry suspend web-01 -n default")(suspend)
    command(epilog="Example: vmferry resume web-01 -n default")(resume)
    command(epilog="Example: vmferry cancel web-01 -n default")(cancel)
