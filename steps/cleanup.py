"""cleanup: give back what this import still holds at its source, however it ended.

Runs as the exit handler. It ends well even when something could not be given back, and says what: a failing
exit handler would fail an import that is done.
"""

from __future__ import annotations

from collections.abc import Sequence

from steps.contract import StepError
from steps.program import Arguments, Context, log, run
from steps.providers import Access, connect


def arguments() -> Arguments:
    return Arguments("cleanup", __doc__ or "", epilog="example:\n  python -m steps.cleanup\n")


def body(context: Context) -> None:
    plan = context.plan()
    access = Access(
        plan=plan.source,
        credentials=context.credentials,
        stop=context.stop,
        run=plan.run,
        step="cleanup",
        memory=context.scratch,
    )
    try:
        with connect(access) as provider:
            left = provider.release()
    except StepError as error:
        log.warning(f"could not look for leftovers at the source: {error}")
        return
    for what in left:
        log.warning(f"left at the source: {what}")


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
