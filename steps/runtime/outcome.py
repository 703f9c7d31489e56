"""The options by which the steps of the exit handler know how the import ended."""

from __future__ import annotations

from steps.model.plan import Plan
from steps.model.restore import SUCCEEDED, must_restore
from steps.runtime.program import Arguments, Context


def add_options(parser: Arguments) -> None:
    """Add `--outcome`, `--undo` and `--keep-off`."""
    parser.add_argument(
        "--outcome", metavar="PHASE", default="", help="how the import ended: Succeeded, Failed or Error"
    )
    parser.add_argument(
        "--undo", choices=["true", "false"], default="false", help="undo the import, however it ended"
    )
    parser.add_argument(
        "--keep-off",
        choices=["true", "succeeded", "false"],
        default="false",
        help="stop and start no VM: repeat the cleanup of an import that succeeded, or may have succeeded",
    )


def is_undo(context: Context) -> bool:
    """Whether a person undoes the import."""
    return bool(context.arguments.undo == "true")


def is_restored(context: Context, plan: Plan) -> bool:
    """Whether the VM at the source is to run again (`must_restore`)."""
    options = context.arguments
    if options.keep_off != "false":
        return False
    return must_restore(plan, options.outcome, undo=is_undo(context))


def has_succeeded(context: Context) -> bool:
    """Whether the import has succeeded, so that the VM at its source may be marked.

    A repeated cleanup is a Workflow of its own, whose outcome is not that of the import.
    """
    options = context.arguments
    if is_undo(context) or options.keep_off == "true":
        return False
    return bool(options.keep_off == "succeeded" or options.outcome == SUCCEEDED)
