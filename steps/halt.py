"""halt: stop the VM at the target and mark it stale, before the VM at the source is started again.

Part of the exit handler: source and target must never run the same VM at the same time. It does nothing for
an import that succeeded, or that keeps its source VM off (`spec.onFailure: keepOff`), except with --undo.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from steps.model.document import write_atomically
from steps.runtime.outcome import add_options, is_restored
from steps.runtime.program import Arguments, Context, log, run
from steps.targets import connect

EPILOG = """\
examples:
  python -m steps.halt --outcome Failed
  python -m steps.halt --undo true
"""
REMAINING: Final = "remaining.json"
"""Output: what was stopped and marked, as a list of texts, in the order in which a person deletes it."""


def arguments() -> Arguments:
    parser = Arguments("halt", __doc__ or "", epilog=EPILOG)
    add_options(parser)
    return parser


def body(context: Context) -> None:
    plan = context.plan()
    if not is_restored(context, plan):
        log.info("nothing to stop: the VM at the source stays as it is")
        return
    remaining = connect(plan, context.into, context.stop).halt()
    write_atomically(context.outputs / REMAINING, json.dumps(list(remaining)))
    for line in remaining:
        log.info(f"stopped and stale: {line}")


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
