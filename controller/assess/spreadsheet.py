"""The VMs as CSV for a spreadsheet (RFC 4180). Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from typing import Final

from controller.assess import workload
from controller.assess.readiness import Assessed
from controller.assess.texts import visible
from steps.model.machine import Machine

_FORMULA: Final = tuple("=+-@\uff0b\uff0d\uff1d\uff20|%")
"""A spreadsheet runs a cell that begins with one of these (OWASP, "CSV Injection"): also the wide forms of
the first four, and the bar and the percent sign in some versions."""
LONGEST: Final = 8000
"""Characters of a cell. Spreadsheets cut a cell at 32,767."""

Cell = str | int


def _used(machine: Machine) -> Cell:
    found = workload.amount(machine)
    return found.total if found.is_measured else ""


def _joined(values: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(filter(None, values)))


COLUMNS: Final[dict[str, Callable[[Assessed], Cell]]] = {
    "path": lambda one: one.machine.path or one.machine.name,
    "name": lambda one: one.machine.name,
    "id": lambda one: one.machine.source_id,
    "readiness": lambda one: str(one.readiness),
    "power": lambda one: str(one.machine.power),
    "vcpus": lambda one: one.machine.vcpus,
    "memory_mib": lambda one: one.machine.memory_mib,
    "disks": lambda one: len(one.machine.disks),
    "capacity_bytes": lambda one: workload.capacity([one.machine]),
    "used_bytes": lambda one: _used(one.machine),
    "read_bytes": lambda one: workload.amount(one.machine).total,
    "firmware": lambda one: one.machine.firmware.kind,
    "os": lambda one: one.machine.os,
    "guest": lambda one: one.machine.guest_name or one.machine.guest_id,
    "networks": lambda one: _joined(nic.network for nic in one.machine.nics),
    "datastores": lambda one: _joined(disk.storage for disk in one.machine.disks),
    "tags": lambda one: _joined(map(str, one.machine.tags)),
    "blockers": lambda one: _joined(map(str, one.blockers)),
    "warnings": lambda one: _joined(map(str, one.warnings)),
}
"""Each column with its value. A script may depend on the names and on their order: new ones come last."""


def to_csv(found: Iterable[Assessed]) -> str:
    """A line with the names of the columns, and a line for each VM.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([_safe(value(one)) for value in COLUMNS.values()] for one in found)
    return file.getvalue()


def _safe(value: Cell) -> Cell:
    if isinstance(value, int):
        return value
    text = visible(value, LONGEST)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
