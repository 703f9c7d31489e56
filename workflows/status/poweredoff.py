"""The note of a failed import about a VM that it powered off, and how to start that VM again. Pure.

The import's status, its Events and the command line all use this text. There is no note about a VM that was
off when the import started, nor before the power-off has succeeded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from steps.model.contract import Exit
from steps.model.machine import Machine, Power
from steps.model.restore import Restored, RestoreState
from steps.model.sources import SourceKind
from workflows.status.nodes import Leaf, Phase

POWEROFF: Final = "poweroff"
_NOTHING: Final = Restored()


def powered_off(
    machine: Machine | None, stages: Iterable[Leaf], before: str = "", restored: Restored = _NOTHING
) -> str:
    """The VM that was running when the import started and that the import powered off; else empty.

    Empty too once the VM was started again, by the exit handler or by somebody else. `machine` is as
    preflight found it; `before` is the result of an earlier Workflow of the same import, because the
    preflight of a later one finds the VM off.
    """
    stages = tuple(stages)
    if restored.state is RestoreState.STARTED or _is_stale(stages):
        return ""
    if machine is None or not any(_is_done(leaf) for leaf in stages):
        return before
    name = vm_name(machine)
    return name if machine.power is Power.ON or name == before else ""


def vm_name(machine: Machine) -> str:
    """How to find a VM at its source: its path, or its name and id."""
    path = machine.path or machine.name
    return path if "/" in path else f"{path} ({machine.source_id})"


def note(
    machine: Machine | None,
    kind: SourceKind | None,
    stages: Iterable[Leaf],
    before: str = "",
    restored: Restored = _NOTHING,
) -> str:
    """The note to append to an error message; empty if the import has powered off nothing.

    Empty too if a stage found that the VM was started again: its message says what to do.
    """
    stages = tuple(stages)
    if _is_stale(stages):
        return ""
    if restored.state is RestoreState.STARTED:
        return f"{restored.message}: a retry starts from preflight"
    if restored.state is RestoreState.FAILED:
        return restored.message
    if machine is None or kind is None or not kind.runs_vms or not any(_is_done(leaf) for leaf in stages):
        return ""
    name = powered_off(machine, stages, before)
    if not name:
        return ""
    return (
        f"VM {name} is off at its source because the import powered it off; a retry resumes while it stays "
        f"off. To use it there again, {kind.power_on.format(id=machine.source_id)}"
    )


def with_note(words: str, note: str) -> str:
    """An error message with the note appended."""
    return f"{words.rstrip('.')}. {note}" if note else words


def _is_done(leaf: Leaf) -> bool:
    return leaf.stage == POWEROFF and leaf.phase is Phase.SUCCEEDED


def _is_stale(stages: Iterable[Leaf]) -> bool:
    return any(leaf.phase.failed and leaf.exit_code == Exit.STALE for leaf in stages)
