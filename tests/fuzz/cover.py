"""Branch coverage of the fuzzed parsers, by module and function."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import coverage

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Covered:
    """The reached branches, the total, and the others as FILE:FROM->TO with line numbers."""

    reached: int
    all: int
    missing: tuple[str, ...]


@contextmanager
def measured(modules: Mapping[str, tuple[str, ...]]) -> Iterator[coverage.Coverage]:
    """Count from here on; enter it before the modules are imported."""
    files = [str(_file(module)) for module in modules]
    meter = coverage.Coverage(
        branch=True, include=files, data_file=None, concurrency="thread", config_file=False
    )
    meter.start()
    try:
        yield meter
    finally:
        meter.stop()


def covered(meter: coverage.Coverage, modules: Mapping[str, tuple[str, ...]], folder: Path) -> Covered:
    """The reached branches of `modules`; `folder` gets a temporary report."""
    if not modules:
        return Covered(0, 0, ())
    report = folder / "coverage.json"
    meter.json_report(outfile=str(report))
    files: dict[str, Any] = json.loads(report.read_text())["files"]
    by_path = {(ROOT / name).resolve(): entry for name, entry in files.items()}
    reached, total, missing = 0, 0, []
    for module, functions in modules.items():
        for part in _parts(by_path[_file(module)], functions):
            reached += part["summary"]["covered_branches"]
            total += part["summary"]["num_branches"]
            name = _file(module).relative_to(ROOT)
            missing += [f"{name}:{start}->{max(0, end)}" for start, end in part["missing_branches"]]
    return Covered(reached, total, tuple(missing))


def _parts(entry: dict[str, Any], functions: tuple[str, ...]) -> list[dict[str, Any]]:
    """The report's part for a module: of the named functions, or else of all functions and the module's top
    level.

    A name that does not exist any more is a KeyError: nothing is silently left out of the count.
    """
    return [entry["functions"][name] for name in functions] or [entry]


def _file(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).resolve()
