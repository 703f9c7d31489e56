"""The assessment of a source as a page: HTML that needs no other file, and Markdown.

Names and notes come from the source, where others choose them. In HTML jinja2 escapes every value, and the
page forbids scripts and requests of any kind; in Markdown they are code spans.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from controller.assess import workload
from controller.assess.readiness import Assessed, Readiness
from controller.assess.texts import code_span, visible
from controller.assess.totals import counted, findings, totals
from controller.assess.workload import Rate
from controller.units import size
from steps.model.contract import Exit, StepError
from steps.model.document import write_atomically

SUFFIXES: Final = {".html": "report.html.j2", ".md": "report.md.j2"}
"""The formats by the suffix of their files, with their templates."""
_STYLE: Final = "report.css"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report is about."""

    source: str
    """KIND NAME of the source."""
    address: str
    at: datetime
    version: str
    """Of vmferry."""
    selection: str
    """The options that select VMs; "" for all."""
    rate: Rate
    vms: tuple[Assessed, ...]
    tags_unknown: str = ""


def files(path: Path) -> dict[Path, str]:
    """The files of `--report PATH`, with the suffix of each: both formats, or the one of its own suffix."""
    if path.suffix in SUFFIXES:
        return {path: path.suffix}
    return {path.with_name(path.name + suffix): suffix for suffix in SUFFIXES}


def write(report: Report, path: Path) -> list[Path]:
    """Write the files; returns them.

    Raises:
        StepError: CONFLICT, if one cannot be written.
    """
    written = files(path)
    for file, suffix in written.items():
        text = render(report, suffix)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, text)
        except OSError as error:
            raise StepError(
                Exit.CONFLICT, f"cannot write {file}", error.strerror or "", "choose another --report"
            ) from None
    return list(written)


def render(report: Report, suffix: str) -> str:
    """The report in the format of a suffix."""
    environment = _environment(html=suffix == ".html")
    template = environment.get_template(SUFFIXES[suffix])
    return template.render(**_values(report), **(_style(environment) if suffix == ".html" else {}))


def _environment(*, html: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("controller.assess"),
        autoescape=html,  # noqa: S701 - Markdown has another escape, the filter `shown`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "size": size,
        "counted": counted,
        "shown": visible if html else code_span,
        "duration": workload.duration,
    }
    return environment


def _style(environment: Environment) -> dict[str, str]:
    """The style sheet and its digest: the page's policy allows only this one (CSP, `style-src`)."""
    style = environment.get_template(_STYLE).render()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return {"style": style, "style_digest": digest}


def _values(report: Report) -> dict[str, Any]:
    possible = [one for one in report.vms if one.readiness is not Readiness.BLOCKED]
    sums = totals(report.vms)
    return {
        "report": report,
        "at": report.at.strftime("%Y-%m-%d %H:%M UTC"),
        "sums": sums,
        "possible": totals(possible),
        "readiness": Readiness,
        "blockers": findings(report.vms, lambda one: one.blockers),
        "warnings": findings(report.vms, lambda one: one.warnings),
        "formula": workload.FORMULA,
        "amount_text": workload.AMOUNT,
        "systems": _counts(report.vms, lambda one: one.machine.os or "unknown"),
        "networks": list(_per_vm(report.vms, lambda one: {nic.network for nic in one.machine.nics})),
        "datastores": list(_datastores(report.vms)),
        "rows": [_row(one, report.rate) for one in report.vms],
    }


def _row(one: Assessed, rate: Rate) -> dict[str, Any]:
    machine, amount = one.machine, workload.amount(one.machine)
    return {
        "path": machine.path or machine.name,
        "id": machine.source_id,
        "readiness": one.readiness,
        "power": machine.power,
        "vcpus": machine.vcpus,
        "memory": machine.memory_mib << 20,
        "disks": len(machine.disks),
        "capacity": workload.capacity([machine]),
        "read": amount.total,
        "is_measured": amount.is_measured,
        "hours": rate.hours(amount.total),
        "tags": [str(tag) for tag in machine.tags],
        "findings": [*one.blockers, *one.warnings],
    }


def _counts(vms: Sequence[Assessed], value: Any) -> list[tuple[str, int]]:
    return _most_first(Counter(map(value, vms)))


def _per_vm(vms: Sequence[Assessed], values: Any) -> Iterator[tuple[str, int]]:
    yield from _most_first(Counter(name for one in vms for name in values(one) if name))


def _most_first(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _datastores(vms: Sequence[Assessed]) -> Iterator[tuple[str, int, int]]:
    """Name, number of disks and their size in bytes."""
    disks: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for disk in (disk for one in vms for disk in one.machine.disks if disk.storage):
        disks[disk.storage] += 1
        sizes[disk.storage] += disk.capacity
    for name, _ in _most_first(sizes):
        yield name, disks[name], sizes[name]
