"""Progress and rate of a disk: its row of the import's status, from its leaves and the previous row. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final

from pydantic import ValidationError

from steps.model.mapping import Shape
from steps.model.plan import DiskWay
from steps.model.volumes import Volumes
from workflows.api.conditions import stamp
from workflows.api.status import DiskImportStatus
from workflows.stages import STAGES, Scope, Stage
from workflows.status.nodes import Leaf, Phase, parse_time
from workflows.status.observed import Observed

STALL: Final = 150.0
"""Seconds without a byte after which no rate is shown. Argo reports progress once a minute by default."""
WEIGHED: Final = {
    lands: tuple(
        stage
        for stage in STAGES
        if stage.scope is Scope.DISK and stage.weight and not (lands and stage.way is DiskWay.PULL)
    )
    for lands in (False, True)
}
"""The stages that count for a disk's percentage, by whether the disk lands on its volume."""
_LONGEST: Final = 10**9
"""Seconds; the upper limit of the time left."""


@dataclass(frozen=True)
class StepProgress:
    """The current step of a disk: bytes done, total bytes, rate and time left."""

    step: str
    done: int
    total: int
    rate: int = 0
    left: int = 0
    since: str = ""


def row(
    disk: str, seen: Observed, before: DiskImportStatus | None, now: datetime, shape: Shape | None
) -> DiskImportStatus:
    """The row of a disk, without its conditions."""
    before = before or DiskImportStatus()
    shown = next((target for target in shape.disks if target.id == disk), None) if shape else None
    size = shown.capacity if shown else before.disk_size
    progress = step_progress(disk, seen, before, now, size)
    return before.model_copy(
        update={
            "disk": disk,
            "disk_name": _name(disk, seen, before),
            "disk_size": size,
            "bus_type": str(shown.bus) if shown else before.bus_type,
            "virtual_machine_image": seen.output("image", disk, "image") or before.virtual_machine_image,
            "digest": seen.output("image", disk, "digest") or before.digest,
            "integrity": seen.output(seen.last_stage(disk), disk, "integrity") or before.integrity,
            "percent": min(100, max(before.percent, percent(disk, seen))),
            "step": progress.step,
            "bytes_done": progress.done,
            "bytes_total": progress.total,
            "bytes_per_second": progress.rate,
            "seconds_left": progress.left,
            "progress_time": progress.since,
        }
    )


def _name(disk: str, seen: Observed, before: DiskImportStatus) -> str:
    """As vm-import-controller has it: the name of a file, `VM-….img` (pkg/source/*/client.go)."""
    name = seen.output(seen.last_stage(disk), disk, "volume") or _chosen_volumes(seen).names.get(disk, "")
    return f"{name}.img" if name else before.disk_name or disk


def _chosen_volumes(seen: Observed) -> Volumes:
    try:
        return Volumes.model_validate_json(seen.output("admit", None, "volumes"))
    except ValidationError:  # no output yet, or the output of another version
        return Volumes()


def percent(disk: str, seen: Observed) -> int:
    """Progress of a disk over all its steps, by their weights, in percent."""
    weighed = WEIGHED[seen.lands(disk)]
    done = sum(stage.weight * share(seen.leaf(stage.name, disk)) for stage in weighed)
    return int(100 * done / sum(stage.weight for stage in weighed))


def share(leaf: Leaf | None) -> Fraction:
    """The completed share of a step. A step that counts no bytes is completed when it has succeeded."""
    if leaf is None:
        return Fraction(0)
    if leaf.phase.succeeded:
        return Fraction(1)
    return Fraction(leaf.done, leaf.total) if leaf.total > 1 else Fraction(0)


