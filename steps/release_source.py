"""release-source: release what this import still holds at its source, whether it succeeded or failed.

Runs at the end, as a part of the exit handler. It has the source's credentials and no rights on the cluster.
It succeeds even if it could not release everything, and reports the rest: a failing exit handler would fail
an import that has succeeded.
"""

from __future__ import annotations

from collections.abc import Sequence

from steps.model import leftovers
from steps.model.contract import StepError
from steps.model.document import write_atomically
from steps.model.plan import Plan
from steps.providers import Access, connect
from steps.runtime.program import Arguments, Context, log, run

EPILOG = """\
example:
  python -m steps.release_source

result among the outputs: left.json, a list of what is left at the source; [] if nothing is left
"""


def arguments() -> Arguments:
    return Arguments("release_source", __doc__ or "", epilog=EPILOG)


def body(context: Context) -> None:
    write_atomically(context.outputs / leftovers.LEFT, release(context, context.plan()))


def release(context: Context, plan: Plan) -> str:
    """Release everything that can be released; returns the result for the outputs."""
    access = Access(
        plan=plan.source,
        credentials=context.credentials,
        stop=context.stop,
        run=plan.run,
        step="release-source",
        state_folder=context.scratch,
    )
    try:
        with connect(access) as provider:
            left = provider.release()
    except StepError as error:
        log.warning(f"could not check the source for leftovers: {error}")
        return leftovers.not_asked(str(error))
    for leftover in left:
        log.warning(f"left at the source: {leftover}")
    return leftovers.to_output(left)


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
