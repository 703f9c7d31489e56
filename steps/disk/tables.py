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

from steps.disk.faults import broken_stream_fault

_ZERO_GRAIN: Final = 1
"""An entry of 1 means: all zero, and not in the file (QEMU, block/vmdk.c, VMDK_GTE_ZEROED)."""


@dataclass
class GrainSums:
    """The sums over pairs (grain, sector)."""

    count: int = 0
    sectors: int = 0
    weighted: int = 0

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Self:
        return cls(**{name: int(value) for name, value in saved.items()})

    def add(self, grain: int, sector: int) -> None:
        self.count += 1
        self.sectors += sector
        self.weighted += grain * sector

    def add_table(self, first: int, table: GrainSums) -> None:
        """Add a table's sums, made with grains counted from 0; `first` is the number of its first grain."""
        self.count += table.count
        self.sectors += table.sectors
        self.weighted += first * table.sectors + table.weighted


def table_sums(raw: bytes | memoryview) -> GrainSums:
    """The sums of a grain table's entries."""
    entries: Sequence[int] = struct.unpack(f"<{len(raw) // 4}I", raw)
    if _ZERO_GRAIN in entries:
        entries = [0 if entry == _ZERO_GRAIN else entry for entry in entries]
    weighted = sum(map(operator.mul, entries, range(len(entries))))
    return GrainSums(len(entries) - entries.count(0), sum(entries), weighted)


class GrainTableCheck:
    """Grains seen against grains declared.

    A table does not name its grains: it is kept by its sector until the directory assigns them.
    """

    def __init__(self, entries: int, saved: dict[str, Any] | None = None) -> None:
        self._entries = entries
        self.seen = GrainSums.from_json(saved["seen"]) if saved else GrainSums()
        self._declared = GrainSums.from_json(saved["declared"]) if saved else GrainSums()
        self._unassigned = (
            {int(sector): GrainSums(*map(int, sums)) for sector, *sums in saved["waiting"]} if saved else {}
        )

    def checkpoint_state(self) -> dict[str, Any]:
        """Plain JSON for `__init__`."""
        unassigned = [(sector, *astuple(sums)) for sector, sums in self._unassigned.items()]
        return {"seen": asdict(self.seen), "declared": asdict(self._declared), "waiting": unassigned}

    def record_table(self, sector: int, raw: bytes | memoryview) -> None:
        """Record a grain table that begins at `sector`."""
        sums = table_sums(raw)
        if sums.count:
            self._unassigned[sector] = sums

    def record_directory(self, sectors: Sequence[int]) -> None:
        """Record the grain directory: the sectors of all tables, 0 for an empty one."""
        for index, sector in enumerate(sectors):
            table = self._unassigned.pop(sector, None)
            if table is not None:
                self._declared.add_table(index * self._entries, table)

    def verify(self) -> None:
        """Compare both sides at the end of the stream.

        Raises:
            StepError: BROKEN_STREAM, if grains are missing.
            TablesMismatchError: if they differ.
        """
        missing = self._declared.count - self.seen.count
        if missing > 0:
            raise broken_stream_fault(
                "the stream ended early", f"{missing} of {self._declared.count} grains are missing"
            )
        if self.seen != self._declared or self._unassigned:
            raise TablesMismatchError


class TablesMismatchError(Exception):
    """Tables and grains contradict each other: no landed data can be trusted."""
