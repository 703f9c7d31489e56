"""Which imports of a plan start now, and what the plan waits for. Pure: the time is an argument."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from workflows.api.annotations import APPROVE, RETRY
from workflows.api.conditions import stamp
from workflows.api.migration_plan import (
    AtThreshold,
    MigrationPlanSpec,
    PlannedVm,
    PlanPhase,
    VmPhase,
    Waves,
)
from workflows.migration import windows

DEFAULT_THRESHOLD: Final = 1
"""Failed imports of a wave that stop the plan. The VM of a failed import is off."""
MOST_NAMED: Final = 5
"""VMs that a message names."""
IN_FLIGHT: Final = (VmPhase.WAITING, VmPhase.RUNNING)
NO_VM: Final = "spec.vms selects no VM; compare the rows with `vmferry inventory`"
SUSPEND: Final = "set spec.suspend to false"


@dataclass(frozen=True)
class InFlight:
    """Imports that run, by the host of their VM and by the storage classes of its disks."""

    hosts: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Remedies:
    """What a person can do, for messages. `{wave}` is the number of the next wave."""

    approve: str
    """When the next wave starts, if it needs an approval."""
    end_pause: str
    """How a pause ends early; empty if it cannot."""
    stop: str
    """After a stop by the failure threshold."""
    retry: str
    """After the end of a plan in which imports failed or were deleted."""
    resume: str
    """After the end of a plan in which imports were cancelled, which no retry starts again."""


BY_ANNOTATION: Final = Remedies(
    approve=f"when a person annotates the plan with {APPROVE}={{wave}}",
    end_pause=f", or when a person annotates the plan with {APPROVE}={{wave}}",
    stop=f"correct the cause and annotate the plan with {RETRY}=true, or annotate it with {APPROVE}={{wave}} "
    "to continue",
    retry=f"retry those that are failed or deleted with the annotation {RETRY}=true on the plan",
    resume="resume a cancelled import with `vmferry resume`",
)
"""In a cluster."""
BY_COMMAND: Final = Remedies(
    approve="when you run the command again and answer yes, or run it with --yes",
    end_pause="",
    stop="correct the cause and run the command again, or raise waves.failureThreshold to continue",
    retry="run the command again to retry them",
    resume="run the command again to resume a cancelled import",
)
"""For `vmferry run`."""


@dataclass(frozen=True)
class Moment:
    """What the decision depends on, in addition to the spec."""

    now: datetime
    vms: tuple[PlannedVm, ...]
    approved_wave: int = 0
    wave_ended: datetime | None = None
    others: InFlight = InFlight()
    """Imports of other plans that count against the limits of this one."""
    preferred: str = ""
    """Another plan with a higher priority that imports a wave; empty without one."""
    remedies: Remedies = BY_ANNOTATION


@dataclass(frozen=True)
class Schedule:
    """What happens now."""

    phase: PlanPhase
    message: str
    wave: int
    """The current wave; 0 before the first one."""
    start: tuple[str, ...] = ()
    """The imports to create, by name."""
    retry: tuple[str, ...] = ()
    """The failed imports to retry, by name."""
    wave_ended: datetime | None = None
    seconds: float | None = None
    """Seconds until something changes without an event; None if nothing does."""


def decide(spec: MigrationPlanSpec, moment: Moment) -> Schedule:
    """What happens now with the VMs of a plan, which have their phases and waves."""
    if not moment.vms:
        return Schedule(PlanPhase.FAILED, NO_VM, wave=0)
    plan = _Plan(spec, moment)
    if plan.is_over:
        return plan.result(_end_phase(moment.vms), _end_message(moment.vms, moment.remedies))
    if spec.suspend:
        return plan.result(PlanPhase.SUSPENDED, f"No import starts: {SUSPEND}")
    return plan.between_waves() or plan.outside() or plan.start()


class _Plan:
    """The parts of a decision."""

    def __init__(self, spec: MigrationPlanSpec, moment: Moment) -> None:
        self._spec = spec
        self._moment = moment
        self._remedies = moment.remedies
        self._rules = spec.waves or Waves()
        self._waves = sorted({vm.wave for vm in moment.vms})
        self._current = max((vm.wave for vm in moment.vms if vm.phase != VmPhase.PENDING), default=0)
        self._next = next((wave for wave in self._waves if wave > self._current), None)
        is_open = any(_is_open(vm) for vm in moment.vms if vm.wave <= self._current)
        has_ended = self._current > 0 and not is_open
        self._ended = (moment.wave_ended or moment.now) if has_ended else None
        self.is_over = has_ended and self._next is None
        retried = [vm for vm in moment.vms if vm.retry and vm.phase == VmPhase.FAILED]
        wave = self._next if is_open is False else self._current
        pending = [vm for vm in moment.vms if vm.phase == VmPhase.PENDING and vm.wave <= (wave or 0)]
        self._is_held = is_open and bool(pending) and self._stops_starting
        self.candidates = [*retried, *(() if self._is_held else pending)]

    def result(
        self,
        phase: PlanPhase,
        message: str,
        *,
        start: Sequence[PlannedVm] = (),
        seconds: float | None = None,
    ) -> Schedule:
        """The schedule, with a message that also says what runs."""
        started = [vm for vm in start if not vm.retry]
        return Schedule(
            phase=phase,
            message="; ".join(filter(None, (message, self._progress(len(start))))),
            wave=max([self._current, *(vm.wave for vm in started)]),
            start=tuple(vm.import_ for vm in started),
            retry=tuple(vm.import_ for vm in start if vm.retry),
            wave_ended=None if start else self._ended,
            seconds=seconds,
        )

    def between_waves(self) -> Schedule | None:
        """Why no further import may start, except retries; None if some may."""
        if self._is_held and not self.candidates:
            return self.result(PlanPhase.STOPPED, self._stop_message())
        if self._ended is None or self._next is None or self._moment.approved_wave >= self._next:
            return None
        if self._has_too_many_failures:
            return self.result(PlanPhase.STOPPED, self._stop_message())
        if self._rules.approval:
            when = self._remedies.approve.format(wave=self._next)
            message = f"Wave {self._current} has ended; wave {self._next} starts {when}"
            return self.result(PlanPhase.APPROVAL, message)
        return self._pause()

    def _pause(self) -> Schedule | None:
        if self._ended is None:
            return None
        until = self._ended + timedelta(minutes=self._rules.pause_minutes or 0)
        left = (until - self._moment.now).total_seconds()
        if left <= 0:
            return None
        earlier = self._remedies.end_pause.format(wave=self._next)
        message = f"Wave {self._current} has ended; wave {self._next} starts at {stamp(until)}{earlier}"
        return self.result(PlanPhase.PAUSED, message, seconds=left)

    def outside(self) -> Schedule | None:
        """What keeps imports from starting at any time of the plan; None if nothing does."""
        if not self.candidates:
            return None
        if self._moment.preferred:
            message = f"{self._moment.preferred} has a higher priority and imports a wave"
            return self.result(PlanPhase.PRIORITY, message)
        if not windows.is_open(self._spec.windows, self._moment.now):
            return self._waiting_for_window()
        return None

    def _waiting_for_window(self) -> Schedule:
        opens = windows.opens(self._spec.windows, self._moment.now)
        if opens is None:
            message = "No window of spec.windows opens again: add one"
            return self.result(PlanPhase.WINDOW, message)
        seconds = (opens - self._moment.now).total_seconds()
        message = f"The next window opens at {stamp(opens)}"
        return self.result(PlanPhase.WINDOW, message, seconds=seconds)

    def start(self) -> Schedule:
        """As many candidates as the limits allow."""
        chosen = list(self._within_limits())
        if chosen or self._in_flight() or not self.candidates:
            return self.result(PlanPhase.RUNNING, "", start=chosen)
        message = "Imports of other plans use all places of spec.limits"
        return self.result(PlanPhase.LIMITS, message)

    def _within_limits(self) -> Iterator[PlannedVm]:
        limits = self._spec.limits
        hosts, classes = self._used()
        most_host = (limits.per_host if limits else None) or math.inf
        most_class = (limits.per_storage_class if limits else None) or math.inf
        for vm in self.candidates:
            if vm.host and hosts[vm.host] >= most_host:
                continue
            if any(classes[name] >= most_class for name in vm.storage_classes):
                continue
            hosts[vm.host] += 1
            classes.update(vm.storage_classes)
            yield vm

    def _used(self) -> tuple[Counter[str], Counter[str]]:
        hosts, classes = Counter(self._moment.others.hosts), Counter(self._moment.others.classes)
        for vm in self._in_flight():
            hosts[vm.host] += 1
            classes.update(vm.storage_classes)
        return hosts, classes

    def _in_flight(self) -> list[PlannedVm]:
        return [vm for vm in self._moment.vms if vm.phase in IN_FLIGHT]

    @property
    def _failed(self) -> list[PlannedVm]:
        return [
            vm
            for vm in self._moment.vms
            if vm.wave == self._current and vm.phase == VmPhase.FAILED and not vm.retry
        ]

    @property
    def _has_too_many_failures(self) -> bool:
        threshold = self._rules.failure_threshold or DEFAULT_THRESHOLD
        failed = len(self._failed)
        if isinstance(threshold, int):
            return failed >= threshold
        size = sum(vm.wave == self._current for vm in self._moment.vms)
        return failed > 0 and failed * 100 >= int(threshold.rstrip("%")) * size

    @property
    def _stops_starting(self) -> bool:
        is_asked = self._rules.at_threshold is AtThreshold.STOP_STARTING
        return is_asked and self._has_too_many_failures and self._moment.approved_wave <= self._current

    def _stop_message(self) -> str:
        number = self._next if self._next is not None else self._current + 1
        remedy = self._remedies.stop.format(wave=number)
        return f"Too many imports of wave {self._current} failed ({_named(self._failed)}): {remedy}"

    def _progress(self, starting: int) -> str:
        if self.is_over:
            return ""
        counts = Counter(vm.phase for vm in self._moment.vms if vm.wave == self._current)
        running = len(self._in_flight()) + starting
        done = counts[VmPhase.SUCCEEDED]
        if not self._current:
            return _imports(running, "start") if running else ""
        total = sum(counts.values())
        return f"wave {self._current}: {done} of {total} VMs are imported, {_imports(running, 'run')}"


def _is_open(vm: PlannedVm) -> bool:
    """Whether a VM of a wave that has begun keeps the wave from its end."""
    return vm.phase in (VmPhase.PENDING, *IN_FLIGHT) or (vm.retry and vm.phase == VmPhase.FAILED)


def _end_phase(vms: Iterable[PlannedVm]) -> PlanPhase:
    return PlanPhase.SUCCEEDED if all(vm.phase == VmPhase.SUCCEEDED for vm in vms) else PlanPhase.FAILED


def _end_message(vms: Sequence[PlannedVm], remedies: Remedies) -> str:
    by_phase: dict[str, list[PlannedVm]] = {}
    for vm in vms:
        by_phase.setdefault(vm.phase, []).append(vm)
    done = len(by_phase.pop(VmPhase.SUCCEEDED, []))
    if not by_phase:
        return f"All {done} VMs are imported" if done > 1 else "The VM is imported"
    rest = (f"{phase.lower()}: {_named(some)}" for phase, some in sorted(by_phase.items()))
    can_retry = VmPhase.FAILED in by_phase or VmPhase.DELETED in by_phase
    advice = (remedies.retry if can_retry else "", remedies.resume if VmPhase.CANCELLED in by_phase else "")
    return "; ".join((f"{done} of {len(vms)} VMs are imported", *rest, *filter(None, advice)))


def _imports(number: int, verb: str) -> str:
    return f"1 import {verb}s" if number == 1 else f"{number} imports {verb}"


def _named(vms: Sequence[PlannedVm]) -> str:
    more = f" and {len(vms) - MOST_NAMED} more" if len(vms) > MOST_NAMED else ""
    return ", ".join(vm.import_ for vm in vms[:MOST_NAMED]) + more
