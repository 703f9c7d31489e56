"""delete-scratch: delete the scratch volumes of a run, and the Services of its disks.

Runs in a cluster only, at the end of an import that has succeeded. After a failure a retry resumes from the
scratch volumes. It has no credentials of the source. It succeeds even if it could not delete everything, and
logs the rest: a failing exit handler would fail an import that has succeeded.
"""

from __future__ import annotations

from collections.abc import Sequence

from steps.model.contract import StepError
from steps.runtime.program import Arguments, Context, log, run


def arguments() -> Arguments:
    return Arguments("delete_scratch", __doc__ or "", epilog="example:\n  python -m steps.delete_scratch\n")


def body(context: Context) -> None:
    from steps.runtime import kubeapi  # noqa: PLC0415 - as in the other steps that use a cluster
    from steps.targets.cluster.run_objects import RunObjects  # noqa: PLC0415

    plan = context.plan()
    try:
        left = RunObjects(plan, kubeapi.connect(context.stop), kubeapi.own_namespace()).delete_all()
    except StepError as error:
        left = [str(error)]
    for leftover in left:
        log.warning(f"left in the cluster: {leftover}")


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
