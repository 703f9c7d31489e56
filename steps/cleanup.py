"""cleanup: release what this import still holds at its source, whether it succeeded or failed.

In a cluster it also deletes the scratch volumes after a success. After a failure a retry resumes from them.

Runs as the exit handler. It succeeds even if it could not release everything: a failing exit handler would
fail an import that has succeeded. The output `left` has the rest, and the controller runs this step again.
"""

from __future__ import annotations

from collections.abc import Sequence

from steps.model import leftovers
from steps.model.contract import StepError
from steps.model.plan import Plan
from steps.providers.outage import with_source
from steps.runtime.program import Arguments, Context, log, run

EPILOG = """\
examples:
  python -m steps.cleanup
  python -m steps.cleanup --status Succeeded
"""


def arguments() -> Arguments:
    parser = Arguments("cleanup", __doc__ or "", epilog=EPILOG)
    parser.add_argument(
        "--status", metavar="PHASE", help="in a cluster: final phase of the Workflow ({{workflow.status}})"
    )
    return parser


def body(context: Context) -> None:
    if context.arguments.status:  # first, as the source may be away for long
        release_scratch(context, context.plan())
    left = release_source(context)
    (context.outputs / leftovers.OUTPUT).write_text(leftovers.to_text(left), encoding="utf-8")


def release_source(context: Context) -> list[str] | None:
    """Release what the source holds; returns what is left, None if the source could not be asked."""
    try:
        left = with_source(context, "cleanup", lambda provider: provider.release())
    except StepError as error:
        log.warning(f"could not check the source for leftovers: {error}")
        return None
    for leftover in left:
        log.warning(f"left at the source: {leftover}")
    return left


def release_scratch(context: Context, plan: Plan) -> None:
    from steps.runtime import kubeapi  # noqa: PLC0415 - the embedded runner has no cluster and no client for one
    from steps.targets.harvester.run_objects import SUCCEEDED, RunObjects  # noqa: PLC0415

    if context.arguments.status != SUCCEEDED:
        log.info(f"the import ended as {context.arguments.status}: its scratch volumes are kept for a retry")
        return
    try:
        leftovers = RunObjects(plan, kubeapi.connect(context.stop), kubeapi.own_namespace()).delete_all()
    except StepError as error:
        leftovers = [str(error)]
    for leftover in leftovers:
        log.warning(f"left in the cluster: {leftover}")


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
