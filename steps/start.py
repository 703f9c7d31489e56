"""start: start the VM at the target and wait until it is ready."""

from __future__ import annotations

from collections.abc import Sequence

from steps.model.mapping import shape
from steps.runtime.program import Arguments, Context, log, run
from steps.targets import connect


def arguments() -> Arguments:
    return Arguments("start", __doc__ or "", epilog="example:\n  python -m steps.start\n")


def body(context: Context) -> None:
    plan = context.plan()
    target_shape = shape(plan, context.machine())
    target = connect(plan, context.into, context.stop, volumes=context.volumes())
    if target_shape.start:
        target.start(target_shape)
        target.wait(target_shape)
    else:
        target.leave_off(target_shape)
        log.info(f"{target_shape.name} stays off, as requested")


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
