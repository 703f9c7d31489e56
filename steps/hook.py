"""hook: wait until the controller says how the hook of this point has ended.

Runs in a cluster only. The controller runs the hook in a pod or a Workflow of its own while this step waits.
So a hook is a node in Argo that can be retried alone, and it sees nothing of the import.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from steps.model.contract import Exit, StepError, is_retryable
from steps.model.document import write_atomically
from steps.model.hook_verdict import OUTPUT, POD_UID_ENV, HookVerdict, verdict_for
from steps.model.kinds import WORKFLOW
from steps.runtime.cluster import Cluster
from steps.runtime.program import Arguments, Context, log, run
from steps.runtime.stop import Stop

POLL_SECONDS: Final = 2.0
EPILOG: Final = """\
example:
  python -m steps.hook --point before-poweroff --workflow vmi-web-0a1b2c3d-g1

The environment variable VMFERRY_POD_UID has the uid of the pod. Result, a file in the outputs folder: verdict
"""


def arguments() -> Arguments:
    parser = Arguments("hook", __doc__ or "", epilog=EPILOG)
    parser.add_argument("--point", metavar="POINT", required=True, help="where the hook runs")
    parser.add_argument("--disk", help="id of the disk, at a point of a stage of disks")
    parser.add_argument("--workflow", metavar="NAME", required=True, help="the Workflow of this step")
    return parser


def body(context: Context) -> None:
    from steps.runtime import kubeapi  # noqa: PLC0415 - as in the other steps that use a cluster

    uid = os.environ.get(POD_UID_ENV, "")
    if not uid:
        raise StepError(Exit.INVALID, f"{POD_UID_ENV} is not set", remedy="upgrade the chart")
    options = context.arguments
    place = options.workflow, kubeapi.own_namespace()
    log.info("waiting for the hook", point=options.point, disk=options.disk or "")
    verdict = await_verdict(kubeapi.connect(context.stop), place, uid, context.stop)
    write_atomically(context.outputs / OUTPUT, verdict.message)
    if not verdict.passed:
        raise StepError(Exit.UNSUPPORTED, verdict.message)
    log.info(verdict.message)


def await_verdict(cluster: Cluster, workflow: tuple[str, str], uid: str, stop: Stop) -> HookVerdict:
    """Wait for the word of the controller, for as long as that takes: it ends a hook that takes too long.

    Raises:
        StepError: DENIED, without the right to read the Workflow.
        Stopped: a stop was requested.
    """
    while True:
        try:
            if verdict := verdict_for(cluster.get(WORKFLOW, *workflow), uid):
                return verdict
        except StepError as error:
            if not is_retryable(error.code):
                raise
            log.warning(f"cannot see whether the hook has ended: {error}")
        stop.sleep(POLL_SECONDS)


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
