"""dryrun: preflight for a dry run. It writes the VM's description to the log, and nothing else.

Not a stage of an import: the controller runs it in a pod of its own, which has no rights, and reads the log.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from steps import preflight
from steps.model.machine import Machine
from steps.model.packed_document import pack, to_lines
from steps.runtime.program import MACHINE, Context, run


def body(context: Context) -> None:
    preflight.body(context)
    machine = Machine.load(context.outputs / MACHINE)
    for line in to_lines(pack(machine.to_json())):
        sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main(argv: Sequence[str] | None = None) -> None:
    run(preflight.arguments(), body, argv)


if __name__ == "__main__":
    main()
