"""What an import has come to: its phase, whether it is over, and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from workflows.api.conditions import find
from workflows.api.resources import VirtualMachineImport
from workflows.api.status import ImportStatus, Stand
from workflows.stages import CHECKS
from workflows.status import ladder
from workflows.status.messages import reason_of, telling, words
from workflows.status.nodes import CLEANUP, Phase, blame
from workflows.status.observed import Observed
from workflows.status.poweredoff import added

SUCCEEDED: Final = "Succeeded"
"""Type of the condition that sums an import up: True, False, or Unknown while it goes on."""
GONE: Final = "WorkflowGone"
CANCELLED: Final = "Cancelled"


@dataclass(frozen=True)
class Outcome:
    """What an import has come to. `over` is the status of the condition Succeeded."""

    stand: Stand
    over: str
    reason: str
    step: str
    message: str


def outcome(
    seen: Observed,
    import_: VirtualMachineImport,
    disks: Sequence[str],
    base: ImportStatus,
    who: Mapping[str, str],
    note: str = "",
) -> Outcome:
    """The import's phase, whether it is over, and why; `who` and `note` as for `telling`."""
    started = import_.spec.start_virtual_machine is not False
    stand = ladder.stand(seen, disks, started=started)
    if seen.blind:
        stand = _unseen(base, over=seen.phase is Phase.SUCCEEDED, started=started)
    if stand is Stand.RUNNING or seen.phase is Phase.SUCCEEDED:
        return _done(Stand.RUNNING if stand is Stand.RUNNING else Stand.CREATED, import_)
    if seen.phase in (Phase.FAILED, Phase.ERROR):
        made = _failed(seen, stand, import_)
        return made if made.over == "True" else replace(made, message=added(made.message, note))
    told = telling(seen, import_.spec.source_cluster.name, who, note)
    return Outcome(stand, "Unknown", told.reason, told.step, told.message)


def settled(status: ImportStatus) -> bool:
    """Whether the import has succeeded, its machine started or to be left off: that is final."""
    summary = find(status.import_conditions, SUCCEEDED)
    done = summary is not None and summary.status == "True"
    return status.import_status == Stand.RUNNING or (status.import_status == Stand.CREATED and done)


def _unseen(base: ImportStatus, *, over: bool, started: bool) -> Stand:
    """Without nodes: what is known of the Workflow's end, or else where the import was before."""
    if over:
        return Stand.RUNNING if started else Stand.CREATED
    if base.import_status in (Stand.FAILED, Stand.INVALID):
        return Stand.NEW if base.import_status == Stand.INVALID else Stand.SOURCE_READY
    return Stand(base.import_status) if base.import_status in list(Stand) else Stand.NEW


def _done(stand: Stand, import_: VirtualMachineImport) -> Outcome:
    vm = import_.spec.virtual_machine_name
    if stand is Stand.RUNNING:
        return Outcome(stand, "True", "VirtualMachineRunning", "", f"{vm} is imported and runs")
    return Outcome(stand, "True", "VirtualMachineReady", "", f"{vm} is imported; it has not been started")


def _failed(seen: Observed, stand: Stand, import_: VirtualMachineImport) -> Outcome:
    cause = blame(seen.leaves)
    if seen.stopped:
        said = "Cancelled before it was done; a retry goes on from what is there"
        return Outcome(Stand.FAILED, "False", CANCELLED, "", said)
    if cause is not None:
        failed = Stand.INVALID if cause.stage in CHECKS else Stand.FAILED
        return Outcome(failed, "False", reason_of(cause), cause.title, words(cause))
    if stand is Stand.CREATED and seen.leaf(CLEANUP):  # only the exit handler failed, after all was done
        return _done(stand, import_)
    said = seen.complaint or f"Workflow {seen.name} failed and no step says why; see it in the Argo UI"
    return Outcome(Stand.FAILED, "False", "WorkflowFailed", "", said)