def step_progress(
    disk: str, seen: Observed, before: DiskImportStatus, now: datetime, size: int
) -> StepProgress:
    """The pace of the last step that counts bytes, compared with the previous row.

    `size` is the disk's capacity in bytes, 0 while unknown.
    """
    counting = _counting(disk, seen)
    if counting is None:
        return _without_counts(disk, seen, before, now, size)
    stage, leaf = counting
    if leaf.phase is not Phase.RUNNING:
        done = leaf.total if leaf.phase.succeeded else leaf.done
        return StepProgress(stage.name, done, leaf.total, since=_last_move(stage.name, done, before, now))
    return _while_running(stage, leaf, disk, seen, before, now)


def _without_counts(
    disk: str, seen: Observed, before: DiskImportStatus, now: datetime, size: int
) -> StepProgress:
    """Argo reports bytes at intervals, so no step has any yet: a step that succeeded has moved them all."""
    done = [stage for stage in WEIGHED[seen.lands(disk)] if seen.succeeded(stage.name, disk)]
    counted = before.bytes_total and (before.bytes_done, before.bytes_total) != (size, size)
    if not done or not size or counted:
        return StepProgress(before.step, before.bytes_done, before.bytes_total, since=before.progress_time)
    return StepProgress(done[-1].name, size, size, since=_last_move(done[-1].name, size, before, now))


def _counting(disk: str, seen: Observed) -> tuple[Stage, Leaf] | None:
    pairs = [
        (stage, leaf)
        for stage in WEIGHED[seen.lands(disk)]
        if (leaf := seen.leaf(stage.name, disk)) and leaf.total > 1
    ]
    return pairs[-1] if pairs else None


def _while_running(
    stage: Stage, leaf: Leaf, disk: str, seen: Observed, before: DiskImportStatus, now: datetime
) -> StepProgress:
    """Rate and time left change only with the bytes, so that a second reconcile gives the same result."""
    since = _last_move(stage.name, leaf.done, before, now)
    if before.step != stage.name or leaf.done < before.bytes_done:
        return StepProgress(stage.name, leaf.done, leaf.total, since=since)
    if leaf.done == before.bytes_done:
        rate = before.bytes_per_second if _seconds_since(since, now) < STALL else 0
        left = before.seconds_left if rate else 0
        return StepProgress(stage.name, leaf.done, leaf.total, rate, left, since)
    rate = _rate(leaf.done - before.bytes_done, _seconds_since(before.progress_time, now), before)
    return StepProgress(
        stage.name, leaf.done, leaf.total, rate, _seconds_left(stage, leaf, disk, seen, rate), since
    )


def _last_move(step: str, done: int, before: DiskImportStatus, now: datetime) -> str:
    """When the bytes last changed."""
    same = (step, done) == (before.step, before.bytes_done) and before.progress_time
    return before.progress_time if same else stamp(now)


def _rate(moved: int, seconds: float, before: DiskImportStatus) -> int:
    """Bytes per second, averaged with the previous rate: progress arrives in jumps."""
    if seconds <= 0:
        return before.bytes_per_second
    rate = int(moved / seconds)
    return (rate + before.bytes_per_second) // 2 if before.bytes_per_second else rate


def _seconds_left(stage: Stage, leaf: Leaf, disk: str, seen: Observed, rate: int) -> int:
    """Seconds left: the rest of this step, and the later steps by their weights."""
    if not rate:
        return 0
    weight = sum(
        later.weight * (1 - share(seen.leaf(later.name, disk))) for later in WEIGHED[seen.lands(disk)]
    )
    return min(_LONGEST, int(weight * leaf.total / (rate * stage.weight)) + 1)


def _seconds_since(since: str, now: datetime) -> float:
    """Seconds since a time in a status; 0 if it is not a valid time."""
    try:
        when = parse_time(since)
    except ValueError:
        return 0.0
    if when is None:
        return 0.0
    return (now - (when if when.tzinfo else when.replace(tzinfo=UTC))).total_seconds()


def duration(seconds: float) -> str:
    """Seconds as text, as kubectl shows them: `45s`, `3m20s`, `1h05m`."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    if minutes:
        return f"{minutes}m{rest:02}s"
    return f"{rest}s"
