"""poweroff: shut down the VM at its source, as gently as the request allows.

A VM that is already off is not touched, so a second run does nothing. Then the step records the moment: if
the VM is started later, what was copied since this moment is stale (`steps.unchanged`).
"""

from __future__ import annotations

from collections.abc import Sequence

from steps.model.power import POWER, PowerRecord
from steps.providers import Access, connect
from steps.runtime.program import Arguments, Context, log, run


def arguments() -> Arguments:
    return Arguments("poweroff", __doc__ or "", epilog="example:\n  python -m steps.poweroff\n")


def body(context: Context) -> None:
    plan, machine = context.plan(), context.machine()
    access = Access(
        plan=plan.source,
        credentials=context.credentials,
        stop=context.stop,
        run=plan.run,
        step="poweroff",
        state_folder=context.scratch,
    )
    with connect(access) as provider:
        provider.power_off(machine, plan.power)
        record = PowerRecord(mark=provider.power_mark(machine))  # before the first export
    record.save(context.outputs / POWER)
    log.info("the source VM is off", vm=machine.name, path=machine.path)


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
