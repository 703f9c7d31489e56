"""The inventory of a source: tables for a person, a document for a program."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from controller.units import size
from steps.model.machine import Machine
from steps.providers import Inventory


def document(inventory: Inventory) -> dict[str, Any]:
    """The inventory as a document."""
    return {
        "machines": [machine.model_dump(by_alias=True, mode="json") for machine in inventory.machines],
        "networks": list(inventory.networks),
        "folders": list(inventory.folders),
    }


def render(inventory: Inventory) -> RenderableType:
    """The inventory as tables."""
    rows = Table("VM", "id", "power", "vCPU", "memory", "disks", "networks", box=None, padding=(0, 2, 0, 0))
    for machine in inventory.machines:
        rows.add_row(*map(escape, _row(machine)))
    networks = Table("network", box=None, padding=(1, 2, 0, 0))
    for network in inventory.networks:
        networks.add_row(escape(network))
    folders = Table("folder", box=None, padding=(1, 2, 0, 0))
    for folder in inventory.folders:
        folders.add_row(escape(folder))
    return Group(rows, *(table for table in (networks, folders) if table.row_count))


def _row(machine: Machine) -> tuple[str, ...]:
    disks = ", ".join(size(disk.capacity) for disk in machine.disks) or "none"
    networks = ", ".join(dict.fromkeys(nic.network for nic in machine.nics)) or "none"
    power = str(machine.power)
    memory = size(machine.memory_mib << 20)
    return machine.path or machine.name, machine.source_id, power, str(machine.vcpus), memory, disks, networks
