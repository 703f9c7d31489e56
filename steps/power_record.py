"""power_record: fetch what `poweroff` recorded from the status of this Workflow, for `unchanged`.

Runs before `unchanged`, with the target's identity and without the source's credentials. The record comes
from a step that has read the source, so it is validated here, and reaches `unchanged` as a file, never as an
argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from steps.model.contract import Exit, StepError
from steps.model.document import first_error
from steps.model.kinds import WORKFLOW
from steps.model.power import POWER, PowerRecord, no_record
from steps.model.workflow_nodes import nodes_of
from steps.runtime.program import Arguments, Context, log, run

POWEROFF: Final = "poweroff"
MAX_BYTES: Final = 16 << 10
"""Most bytes of a record: many times a real one."""


def arguments() -> Arguments:
    parser = Arguments(
        "power_record",
        __doc__ or "",
        epilog="example:\n  python -m steps.power_record --workflow web-r1 --to /run/power\n",
    )
    parser.add_argument("--workflow", required=True, metavar="NAME", help="the Workflow of this step")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help=f"where to write {POWER}")
    return parser


def body(context: Context) -> None:
    from steps.runtime import kubeapi  # noqa: PLC0415 - only a step in a cluster needs its client

    name = context.arguments.workflow
    cluster = kubeapi.connect(context.stop)
    workflow = cluster.get(WORKFLOW, name, kubeapi.own_namespace())
    if workflow is None:
        raise StepError(Exit.NOT_FOUND, f"Workflow {name} does not exist", "it was deleted")
    record = read_record(workflow.get("status") or {})
    record.save(context.arguments.to / POWER)
    log.info("the VM was off at its source", since=record.mark.time)


def read_record(status: Mapping[str, Any]) -> PowerRecord:
    """The record of the last successful `poweroff` in a Workflow's status.

    Raises:
        StepError: STALE, if there is none, as in a Workflow of an earlier version; INVALID for a bad one.
    """
    text = next(_texts(nodes_of(dict(status))), "")
    if not text:
        raise no_record("the Workflow has no record of the shutdown")
    try:
        return PowerRecord.model_validate_json(text)
    except ValidationError as error:
        raise StepError(Exit.INVALID, "the record of poweroff is not valid", first_error(error)) from None


def _texts(nodes: Mapping[str, Any]) -> Any:
    """The output `power` of the successful nodes of poweroff: its stage, and the attempt that succeeded."""
    for node in nodes.values():
        if (node.get("templateName"), node.get("phase")) != (POWEROFF, "Succeeded"):
            continue
        for parameter in (node.get("outputs") or {}).get("parameters") or ():
            value = parameter.get("value")
            is_record = parameter.get("name") == POWER.partition(".")[0] and isinstance(value, str)
            if is_record and len(value) <= MAX_BYTES:
                yield value


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
