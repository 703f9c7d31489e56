"""The inventory of a source: tables for a person, a document for a program.

The tables are plain text, as kubectl writes them: rich would need a third of the time of a whole inventory of
5,000 VMs to fit its tables into the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from rich.cells import cell_len

from controller.assess.readiness import Assessed
from controller.assess.texts import visible
from controller.assess.totals import totals
from controller.units import size
from steps.model.machine import Machine
from steps.providers import Inventory

LONGEST: Final = 2000
"""Characters of a cell."""
_GAP: Final = 2


def document(inventory: Inventory) -> dict[str, Any]:
    """The inventory as a document."""
    return {
        "machines": [machine.model_dump(by_alias=True, mode="json") for machine in inventory.machines],
        "networks": list(inventory.networks),
        "folders": list(inventory.folders),
        "tagsUnknown": inventory.tags_unknown,
    }


def render(inventory: Inventory, vms: Sequence[Assessed], *, is_whole: bool) -> str:
    """The VMs with their sums; of a whole inventory also the networks and folders."""
    return "".join(f"{line}\n" for line in _lines(inventory, vms, is_whole=is_whole))


def _lines(inventory: Inventory, vms: Sequence[Assessed], *, is_whole: bool) -> Iterator[str]:
    has_tags = any(one.machine.tags for one in vms)
    header = ("VM", "id", "power", "vCPU", "memory", "disks", "networks", "readiness")
    yield from aligned(
        [(*header, *(("tags",) if has_tags else ())), *(_row(one, has_tags=has_tags) for one in vms)]
    )
    yield from ("", totals(vms).line())
    others = [("network", inventory.networks), ("folder", inventory.folders)] if is_whole else []
    for title, names in others:
        if names:
            yield from ("", title, *_shown(names))


def _shown(cells: Iterable[str]) -> tuple[str, ...]:
    """Texts of the source, so that none of them can command the terminal."""
    return tuple(visible(cell, LONGEST) for cell in cells)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The rows in columns. A cell may have letters of two columns of the terminal, or of none."""
    shown = [_shown(row) for row in rows]
    widths = [max(map(cell_len, column)) + _GAP for column in zip(*shown, strict=True)]
    for row in shown:
        cells = zip(row, widths, strict=True)
        yield "".join(cell + " " * (width - cell_len(cell)) for cell, width in cells).rstrip()


def _row(one: Assessed, *, has_tags: bool) -> tuple[str, ...]:
    machine: Machine = one.machine
    disks = ", ".join(size(disk.capacity) for disk in machine.disks) or "none"
    networks = ", ".join(dict.fromkeys(nic.network for nic in machine.nics)) or "none"
    tags = (", ".join(map(str, machine.tags)),) if has_tags else ()
    return (
        machine.path or machine.name,
        machine.source_id,
        str(machine.power),
        str(machine.vcpus),
        size(machine.memory_mib << 20),
        disks,
        networks,
        str(one.readiness),
        *tags,
    )
