"""The commands for an import or a plan in a cluster: approve, suspend, resume, cancel; `retry` with -n."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from controller.cli.app import Output, OutputFormat, command, dump, err
from controller.client import ask, changes, plan_changes
from controller.client.changes import ImportObject, Request, Seen
from controller.client.plan_changes import PlanObject
from steps.model.contract import Exit, StepError
from steps.model.plan import Gate
from steps.runtime.stop import Stop

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME|plan/NAME",
        help="The VirtualMachineImport in the cluster of KUBECONFIG, or a MigrationPlan as plan/NAME.",
    ),
]
Namespace = Annotated[
    str,
    typer.Option(
        "-n",
        "--namespace",
        help="Namespace of the import or plan. Default: the namespace of the kubeconfig's context.",
    ),
]
WATCH: Final = (
    "to watch it:  kubectl get -n {namespace} virtualmachineimport.migration {name} -o wide --watch"
)
WATCH_PLAN: Final = "to watch it:  kubectl get -n {namespace} migrationplan {name} --watch"
PLAN: Final = ("plan", "plans", "migrationplan", "migrationplans")
"""What may stand before `/NAME` of a plan, in any case."""


def approve(
    name: Name,
    gate: Annotated[
        str | None,
        typer.Argument(
            metavar="[GATE|WAVE]",
            help="Of an import: poweroff or start; the default is the gate at which it waits. Of a plan: the "
            "number of a wave; the default is the next one.",
        ),
    ] = None,
    namespace: Namespace = "",
    output: Output = OutputFormat.TABLE,
) -> int:
    """Approve the step at which an import in a cluster waits, or a later one in advance.

    For a MigrationPlan it approves the next wave, or all waves up to the given one. That also ends a pause,
    and continues a plan that stopped because too many imports failed.
    """
    if plan := plan_of(name):
        return _send(plan, namespace, PlanObject, plan_changes.approve(_wave(gate)), WATCH_PLAN, output)
    return _send(name, namespace, ImportObject, changes.approve(_gate(gate)), WATCH, output)


def _gate(text: str | None) -> Gate | None:
    if text is not None and text not in list(Gate):
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(Gate)}.", param_hint="'GATE'")
    return Gate(text) if text is not None else None


def _wave(text: str | None) -> int | None:
    if text is not None and not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text)):
        raise typer.BadParameter(f"{text!r} is not the number of a wave.", param_hint="'WAVE'")
    return int(text) if text is not None else None


def suspend(name: Name, namespace: Namespace = "", output: Output = OutputFormat.TABLE) -> int:
    """Suspend an import in a cluster. Running steps finish, and no further step starts.

    A MigrationPlan that is suspended starts no further import. Those that have started continue.
    """
    return request(name, namespace, changes.suspend, plan_changes.suspend, output)


def resume(name: Name, namespace: Namespace = "", output: Output = OutputFormat.TABLE) -> int:
    """Resume an import in a cluster that was suspended or cancelled, or a suspended MigrationPlan."""
    return request(name, namespace, changes.resume, plan_changes.resume, output)


def cancel(name: Name, namespace: Namespace = "", output: Output = OutputFormat.TABLE) -> int:
    """Cancel an import in a cluster. It releases what it holds at the source and keeps completed work."""
    return request(name, namespace, changes.cancel, plan_changes.cancel, output)


def refuse_a_name(folder: Path, verb: str) -> None:
    """Raise StepError (NOT_FOUND) for a word that names no folder; it may name an import in a cluster."""
    if not folder.exists() and (len(folder.parts) == 1 or plan_of(str(folder))):
        raise StepError(
            Exit.NOT_FOUND,
            f"folder {folder} does not exist",
            remedy=f"for an import in a cluster, run: vmferry {verb} {folder} -n NAMESPACE",
        )


def plan_of(text: str) -> str:
    """The name of a plan, as in `plan/NAME`; "" for the name of an import."""
    word, _, name = text.partition("/")
    return name if word.lower() in PLAN else ""


def request(
    name: str,
    namespace: str,
    make: changes.MakeRequest,
    make_for_plan: plan_changes.MakePlanRequest,
    output: OutputFormat,
) -> int:
    """Send the request to an import or a plan, and show its status."""
    if plan := plan_of(name):
        return _send(plan, namespace, PlanObject, make_for_plan, WATCH_PLAN, output)
    return _send(name, namespace, ImportObject, make, WATCH, output)


def _send(
    name: str,
    namespace: str,
    of: type[Seen],
    make: Callable[[Seen], Request[Seen]],
    watch: str,
    output: OutputFormat,
) -> int:
    from steps.runtime import kubeapi  # noqa: PLC0415 - only imports into a cluster need its client

    where = namespace or kubeapi.context_namespace()
    seen = ask.send(kubeapi.connect(Stop(), patience=0), where, name, of, make, _print)
    if output is not OutputFormat.TABLE:
        dump(ask.document(seen), output)
        return Exit.DONE
    _print(ask.status_line(seen))
    _print(watch.format(namespace=where, name=name))
    return Exit.DONE


def _print(text: str) -> None:
    err.print(text, soft_wrap=True, highlight=False, markup=False)


def register() -> None:
    command(
        epilog="Examples: vmferry approve web-01 -n default · vmferry approve plan/production -n default"
    )(approve)
    command(
        epilog="Examples: vmferry suspend web-01 -n default · vmferry suspend plan/production -n default"
    )(suspend)
    command(epilog="Examples: vmferry resume web-01 -n default · vmferry resume plan/production -n default")(
        resume
    )
    command(epilog="Example: vmferry cancel web-01 -n default")(cancel)
