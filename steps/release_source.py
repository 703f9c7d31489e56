"""release-source: release what this import still holds at its source, whether it succeeded or failed.

Runs at the end, as a part of the exit handler. It has the source's credentials and no rights on the cluster.
It succeeds even if it could not release everything: a failing exit handler would fail an import that has
succeeded. The output `left` has the rest, and the controller runs this step again.
"""

from __future__ import annotations

from collections.abc import Sequence

from steps.model import leftovers
from steps.model.contract import StepError
from steps.providers.outage import with_source
from steps.runtime.program import Arguments, Context, log, run

EPILOG = """\
example:
  python -m steps.release_source

result among the outputs: left, a list of what is left at the source; null if it could not be asked
"""


def arguments() -> Arguments:
    return Arguments("release_source", __doc__ or "", epilog=EPILOG)


def body(context: Context) -> None:
    text = leftovers.to_text(release(context))
    (context.outputs / leftovers.OUTPUT).write_text(text, encoding="utf-8")


def release(context: Context) -> list[str] | None:
    """Release what the source holds; returns what is left, None if the source could not be asked."""
    try:
        left = with_source(context, "release-source", lambda provider: provider.release())
    except StepError as error:
        log.warning(f"could not check the source for leftovers: {error}")
        return None
    for leftover in left:
        log.warning(f"left at the source: {leftover}")
    return left


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
