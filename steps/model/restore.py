"""Whether a VM is started again at its source after an import, and what came of it. Pure."""

from __future__ import annotations

import enum
from typing import Final, Literal

from pydantic import Field

from steps.model.document import Document
from steps.model.plan import OnFailure, Plan
from steps.model.source_mark import MarkState

RESTORED: Final = "restored.json"
"""File name of the document `Restored`."""
SUCCEEDED: Final = "Succeeded"
"""How an import ended, as Argo passes it to the exit handler ({{workflow.status}})."""


class RestoreState(enum.StrEnum):
    """What was done about the power of the VM at its source."""

    NOTHING = "nothing"
    """Nothing was to be done."""
    STARTED = "started"
    """It runs again: what was copied is stale."""
    FAILED = "failed"
    """It should run again, but does not."""


class Restored(Document):
    """The result of the exit handler about the VM at its source."""

    version: Literal["1"] = "1"
    state: RestoreState = RestoreState.NOTHING
    message: str = ""
    """A sentence for a person; empty if there was nothing to do."""
    mark: MarkState = Field(default=MarkState.NOTHING, exclude_if=lambda value: value is MarkState.NOTHING)
    mark_message: str = Field(default="", exclude_if=lambda value: not value)
    """The same about the mark of the VM (`spec.markSource`)."""


def must_restore(plan: Plan, outcome: str, *, undo: bool) -> bool:
    """Whether the source VM is to be started again, if the import shut it down.

    `outcome` is how the import ended; without one it is unknown, and nothing is started.
    """
    failed = bool(outcome) and outcome != SUCCEEDED
    return undo or (failed and plan.on_failure is OnFailure.RESTORE_POWER)
