"""select: list the VMs of a source that a MigrationPlan selects. It writes them to the log, and nothing else.

Not a stage of an import: the controller runs it in a pod of its own, which has no rights, and reads the log.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence

from steps.model.log_text import to_lines
from steps.model.selecting import Listing, pack, select
from steps.providers import Access, connect
from steps.runtime.program import PLAN, Arguments, Context, log, run

EPILOG = """\
example:
  python -m steps.select --request DIR --credentials DIR

The request folder holds plan.json with the source and the rows that select VMs.
"""


def arguments() -> Arguments:
    return Arguments("select", __doc__ or "", epilog=EPILOG)


def body(context: Context) -> None:
    listing = Listing.load(context.request / PLAN)
    access = Access(
        plan=listing.source,
        credentials=context.credentials,
        stop=context.stop,
        # A name of its own: a session of the same name would be ended as that of a killed attempt.
        run=f"select-{uuid.uuid4().hex[:12]}",
        step="select",
        state_folder=context.scratch,
    )
    with connect(access) as provider:
        inventory = provider.inventory()
    found = select(inventory.machines, listing.source.kind, listing.select, inventory.tags_unknown)
    log.info(f"{len(found.vms)} of {len(inventory.machines)} VMs are selected")
    for line in to_lines(pack(found)):
        sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
