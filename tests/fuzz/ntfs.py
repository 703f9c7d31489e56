"""Fuzzes the boot sector of NTFS and the record with its dirty bit."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

from steps.guest.ntfs import is_bitlocker, is_dirty
from tests.fuzz import mutate
from tests.fuzz.case import Case, Wrong
from tests.fuzz.mutate import Field
from tests.unit.steps.guest.test_ntfs import CLUSTER, MFT, volume

_RECORD: Final = MFT * CLUSTER + 3 * 1024
_FIELDS: Final = (
    *(Field(11, "<H"), Field(13, "<B"), Field(48, "<Q"), Field(64, "<b"), Field(3, "<I"), Field(0, "<I")),
    *(Field(_RECORD, "<I"), Field(_RECORD + 20, "<H")),
    *(
        Field(_RECORD + at, form)
        for at, form in ((56, "<I"), (60, "<I"), (88, "<I"), (92, "<I"), (108, "<H"))
    ),
    *(Field(_RECORD + at, "<I") for at in (128, 122, 118)),
)
LARGEST: Final = 1 << 62
"""Offsets are below it: a larger one is no offset of a file."""


class Ntfs:
    """A volume with mistakes in the fields that lead to the bit."""

    name = "ntfs"
    programs: frozenset[str] = frozenset()

    def make(self, rng: random.Random) -> Case:
        flags = rng.choice((0, 1, 0x8000, 0x8001, rng.getrandbits(16)))
        data = volume(flags)
        changes = rng.choice((0, 1, 1, 2, 4))
        for _ in range(changes):
            mutate.set_fields(rng, data, _FIELDS)
        if changes and rng.random() < 0.3:
            mutate.any_bytes(rng, data)
        return Case(self.name, bytes(data), {"dirty": None if changes else bool(flags & 1)})

    def run(self, case: Case, folder: Path) -> str:
        del folder
        asked: list[tuple[int, int]] = []

        def read(offset: int, count: int) -> bytes:
            asked.append((offset, count))
            return case.data[offset : offset + count]

        found = is_dirty(read)
        is_bitlocker(read)
        if any(not 0 <= offset < LARGEST or not 0 < count <= 4096 for offset, count in asked):
            raise Wrong(f"it reads {asked}")
        if case.options["dirty"] not in (None, found):
            raise Wrong(f"{found} instead of {case.options['dirty']}")
        return {None: "unknown", True: "dirty", False: "clean"}[found]

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        del case, folder, outcome
        return ""
