"""Sums of the VMs of an assessment. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from controller.assess import workload
from controller.assess.readiness import Assessed, Readiness
from controller.assess.workload import Rate
from controller.units import size
from steps.model.machine import Concern


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Sums; sizes in bytes."""

    vms: int
    by_readiness: dict[Readiness, int]
    vcpus: int
    memory: int
    disks: int
    capacity: int
    to_read: int
    estimated: int
    """VMs whose bytes in use the source does not say: their part of `to_read` is the size of their disks."""

    def line(self) -> str:
        """The sums in one line."""
        states = ", ".join(f"{count} {state}" for state, count in self.by_readiness.items() if count)
        return (
            f"{counted(self.vms, 'VM')}{f' ({states})' if states else ''}, {counted(self.vcpus, 'vCPU')}, "
            f"{size(self.memory)} memory, {counted(self.disks, 'disk')} of {size(self.capacity)}, "
            f"{size(self.to_read)} to read"
        )


def counted(number: int, what: str) -> str:
    """`1 VM`, `2 VMs`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def totals(found: Sequence[Assessed]) -> Totals:
    """The sums of these VMs."""
    machines = [one.machine for one in found]
    states = Counter(one.readiness for one in found)
    amounts = [workload.amount(machine) for machine in machines]
    return Totals(
        vms=len(found),
        by_readiness={state: states[state] for state in Readiness},
        vcpus=sum(machine.vcpus for machine in machines),
        memory=sum(machine.memory_mib for machine in machines) << 20,
        disks=sum(len(machine.disks) for machine in machines),
        capacity=workload.capacity(machines),
        to_read=sum(amount.total for amount in amounts),
        estimated=sum(not amount.is_measured for amount in amounts),
    )


@dataclass(frozen=True)
class Finding:
    """A concern and how many VMs have it. Its text is that of the first of them."""

    code: str
    vms: int
    example: str
    remedy: str


def findings(found: Iterable[Assessed], which: Callable[[Assessed], Iterable[Concern]]) -> list[Finding]:
    """The concerns by code, the most frequent first."""
    counts: Counter[str] = Counter()
    first: dict[str, Concern] = {}
    for one in found:
        concerns = {concern.code: concern for concern in reversed(tuple(which(one)))}
        counts.update(concerns.keys())
        for code, concern in concerns.items():
            first.setdefault(code, concern)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Finding(code, count, first[code].message, first[code].remedy) for code, count in ordered]


def document(found: Sequence[Assessed], rate: Rate) -> dict[str, Any]:
    """The assessment for a program: the sums, and a row for each VM."""
    sums = totals(found)
    return {
        "totals": {
            "vms": sums.vms,
            "readiness": {str(state): count for state, count in sums.by_readiness.items()},
            "vcpus": sums.vcpus,
            "memoryBytes": sums.memory,
            "disks": sums.disks,
            "capacityBytes": sums.capacity,
            "readBytes": sums.to_read,
            "readBytesFromSizes": sums.estimated,
            "hours": round(rate.hours(sums.to_read), 3),
        },
        "rate": {
            "bytesPerSecond": round(rate.bytes_per_second),
            "origin": rate.origin,
            "formula": workload.FORMULA,
        },
        "assessments": [_row(one, rate) for one in found],
    }


def _row(one: Assessed, rate: Rate) -> dict[str, Any]:
    amount = workload.amount(one.machine)
    return {
        "sourceId": one.machine.source_id,
        "path": one.machine.path or one.machine.name,
        "readiness": str(one.readiness),
        "blockers": [_concern(concern) for concern in one.blockers],
        "warnings": [_concern(concern) for concern in one.warnings],
        "readBytes": amount.total,
        "readBytesMeasured": amount.is_measured,
        "hours": round(rate.hours(amount.total), 3),
    }


def _concern(concern: Concern) -> dict[str, str]:
    return {"code": concern.code, "message": concern.message, "remedy": concern.remedy}
