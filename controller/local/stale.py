"""An embedded import whose copies are stale: its VM was started at its source after they were made."""

from __future__ import annotations

import re
from typing import Final

from controller.local.record import UNDONE, Record
from controller.local.rundir import RunDir
from steps.model import names
from steps.model.contract import Exit
from steps.model.plan import Plan
from steps.model.restore import RestoreState
from steps.runtime.program import PLAN
from workflows.status.nodes import Json, root_cause
from workflows.status.observed import observe
from workflows.status.restored import read_restored

_NUMBER: Final = re.compile(r"(.+-g)([0-9]+)")
"""`workflows.plan.run_name`: the number of the run is at its end."""


def is_stale(workflow: Json) -> bool:
    """Whether only a new run helps: a step found a start, the exit handler made one, or it was undone."""
    cause, seen = root_cause(workflow), observe(workflow)
    if cause is not None and cause.exit_code == Exit.STALE:
        return True
    if UNDONE in (workflow["metadata"].get("annotations") or {}):
        return True
    return seen is not None and read_restored(seen).state is RestoreState.STARTED


def begin_again(rundir: RunDir, plan: Plan) -> Record:
    """A new run of the import in its folder: nothing that the old one copied is kept.

    Killed in between, the old state is still there, and the next attempt does the same again.
    """
    rundir.delete_copies()
    new_plan = plan.model_copy(update={"run": next_run(plan.run)})
    new_plan.save(rundir.request / PLAN)
    return Record.new(new_plan.run, names.labels(new_plan), rundir.save)


def next_run(run: str) -> str:
    """The name of the run after that one: objects of the old run in a cluster are not taken for its own."""
    match = _NUMBER.fullmatch(run)
    return f"{match[1]}{int(match[2]) + 1}" if match else f"{run}-g2"
