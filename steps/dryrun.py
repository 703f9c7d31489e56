"""dryrun: preflight for a dry run. It writes the VM's description to the log, and nothing else.

Not a stage of an import: the controller runs it in a pod of its own, which has no rights, and reads the log.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from steps import preflight
from steps.model.log_text import to_lines
from steps.model.machine_output import MACHINE_OUTPUT
from steps.runtime.program import Context, run


def body(context: Context) -> None:
    preflight.body(context)
    for line in to_lines((context.outputs / MACHINE_OUTPUT).read_text(encoding="ascii")):
        sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main(argv: Sequence[str] | None = None) -> None:
    run(preflight.arguments(), body, argv)


if __name__ == "__main__":
    main()
