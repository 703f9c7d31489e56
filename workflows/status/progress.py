"""Progress and rate of a disk: its row of the import's status, from its leaves and the previous row. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final

from pydantic import ValidationError

from steps.model.mapping import Shape
from steps.model.volumes import Volumes
from workflows.api.conditions import stamp
from workflows.api.status import DiskImportStatus
from workflows.stages import STAGES, Scope, Stage
from workflows.status.nodes import Leaf, Phase, parse_time
from workflows.status.observed import Observed

STALL: Final = 150.0
"""Seconds without a byte after which no rate is shown. Argo reports progress once a minute by default."""
WEIGHED: Final = tuple(stage for stage in STAGES if stage.scope is Scope.DISK and stage.weight)
_WEIGHT: Final = sum(stage.weight for stage in WEIGHED)
_LONGEST: Final = 10**9
"""Seconds; the upper limit of the time left."""


@dataclass(frozen=True)
class Pace:
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
    wanted = next((one for one in shape.disks if one.id == disk), None) if shape else None
    size = wanted.capacity if wanted else before.disk_size
    pace = pace_of(disk, seen, before, now, size)
    return before.model_copy(
        update={
            "disk": disk,
            "disk_name": _name(disk, seen, before),
            "disk_size": size,
            "bus_type": str(wanted.bus) if wanted else before.bus_type,
            "virtual_machine_image": seen.output("image", disk, "image") or before.virtual_machine_image,
            "digest": seen.output("image", disk, "digest") or before.digest,
            "integrity": seen.output("image", disk, "integrity") or before.integrity,
            "percent": min(100, max(before.percent, percent(disk, seen))),
            "step": pace.step,
            "bytes_done": pace.done,
            "bytes_total": pace.total,
            "bytes_per_second": pace.rate,
            "seconds_left": pace.left,
            "progress_time": pace.since,
        }
    )


def _name(disk: str, seen: Observed, before: DiskImportStatus) -> str:
    """As vm-import-controller has it: the name of a file, `VM-….img` (pkg/source/*/client.go)."""
    name = seen.output("image", disk, "volume") or _chosen(seen).names.get(disk, "")
    return f"{name}.img" if name else before.disk_name or disk


def _chosen(seen: Observed) -> Volumes:
    try:
        return Volumes.model_validate_json(seen.output("admit", None, "volumes"))
    except ValidationError:  # no output yet, or the output of another version
        return Volumes()


def percent(disk: str, seen: Observed) -> int:
    """Progress of a disk over all its steps, by their weights, in percent."""
    done = sum(stage.weight * share(seen.leaf(stage.name, disk)) for stage in WEIGHED)
    return int(100 * done / _WEIGHT)


def share(leaf: Leaf | None) -> Fraction:
    """The completed share of a step. A step that counts no bytes is completed when it has succeeded."""
    if leaf is None:
        return Fraction(0)
    if leaf.phase.succeeded:
        return Fraction(1)
    return Fraction(leaf.done, leaf.total) if leaf.total > 1 else Fraction(0)


def pace_of(disk: str, seen: Observed, before: DiskImportStatus, now: datetime, size: int) -> Pace:
    """The pace of the last step that counts bytes, compared with the previous row.

    `size` is the disk's capacity in bytes, 0 while unknown.
    """
    found = _counting(disk, seen)
    if found is None:
        return _uncounted(disk, seen, before, now, size)
    stage, leaf = found
    if leaf.phase is not Phase.RUNNING:
        done = leaf.total if leaf.phase.succeeded else leaf.done
        return Pace(stage.name, done, leaf.total, since=_since(stage.name, done, before, now))
    return _moving(stage, leaf, disk, seen, before, now)


def _uncounted(disk: str, seen: Observed, before: DiskImportStatus, now: datetime, size: int) -> Pace:
    """Argo reports bytes at intervals, so no step has any yet: a step that succeeded has moved them all."""
    done = [stage for stage in WEIGHED if seen.succeeded(stage.name, disk)]
    counted = before.bytes_total and (before.bytes_done, before.bytes_total) != (size, size)
    if not done or not size or counted:
        return Pace(before.step, before.bytes_done, before.bytes_total, since=before.progress_time)
    return Pace(done[-1].name, size, size, since=_since(done[-1].name, size, before, now))


def _counting(disk: str, seen: Observed) -> tuple[Stage, Leaf] | None:
    pairs = [(stage, leaf) for stage in WEIGHED if (leaf := seen.leaf(stage.name, disk)) and leaf.total > 1]
    return pairs[-1] if pairs else None


def _moving(
    stage: Stage, leaf: Leaf, disk: str, seen: Observed, before: DiskImportStatus, now: datetime
) -> Pace:
    """Rate and time left change only with the bytes, so that a second reconcile gives the same result."""
    since = _since(stage.name, leaf.done, before, now)
    if before.step != stage.name or leaf.done < before.bytes_done:
        return Pace(stage.name, leaf.done, leaf.total, since=since)
    if leaf.done == before.bytes_done:
        rate = before.bytes_per_second if _seconds(since, now) < STALL else 0
        left = before.seconds_left if rate else 0
        return Pace(stage.name, leaf.done, leaf.total, rate, left, since)
    rate = _rate(leaf.done - before.bytes_done, _seconds(before.progress_time, now), before)
    return Pace(stage.name, leaf.done, leaf.total, rate, _left(stage, leaf, disk, seen, rate), since)


def _since(step: str, done: int, before: DiskImportStatus, now: datetime) -> str:
    """When the bytes last changed."""
    same = (step, done) == (before.step, before.bytes_done) and before.progress_time
    return before.progress_time if same else stamp(now)


def _rate(moved: int, seconds: float, before: DiskImportStatus) -> int:
    """Bytes per second, averaged with the previous rate: progress arrives in jumps."""
    if seconds <= 0:
        return before.bytes_per_second
    rate = int(moved / seconds)
    return (rate + before.bytes_per_second) // 2 if before.bytes_per_second else rate


def _left(stage: Stage, leaf: Leaf, disk: str, seen: Observed, rate: int) -> int:
    """Seconds left: the rest of this step, and the later steps by their weights."""
    if not rate:
        return 0
    weight = sum(one.weight * (1 - share(seen.leaf(one.name, disk))) for one in WEIGHED)
    return min(_LONGEST, int(weight * leaf.total / (rate * stage.weight)) + 1)


def _seconds(since: str, now: datetime) -> float:
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
