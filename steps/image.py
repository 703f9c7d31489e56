"""image: hand one finished disk to the target and wait until it has it."""

from __future__ import annotations

from collections.abc import Sequence

from steps.program import Arguments, Context, log, run
from steps.progress import Progress
from steps.targets import connect


def arguments() -> Arguments:
    parser = Arguments("image", __doc__ or "", epilog="example:\n  python -m steps.image --disk disk-0\n")
    parser.add_argument("--disk", required=True, help="id of the disk in the plan, such as disk-0")
    return parser


def body(context: Context) -> None:
    progress = Progress.from_environment()
    target = connect(context.plan(), context.into, context.stop)
    published = target.publish(context.arguments.disk, context.scratch, progress.update)
    progress.finish()
    log.info(
        "disk published", disk=published.id, name=published.name, size=published.size, sha256=published.sha256
    )


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
