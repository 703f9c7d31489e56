"""The status of runs for a person: tables and lines. Pure: time and rates are arguments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from controller.cli.rates import Rates
from controller.units import size
from workflows.hooks import point_of
from workflows.status.nodes import Leaf, Phase, leaves, phase_of
from workflows.status.progress import duration

MARKS: Final[dict[Phase, tuple[str, str]]] = {
    Phase.PENDING: ("·", "dim"),
    Phase.RUNNING: ("▶", "cyan"),
    Phase.SUCCEEDED: ("✔", "green"),
    Phase.SKIPPED: ("–", "dim"),
    Phase.OMITTED: ("–", "dim"),
    Phase.FAILED: ("✘", "red"),
    Phase.ERROR: ("✘", "red"),
}
STOPPED: Final = ("✘", "red")
INTERRUPTED: Final = "Interrupted"
"""Shown instead of a phase if the runner was killed. Argo has no such phase."""
HIDDEN: Final = ("approve-poweroff", "approve-start")
"""Gates, hidden if the import does not use them."""


def counts_bytes(leaf: Leaf) -> bool:
    """Whether a stage reports its progress in bytes; others only report 0/1."""
    return leaf.total > 1


def visible_leaves(workflow: Mapping[str, Any]) -> Iterator[Leaf]:
    """The stages to show."""
    skipped = (Phase.SKIPPED, Phase.OMITTED)
    return (leaf for leaf in leaves(workflow) if not (leaf.stage in HIDDEN and leaf.phase in skipped))


def table(
    title: str, workflow: Mapping[str, Any], rates: Rates, now: datetime | None = None
) -> RenderableType:
    """One import with one row per stage: bar, bytes, rate and time left, or how long it has run.

    `now` is None if no process runs it any more: a stage that was running was interrupted.
    """
    rows = Table.grid(padding=(0, 1))
    for leaf in visible_leaves(workflow):
        mark, style = STOPPED if now is None and leaf.phase is Phase.RUNNING else MARKS[leaf.phase]
        rows.add_row(Text(mark, style), leaf.title, *_cells(leaf, rates, now))
    phase = phase_of(workflow)
    head = Text.assemble((title, "bold"), f"  {INTERRUPTED if is_interrupted(phase, now) else phase}")
    return Group(head, rows)


def is_interrupted(phase: Phase, now: datetime | None) -> bool:
    """Whether a run did not finish and no process works on it."""
    return now is None and not phase.fulfilled


def _cells(leaf: Leaf, rates: Rates, now: datetime | None) -> Iterator[RenderableType]:
    running = leaf.phase is Phase.RUNNING
    yield ProgressBar(leaf.total, leaf.done, width=24) if running and counts_bytes(leaf) else ""
    yield Text(_note(leaf, rates, now), overflow="fold")


def _note(leaf: Leaf, rates: Rates, now: datetime | None) -> str:
    again = f" (attempt {leaf.attempts})" if leaf.attempts > 1 else ""
    if leaf.phase is Phase.RUNNING:
        return (running_text(leaf, rates, now) if now else "interrupted") + again
    if leaf.phase.failed:
        return f"{leaf.step_message}{again}"
    seconds = (leaf.finished - leaf.started).total_seconds() if leaf.finished and leaf.started else 0
    bytes_ = f"{size(leaf.total)} in " if counts_bytes(leaf) else ""
    if point_of(leaf.stage) is not None and leaf.message:
        return f"{duration(seconds)}  {leaf.message}"
    return f"{bytes_}{duration(seconds)}{again}" if leaf.phase is Phase.SUCCEEDED else leaf.message


def running_text(leaf: Leaf, rates: Rates, now: datetime) -> str:
    """A running stage: its bytes, and how long it has been running."""
    seconds = max(0.0, (now - leaf.started).total_seconds()) if leaf.started else 0.0
    since = f"running for {duration(seconds)}"
    return f"{transfer_text(leaf, rates)}  {since}" if counts_bytes(leaf) else since


def transfer_text(leaf: Leaf, rates: Rates) -> str:
    """`45 %  1.2 GiB of 2.7 GiB  110 MiB/s  13s left`."""
    percent = 100 * leaf.done // max(leaf.total, 1)
    rate = rates.of(leaf)
    parts = [f"{percent:>3} %", f"{size(leaf.done)} of {size(leaf.total)}"]
    if rate:
        parts += [f"{size(rate)}/s", f"{duration((leaf.total - leaf.done) / rate)} left"]
    return "  ".join(parts)


def lines(name: str, before: Mapping[str, Phase], workflow: Mapping[str, Any]) -> Iterator[str]:
    """One line per change since `before` (title to phase), for a log or a pipe."""
    for leaf in visible_leaves(workflow):
        seen = before.get(_key(leaf))
        if leaf.phase is not seen and leaf.phase is not Phase.OMITTED:
            yield f"{name}: {leaf.title} {leaf.phase.lower()}{_reason_text(leaf)}"


def _reason_text(leaf: Leaf) -> str:
    if leaf.phase.failed:
        return f": {leaf.step_message}"
    return f" (attempt {leaf.attempts})" if leaf.attempts > 1 else ""


def _key(leaf: Leaf) -> str:
    return f"{leaf.title} {leaf.attempts}"


def phases(workflow: Mapping[str, Any]) -> dict[str, Phase]:
    """The input `before` of `lines`."""
    return {_key(leaf): leaf.phase for leaf in leaves(workflow)}


def transferring(workflow: Mapping[str, Any]) -> Iterable[Leaf]:
    """The stages that transfer bytes now."""
    return (leaf for leaf in leaves(workflow) if leaf.phase is Phase.RUNNING and counts_bytes(leaf))
