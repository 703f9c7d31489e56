"""verify: prove that a source can be used: log in and find its datacenter. Changes nothing.

Not a stage of an import: the controller runs it for each source, with a timeout.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from steps.model.plan import SourcePlan
from steps.providers import Access, connect
from steps.runtime.program import PLAN, Arguments, Context, log, run

EPILOG = """\
examples:
  python -m steps.verify --request DIR --credentials DIR

The request folder holds plan.json with only the source part of a plan.
"""


def arguments() -> Arguments:
    parser = Arguments("verify", __doc__ or "", epilog=EPILOG)
    parser.add_argument(
        "--run",
        metavar="NAME",
        default=f"verify-{secrets.token_hex(8)}",
        help="name of this check at the source; a check ends the sessions of earlier checks with that name "
        "(default: a random name)",
    )
    return parser


def body(context: Context) -> None:
    source = SourcePlan.load(context.request / PLAN)
    access = Access(
        plan=source,
        credentials=context.credentials,
        stop=context.stop,
        run=context.arguments.run,
        step="verify",
        state_folder=context.scratch,
    )
    with connect(access) as provider:
        provider.verify()
    log.info(f"{source.kind} {source.name} can be used")


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
