"""The output of `vmferry inventory`: which VMs, in which order, as what."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from rich.markup import escape

from controller.assess import rates, report, spreadsheet, totals, workload
from controller.assess.readiness import Assessed, assess_all
from controller.assess.selection import Selection, Sort, in_order, select
from controller.assess.workload import Rate
from controller.cli import tables
from controller.cli.app import OutputFormat, dump, err, print_warning, write
from steps import __version__
from steps.model.contract import Exit, StepError
from steps.model.patterns import unused
from steps.providers import Inventory
from workflows.api.sources import Source


class InventoryFormat(enum.StrEnum):
    """The format of standard output."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a person asks of an inventory."""

    selection: Selection
    sort: Sort | None = None
    descending: bool = False
    output: InventoryFormat = InventoryFormat.TABLE
    report: Path | None = None
    rate: Rate = workload.ASSUMED


@dataclass(frozen=True)
class Listing:
    """The VMs of a source that a person asked for."""

    inventory: Inventory
    """All of the source."""
    vms: tuple[Assessed, ...]
    """Those that the selection fits, in the order that was asked for."""
    is_whole: bool

    @property
    def selected(self) -> Inventory:
        """The inventory with these VMs only."""
        return replace(self.inventory, machines=tuple(one.machine for one in self.vms))


def rate(mib_per_second: float | None, folder: Path | None) -> Rate:
    """The rate of the options `--rate` and `--rate-from`. Raises as `rates.measured`."""
    if folder is not None:
        return rates.measured(folder)
    return workload.ASSUMED if mib_per_second is None else workload.given(mib_per_second)


def listing(inventory: Inventory, source: Source, wanted: Wanted) -> Listing:
    """Assess, select and sort the VMs.

    Raises:
        StepError: UNSUPPORTED, if they are selected by tags, and the source's tags are unknown.
    """
    selection = wanted.selection
    if selection.tags and inventory.tags_unknown:
        raise StepError(
            Exit.UNSUPPORTED,
            "cannot select VMs by tag",
            inventory.tags_unknown,
            "select them by name or folder",
        )
    for pattern in unused(selection.names, inventory.machines):
        print_warning(f"no VM fits --name {pattern!r}")
    found = select(assess_all(inventory.machines, source), selection)
    vms = in_order(found, wanted.sort, descending=wanted.descending)
    return Listing(inventory, vms, is_whole=not selection)


def show(listed: Listing, source: Source, wanted: Wanted) -> None:
    """Write the report, if one was asked for, and the VMs to standard output."""
    if wanted.report is not None:
        for file in report.write(_report(listed, source, wanted), wanted.report):
            err.print(f"wrote {escape(str(file))}", highlight=False, soft_wrap=True)
    match wanted.output:
        case InventoryFormat.TABLE:
            write(tables.render(listed.selected, listed.vms, is_whole=listed.is_whole))
            if wanted.report is None:
                return
            err.print(_time(listed.vms, wanted.rate), highlight=False, soft_wrap=True, markup=False)
        case InventoryFormat.CSV:
            write(spreadsheet.to_csv(listed.vms))
        case InventoryFormat.JSON | InventoryFormat.YAML:
            assessment = totals.document(listed.vms, wanted.rate)
            dump(tables.document(listed.selected) | assessment, OutputFormat(wanted.output))


def _report(listed: Listing, source: Source, wanted: Wanted) -> report.Report:
    return report.Report(
        source=f"{source.kind} {source.metadata.name}",
        address=_address(source),
        at=datetime.now(UTC),
        version=__version__,
        selection=str(wanted.selection),
        rate=wanted.rate,
        vms=listed.vms,
        tags_unknown=listed.inventory.tags_unknown,
    )


def _address(source: Source) -> str:
    """The address of the source, without what may be secret: a login, and the query of a signed URL."""
    parts = urlsplit(source.spec.address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _time(vms: Sequence[Assessed], assumed: Rate) -> str:
    """The estimate of the report in two lines, with its origin."""
    sums = totals.totals(vms)
    hours = workload.duration(assumed.hours(sums.to_read))
    return f"time: {hours} at {assumed} ({workload.FORMULA})\nrate: {assumed.origin}"
