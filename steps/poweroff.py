"""poweroff: shut down the VM at its source, as gently as the request allows.

A VM that is already off is not touched, so a second run does nothing. Then the step records the moment: if
the VM is started later, what was copied since this moment is stale (`steps.unchanged`).
"""

from __future__ import annotations

from collections.abc import Sequence

from steps.model.power import POWER, PowerRecord
from steps.providers import Provider
from steps.providers.outage import with_source
from steps.runtime.program import Arguments, Context, log, run


def arguments() -> Arguments:
    return Arguments("poweroff", __doc__ or "", epilog="example:\n  python -m steps.poweroff\n")


def body(context: Context) -> None:
    plan, machine = context.plan(), context.machine()

    def use(provider: Provider) -> PowerRecord:
        provider.power_off(machine, plan.power)
        return PowerRecord(mark=provider.power_mark(machine))  # before the first export

    record = with_source(context, "poweroff", use)
    record.save(context.outputs / POWER)
    log.info("the source VM is off", vm=machine.name, path=machine.path)


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
