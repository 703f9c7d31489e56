"""Which VMs of an inventory, and in which order. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controller.assess import workload
from controller.assess.readiness import Assessed, Readiness
from steps.model.machine import Power
from steps.model.patterns import fits_vm, has_tags, in_folder


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a VM must be like. An empty collection means any."""

    names: tuple[str, ...] = ()
    """Patterns: one of them fits its name, its path or its id."""
    folders: tuple[str, ...] = ()
    """Patterns: one of them fits its folder or one above it."""
    tags: tuple[str, ...] = ()
    """Patterns: each fits one of its tags, as NAME or CATEGORY:NAME."""
    powers: tuple[Power, ...] = ()
    readiness: tuple[Readiness, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.names or self.folders or self.tags or self.powers or self.readiness)

    def __str__(self) -> str:
        """The selection as the options of the command line, for a report."""
        parts = (
            *(f"--name {name}" for name in self.names),
            *(f"--folder {folder}" for folder in self.folders),
            *(f"--tag {tag}" for tag in self.tags),
            *(f"--power {power}" for power in self.powers),
            *(f"--readiness {readiness}" for readiness in self.readiness),
        )
        return " ".join(parts)


def select(found: Iterable[Assessed], wanted: Selection) -> tuple[Assessed, ...]:
    """The VMs that the selection fits, in the order given."""
    tests = list(_tests(wanted))
    return tuple(one for one in found if all(test(one) for test in tests))


def _tests(wanted: Selection) -> Iterable[Callable[[Assessed], bool]]:
    if wanted.names:
        fits_name = fits_vm(wanted.names)
        yield lambda one: fits_name(one.machine)
    if wanted.folders:
        fits_folder = in_folder(wanted.folders)
        yield lambda one: fits_folder(one.machine)
    if wanted.tags:
        fits_tags = has_tags(wanted.tags)
        yield lambda one: fits_tags(one.machine)
    if wanted.powers:
        yield lambda one: one.machine.power in wanted.powers
    if wanted.readiness:
        yield lambda one: one.readiness in wanted.readiness


class Sort(enum.StrEnum):
    """The property by which VMs are sorted."""

    PATH = "path"
    NAME = "name"
    POWER = "power"
    VCPUS = "vcpus"
    MEMORY = "memory"
    DISKS = "disks"
    """The size of the disks in all."""
    READ = "read"
    """The bytes that an import reads."""
    READINESS = "readiness"
    OS = "os"


_ORDER: Final = list(Readiness)
_KEYS: Final[dict[Sort, Callable[[Assessed], Any]]] = {
    Sort.PATH: lambda one: one.machine.path or one.machine.name,
    Sort.NAME: lambda one: one.machine.name,
    Sort.POWER: lambda one: one.machine.power,
    Sort.VCPUS: lambda one: one.machine.vcpus,
    Sort.MEMORY: lambda one: one.machine.memory_mib,
    Sort.DISKS: lambda one: workload.capacity([one.machine]),
    Sort.READ: lambda one: workload.amount(one.machine).total,
    Sort.READINESS: lambda one: _ORDER.index(one.readiness),
    Sort.OS: lambda one: one.machine.os,
}


def in_order(found: Sequence[Assessed], by: Sort | None, *, descending: bool) -> tuple[Assessed, ...]:
    """The VMs sorted; those that are equal stay in the order of the source."""
    if by is None:
        return tuple(reversed(found)) if descending else tuple(found)
    return tuple(sorted(found, key=_KEYS[by], reverse=descending))
