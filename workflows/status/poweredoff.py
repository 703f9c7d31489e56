"""What a failed import says of a VM that it powered off: that it is off, and how to start it again. Pure.

The one place for these words: the import's status, its Events and the command line take them from here.
Nothing is said of a VM that was off when the import began, nor before its power-off is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from steps.model.machine import Machine, Power
from steps.model.plan import SourceKind
from workflows.status.nodes import Leaf, Phase

POWEROFF: Final = "poweroff"
_HOW: Final = {
    SourceKind.VMWARE: "power it on in the vSphere Client or the Host Client",
    SourceKind.OPENSTACK: "run `openstack server start {id}`",
}
"""An OVA never runs."""


def powered_off(machine: Machine | None, stages: Iterable[Leaf], before: str = "") -> str:
    """The VM that ran when the import began and that the import powered off; empty where there is none.

    `machine` is as preflight found it, `before` what was found of an earlier Workflow of the same import: the
    preflight of a later one finds the VM off.
    """
    if machine is None or not any(_is_done(leaf) for leaf in stages):
        return before
    name = named(machine)
    return name if machine.power is Power.ON or name == before else ""


def named(machine: Machine) -> str:
    """A VM as a person finds it at its source: by path, or by name and id."""
    path = machine.path or machine.name
    return path if "/" in path else f"{path} ({machine.source_id})"


def note(machine: Machine | None, kind: SourceKind | None, stages: Iterable[Leaf], before: str = "") -> str:
    """What to add to the words of a failure; empty where the import has powered nothing off."""
    how = _HOW.get(kind) if kind else None
    if machine is None or how is None or not any(_is_done(leaf) for leaf in stages):
        return ""
    name = powered_off(machine, stages, before)
    if not name:
        return ""
    return (
        f"VM {name} is off at its source because the import powered it off; a retry resumes while it stays "
        f"off. To use it there again, {how.format(id=machine.source_id)}"
    )


def added(words: str, said: str) -> str:
    """The words of a failure with the note behind them."""
    return f"{words.rstrip('.')}. {said}" if said else words


def _is_done(leaf: Leaf) -> bool:
    return leaf.stage == POWEROFF and leaf.phase is Phase.SUCCEEDED
