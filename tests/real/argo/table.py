"""Results of the retry matrix: each test records its cell, and one table is written at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Final

from tests.real.argo.ground import KEPT, keep

FOLDER: Final = KEPT / "matrix"
TABLE: Final = "matrix.md"


@dataclass
class Row:
    """The result of one cell; `times` are seconds, by what took them."""

    cell: str
    passed: bool = False
    times: dict[str, int] = field(default_factory=dict)
    began: float = field(default_factory=time.time)
    ended: float = 0.0

    def mark(self, what: str) -> None:
        """Record that this point is reached; the seconds count from the point before."""
        self.times[what] = round(time.time() - self.began) - sum(self.times.values())


@contextmanager
def note(row: Row) -> Iterator[None]:
    """Save the row for `written`, however the body ends."""
    try:
        yield
    finally:
        row.ended = time.time()
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / f"{row.cell}.json").write_text(json.dumps(asdict(row)), encoding="utf-8")


def forget() -> None:
    """Delete the rows of an earlier run."""
    for file in FOLDER.glob("*.json"):
        file.unlink()


def written() -> str:
    """Return the table of all saved rows and save it as a file. Without rows it is empty."""
    rows = [Row(**json.loads(file.read_text(encoding="utf-8"))) for file in sorted(FOLDER.glob("*.json"))]
    if not rows:
        return ""
    minutes = (max(row.ended for row in rows) - min(row.began for row in rows)) / 60
    passed = sum(row.passed for row in rows)
    head = f"{len(rows)} cells, {passed} passed, {minutes:.0f} minutes from the first to the last"
    columns = ("failed", "failed again", "done")
    lines = [
        f"| {row.cell} | {'passed' if row.passed else 'FAILED'} | "
        + " | ".join(str(row.times.get(what, "")) for what in columns)
        + " |"
        for row in rows
    ]
    titles = "| cell | result | s to the failure | s to the second failure | s from retry to the end |"
    text = "\n".join([head, "", titles, "|---|---|---|---|---|", *lines, ""])
    keep(TABLE, text)
    return text
