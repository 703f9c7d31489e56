"""poweroff: shut down the VM at its source, as gently as the request allows.

A VM that is already off is not touched, so a second run does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from steps.providers.outage import with_source
from steps.runtime.program import Arguments, Context, log, run


def arguments() -> Arguments:
    return Arguments("poweroff", __doc__ or "", epilog="example:\n  python -m steps.poweroff\n")


def body(context: Context) -> None:
    plan, machine = context.plan(), context.machine()
    with_source(context, "poweroff", lambda provider: provider.power_off(machine, plan.power))
    log.info("the source VM is off", vm=machine.name, path=machine.path)


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
