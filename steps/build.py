"""build: create the VM at the target from its description and its published disks."""

from __future__ import annotations

from collections.abc import Sequence

from steps.model.mapping import shape
from steps.runtime.program import Arguments, Context, log, run
from steps.targets import connect


def arguments() -> Arguments:
    return Arguments("build", __doc__ or "", epilog="example:\n  python -m steps.build\n")


def body(context: Context) -> None:
    plan, machine = context.plan(), context.machine()
    target = connect(plan, context.into, context.stop, volumes=context.volumes())
    for line in target.build(machine, shape(plan, machine)):
        log.info(line)


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
