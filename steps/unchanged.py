"""unchanged: prove that the VM was not started at its source since its disks were copied.

Runs before `start`, and before `build` if that comes after the copy. It has the source's credentials and no
right in the cluster. A VM that was started and is off again counts as started: its disks may differ from the
copies. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from steps.model.contract import Exit, StepError
from steps.model.power import POWER, STALE_REMEDY, PowerRecord, no_record
from steps.providers.outage import with_source
from steps.runtime.program import Arguments, Context, log, run

MAX_REASON = 300
"""Most characters of a reason: it names accounts and events of the source."""


def arguments() -> Arguments:
    parser = Arguments("unchanged", __doc__ or "", epilog="example:\n  python -m steps.unchanged\n")
    parser.add_argument(
        "--record", type=Path, metavar="DIR", help=f"folder of {POWER}; default: that of the request"
    )
    return parser


def body(context: Context) -> None:
    machine = context.machine()
    record = read_record((context.arguments.record or context.request) / POWER)
    what = f"the copies of {machine.path or machine.name} are stale"
    try:
        reason = with_source(
            context, "unchanged", lambda provider: provider.was_started_since(machine, record.mark)
        )
    except StepError as error:
        if error.code is not Exit.NOT_FOUND:
            raise
        reason = f"it was deleted at its source ({error})"
    if reason:
        raise StepError(Exit.STALE, what, reason[:MAX_REASON], STALE_REMEDY)
    log.info("the VM was not started since its disks were copied", vm=machine.name, since=record.mark.time)


def read_record(path: Path) -> PowerRecord:
    """The record of `poweroff`.

    Raises:
        StepError: STALE, if there is none: an earlier version of vmferry began the run and recorded nothing.
    """
    if not path.exists():
        raise no_record(f"{POWER} is missing: an earlier version of vmferry began this run")
    return PowerRecord.load(path)


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
