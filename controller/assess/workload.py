"""How much an import reads, and how long that takes at a rate. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from controller.units import size
from steps.model.machine import Machine

MIB: Final = 1 << 20
_HOUR: Final = 3600.0
FORMULA: Final = "hours = bytes to read / rate / 3600"
AMOUNT: Final = (
    "bytes to read: what the disks use according to the source, and where it does not say that, their sizes; "
    "disks without content count as 0"
)


@dataclass(frozen=True)
class Amount:
    """Bytes that an import reads from the source."""

    total: int
    is_measured: bool
    """Whether the source says how much is in use; else the sizes of the disks count."""


@dataclass(frozen=True)
class Rate:
    """How fast disks arrive, all VMs together."""

    bytes_per_second: float
    origin: str
    """Where the number comes from, as a clause."""

    def hours(self, count: float) -> float:
        return count / self.bytes_per_second / _HOUR

    def __str__(self) -> str:
        return f"{size(self.bytes_per_second)}/s"


ASSUMED: Final = Rate(
    100 * MIB,
    "assumed, most of what a network of 1 Gbit/s carries; import one VM, then measure with --rate-from",
)


def given(mib_per_second: float) -> Rate:
    """The rate that a person names."""
    return Rate(mib_per_second * MIB, "given with --rate")


def amount(machine: Machine) -> Amount:
    """What an import of this VM reads."""
    disks = [disk for disk in machine.disks if not disk.blank]
    capacity = sum(disk.capacity for disk in disks)
    if all(disk.allocated is not None for disk in disks):
        return Amount(sum(min(disk.allocated or 0, disk.capacity) for disk in disks), is_measured=True)
    if machine.storage_used is not None:
        return Amount(min(machine.storage_used, capacity), is_measured=True)
    return Amount(capacity, is_measured=False)


def capacity(machines: Iterable[Machine]) -> int:
    """Bytes of all disks of the VMs."""
    return sum(disk.capacity for machine in machines for disk in machine.disks)


def duration(hours: float) -> str:
    """Hours for a person: `45 s`, `12 min`, `3.4 h`, `5.2 days`."""
    seconds = hours * _HOUR
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
