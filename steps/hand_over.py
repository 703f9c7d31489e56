"""hand-over: give the volume with a landed disk to the namespace of the import.

Runs in a cluster only. It begins with `convert` and waits until that has read the disk back. It has no
credentials of the source and mounts nothing: the volume changes its claim, and no byte is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from steps.model.contract import Exit, StepError
from steps.model.document import write_atomically
from steps.runtime.program import Arguments, Context, log, run

AWAITED: Final = "convert"
"""The stage of the same disk that proves its content."""
EPILOG: Final = """\
example:
  python -m steps.hand_over --disk disk-0 --workflow vmi-web-0a1b2c3d-g1

results, one file each in the outputs folder: volume (name of the claim that build attaches), integrity
"""


def arguments() -> Arguments:
    parser = Arguments("hand_over", __doc__ or "", epilog=EPILOG)
    parser.add_argument("--disk", required=True, help="id of the disk in the plan, such as disk-0")
    parser.add_argument("--workflow", metavar="NAME", required=True, help="the Workflow of this step")
    parser.add_argument(
        "--landed",
        choices=["true", "false"],
        default="false",
        help="whether an earlier Workflow of the run handed the volume over; then convert does not run",
    )
    return parser


def body(context: Context) -> None:
    from steps.runtime import kubeapi  # noqa: PLC0415 - as in the other steps that use a cluster
    from steps.targets.cluster.completion import WorkflowRef  # noqa: PLC0415
    from steps.targets.cluster.published import Integrity  # noqa: PLC0415
    from steps.targets.cluster.sibling import StepNode, await_success  # noqa: PLC0415
    from steps.targets.landing.handover import HandOver  # noqa: PLC0415

    options, release = context.arguments, kubeapi.own_namespace()
    volumes = context.volumes()
    if volumes is None:
        raise StepError(Exit.INVALID, "the names of the volumes are missing", remedy="run admit first")
    cluster, workflow = kubeapi.connect(context.stop), WorkflowRef(options.workflow, release)
    if options.landed == "false":
        await_success(StepNode(cluster, AWAITED, options.disk, workflow), context.stop)
    hand_over = HandOver(
        context.plan(),
        options.disk,
        cluster,
        context.stop,
        volumes=volumes,
        release=release,
        workflow=workflow,
    )
    claim = hand_over.run()
    write_atomically(context.outputs / "volume", claim)
    write_atomically(context.outputs / "integrity", str(Integrity.READ_BACK))
    log.info("the volume is handed over", disk=options.disk, claim=claim)


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
