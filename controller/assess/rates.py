"""The rate of imports that `vmferry run` has made: what the estimate of the others is based on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from controller.assess.workload import Rate
from controller.local import imports
from controller.units import size
from steps.model.contract import Exit, StepError
from workflows.status.nodes import Leaf, Phase, leaves

EXPORT: Final = "export"
_SHORTEST: Final = 5.0
"""Seconds: Argo's times, and those of the embedded runner, are whole seconds."""


def measured(folder: Path) -> Rate:
    """The rate of the completed exports in a folder of `vmferry run --into`.

    Raises:
        StepError: NOT_FOUND, if there is no import; INVALID, if nothing there can be measured.
    """
    runs = imports.find(folder)
    return rate_of([leaf for run in runs for leaf in leaves(run.load())], str(folder))


def rate_of(stages: Iterable[Leaf], where: str) -> Rate:
    """The bytes of the exports divided by the time in which at least one of them ran.

    Raises:
        StepError: INVALID.
    """
    exports = [
        leaf
        for leaf in stages
        if leaf.stage == EXPORT and leaf.phase is Phase.SUCCEEDED and leaf.attempts == 1 and leaf.done
    ]
    spans = [(leaf.started, leaf.finished) for leaf in exports if leaf.started and leaf.finished]
    count, seconds = sum(leaf.done for leaf in exports), covered_seconds(spans)
    if len(spans) < len(exports) or seconds < _SHORTEST:
        raise StepError(
            Exit.INVALID,
            f"no rate can be measured in {where}",
            f"it has {len(exports)} disks that were exported in one attempt, in {seconds:.0f} s",
            f"import a VM whose disks take at least {_SHORTEST:.0f} s, or use --rate",
        )
    return Rate(
        count / seconds,
        f"measured: {size(count)} of {len(exports)} disks in {seconds:.0f} s, by the imports in {where}",
    )


def covered_seconds(spans: Sequence[tuple[datetime, datetime]]) -> float:
    """The seconds that at least one of the spans covers."""
    total, end = 0.0, None
    for start, finish in sorted(spans):
        begin = start if end is None else max(start, end)
        total += max(0.0, (finish - begin).total_seconds())
        end = finish if end is None else max(end, finish)
    return total
