"""Proof that a VMDK's grain tables match the grains that arrived, in constant memory.

A table entry means: grain g begins at sector s. Instead of storing all pairs, three sums over them
are kept on both sides: of 1, of s and of g·s. A pair that is missing, doubled, moved or exchanged with
another makes at least one of them differ.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any, Final, Self

from steps.disk.faults import broken

_ZERO_GRAIN: Final = 1
"""An entry of 1 means: all zero, and not in the file (QEMU, block/vmdk.c, VMDK_GTE_ZEROED)."""


@dataclass
class Sums:
    """The sums over pairs (grain, sector)."""

    count: int = 0
    sectors: int = 0
    weighted: int = 0

    @classmethod
    def of(cls, memory: dict[str, Any]) -> Self:
        return cls(**{name: int(value) for name, value in memory.items()})

    def add(self, grain: int, sector: int) -> None:
        self.count += 1
        self.sectors += sector
        self.weighted += grain * sector

    def add_table(self, first: int, table: Sums) -> None:
        """Add a table's sums, made with grains counted from 0; `first` is the number of its first grain."""
        self.count += table.count
        self.sectors += table.sectors
        self.weighted += first * table.sectors + table.weighted


def sums_of(raw: bytes | memoryview) -> Sums:
    """The sums of a grain table's entries."""
    entries: Sequence[int] = struct.unpack(f"<{len(raw) // 4}I", raw)
    if _ZERO_GRAIN in entries:
        entries = [0 if entry == _ZERO_GRAIN else entry for entry in entries]
    weighted = sum(map(operator.mul, entries, range(len(entries))))
    return Sums(len(entries) - entries.count(0), sum(entries), weighted)


class Tables:
    """Grains seen against grains declared.

    A table does not name its grains: it is kept by its sector until the directory assigns them.
    """

    def __init__(self, entries: int, memory: dict[str, Any] | None = None) -> None:
        self._entries = entries
        self.seen = Sums.of(memory["seen"]) if memory else Sums()
        self._declared = Sums.of(memory["declared"]) if memory else Sums()
        self._waiting = {int(at): Sums(*map(int, sums)) for at, *sums in memory["waiting"]} if memory else {}

    def memory(self) -> dict[str, Any]:
        """Plain JSON for `__init__`."""
        waiting = [(at, *astuple(sums)) for at, sums in self._waiting.items()]
        return {"seen": asdict(self.seen), "declared": asdict(self._declared), "waiting": waiting}

    def table(self, sector: int, raw: bytes | memoryview) -> None:
        """Record a grain table that begins at `sector`."""
        sums = sums_of(raw)
        if sums.count:
            self._waiting[sector] = sums

    def directory(self, places: Sequence[int]) -> None:
        """Record the grain directory: the sectors of all tables, 0 for an empty one."""
        for index, sector in enumerate(places):
            table = self._waiting.pop(sector, None)
            if table is not None:
                self._declared.add_table(index * self._entries, table)

    def settle(self) -> None:
        """Compare both sides at the end of the stream.

        Raises:
            StepError: BROKEN_STREAM, if grains are missing.
            Disagree: if they differ.
        """
        missing = self._declared.count - self.seen.count
        if missing > 0:
            raise broken("the stream ended early", f"{missing} of {self._declared.count} grains are missing")
        if self.seen != self._declared or self._waiting:
            raise Disagree


class Disagree(Exception):  # noqa: N818 - says what the two sides do
    """Tables and grains contradict each other: no landed data can be trusted."""
