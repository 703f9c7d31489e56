"""The inventory of a source: tables for a person, a document for a program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from controller.assess.readiness import Assessed
from controller.assess.texts import visible
from controller.assess.totals import totals
from controller.units import size
from steps.model.machine import Machine
from steps.providers import Inventory


def document(inventory: Inventory) -> dict[str, Any]:
    """The inventory as a document."""
    return {
        "machines": [machine.model_dump(by_alias=True, mode="json") for machine in inventory.machines],
        "networks": list(inventory.networks),
        "folders": list(inventory.folders),
        "tagsUnknown": inventory.tags_unknown,
    }


def render(inventory: Inventory, vms: Sequence[Assessed], *, is_whole: bool) -> RenderableType:
    """The VMs with their sums; of a whole inventory also the networks and folders."""
    has_tags = any(one.machine.tags for one in vms)
    columns = ("VM", "id", "power", "vCPU", "memory", "disks", "networks", "readiness")
    rows = _table(*columns, *(("tags",) if has_tags else ()))
    for one in vms:
        tags = (", ".join(map(str, one.machine.tags)),) if has_tags else ()
        _add(rows, (*_row(one.machine), str(one.readiness), *tags))
    others = [("network", inventory.networks), ("folder", inventory.folders)] if is_whole else []
    lists = (_list(title, names) for title, names in others if names)
    return Group(rows, Text(f"\n{totals(vms).line()}"), *lists)


def _table(*columns: str, space: int = 0) -> Table:
    return Table(*columns, box=None, padding=(space, 2, 0, 0))


def _list(title: str, names: Iterable[str]) -> Table:
    rows = _table(title, space=1)
    for name in names:
        _add(rows, (name,))
    return rows


def _add(rows: Table, cells: Iterable[str]) -> None:
    """Add a row. Its texts come from the source, so neither markup nor control characters count."""
    rows.add_row(*(Text(visible(cell, longest=2000)) for cell in cells))


def _row(machine: Machine) -> tuple[str, ...]:
    disks = ", ".join(size(disk.capacity) for disk in machine.disks) or "none"
    networks = ", ".join(dict.fromkeys(nic.network for nic in machine.nics)) or "none"
    power = str(machine.power)
    memory = size(machine.memory_mib << 20)
    return machine.path or machine.name, machine.source_id, power, str(machine.vcpus), memory, disks, networks
