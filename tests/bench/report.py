"""Figures as a table and as JSON, and their comparison with those noted before."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.measure import Cost
from tests.bench.rows import LIMITS, Costs, Row

Noted = dict[str, Any]
NOTED: Final = Path(__file__).parents[2] / "docs" / "explanation" / "performance.json"
WORSE: Final = 1.10
"""The factor by which a figure may exceed the noted one."""
SMALL: Final = {"MiB": 4.0, "%": 0.5, "": 0.02}
"""The amount by which it may exceed it in any case, per unit: 10 % of a tiny value means nothing."""


@dataclass(frozen=True)
class Figure:
    """One measured row: when, at what load, on which disk. `common` is the figure of the common practice;
    `foreign` is how many cores other processes used in the worst run that counts.
    """

    group: str
    figure: str
    common: float | None
    measured: float
    goal: float
    unit: str
    verdict: str
    foreign: float
    runs: int
    date: str
    load: float


def figures(rows: Sequence[Row], costs: Costs, runs: int) -> list[Figure]:
    return [
        Figure(
            group=row.group,
            figure=row.figure,
            common=round(row.common(costs), 2) if row.common else None,
            measured=round(row.value(costs), 2),
            goal=row.goal,
            unit=row.unit,
            verdict=row.verdict(costs),
            foreign=round(row.foreign(costs), 2),
            runs=runs,
            date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
            load=round(os.getloadavg()[0], 1),
        )
        for row in rows
    ]


def table(found: Sequence[Figure]) -> Iterator[str]:
    yield f"{'figure':58} {'common':>8} {'measured':>9} {'goal':>7}  {'verdict':7} others"
    for one in found:
        common = "" if one.common is None else f"{one.common:.2f}"
        goal = f"<= {one.goal:g}"
        line = f"{one.figure:58} {common:>8} {one.measured:9.2f} {goal:>7}"
        yield f"{line}  {one.verdict:7} {one.foreign:.2f}"


def markdown(found: Sequence[Figure]) -> Iterator[str]:
    yield "| figure | common practice | measured | goal | verdict | runs | others, cores | load | date |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for one in found:
        common = "" if one.common is None else f"{one.common:.2f}"
        unit = f" {one.unit}" if one.unit else ""
        values = f"{common} | {one.measured:.2f}{unit} | ≤ {one.goal:g} | {one.verdict}"
        yield f"| {one.figure} | {values} | {one.runs} | {one.foreign} | {one.load} | {one.date} |"


def details(costs: Costs, allocated: int) -> Iterator[str]:
    """The cost of each program, the limits first."""
    yield f"{'least of all runs':24} wall s  CPU s  peak MiB  written/alloc  peak/alloc  others"
    for name in sorted(costs, key=lambda name: (name not in LIMITS, list(costs).index(name))):
        cost = costs[name]
        space = f"{cost.written / allocated:13.2f} {cost.peak / allocated:11.2f}"
        times = f"{cost.wall:6.2f} {cost.cpu:6.2f} {cost.memory >> 10:9}"
        yield f"{name:24} {times} {space} {cost.foreign:9.2f}"


def document(found: Sequence[Figure], costs: Costs, disk: str) -> Noted:
    """Everything as plain JSON."""
    return {
        "machine": machine(),
        "disk": disk,
        "figures": {figure.figure: asdict(figure) for figure in found},
        "costs": {name: _rounded(cost) for name, cost in costs.items()},
    }


def note(path: Path, new: Noted) -> None:
    """Write the figures, or replace those that were noted before."""
    old: Noted = json.loads(path.read_text()) if path.exists() else {}
    for part in ("figures", "costs"):
        new[part] = {**old.get(part, {}), **new[part]}
    path.write_text(json.dumps(new, indent=1, sort_keys=False) + "\n")


def load(path: Path) -> list[Figure]:
    """The noted figures."""
    return [Figure(**fields) for fields in json.loads(path.read_text())["figures"].values()]


def _rounded(cost: Cost) -> dict[str, float]:
    fields = asdict(cost) | {"usual": cost.usual}
    del fields["walls"]
    return {key: round(value, 3) for key, value in fields.items()}


def machine() -> str:
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    version = subprocess.run(["qemu-img", "--version"], capture_output=True, text=True, check=True).stdout
    qemu = version.split()[2]
    linux, python = platform.release(), platform.python_version()
    return f"{os.cpu_count()} x {cpu}, Linux {linux}, qemu-img {qemu}, Python {python}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def worse(found: Sequence[Figure], noted: Sequence[Figure]) -> list[Figure]:
    """The figures that are worse than noted by more than the noise of a ratio."""
    before = {one.figure: one.measured for one in noted}
    return [
        one
        for one in found
        if one.figure in before
        and one.measured > before[one.figure] * WORSE
        and one.measured > before[one.figure] + SMALL[one.unit]
    ]
