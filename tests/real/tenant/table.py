"""The table of attempts: what a tenant tried, and what happened. A test that fails has a row, too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
FOLDER: Final = ROOT / ".cache" / "attempts"
TABLE: Final = "attempts.md"
LONGEST: Final = 200
"""Characters of an observation in the table."""
NOT_SHOWN: Final = "NOT SHOWN"
"""The verdict of a test that failed."""


@dataclass
class Row:
    """One attempt. `seen` is what the test has observed."""

    attempt: str
    what: str
    ground: str
    verdict: str = NOT_SHOWN
    seen: str = ""

    def denied(self, by: str, seen: str) -> None:
        """Somebody refused it; `seen` is the refusal."""
        self._judge(f"denied by {by}", seen)

    def harmless(self, seen: str) -> None:
        """It was possible, and `seen` says what did not happen."""
        self._judge("harmless", seen)

    def _judge(self, verdict: str, seen: str) -> None:
        line = " ".join(seen.split())
        self.verdict = verdict
        self.seen = line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


@contextmanager
def attempt(name: str, what: str, ground: str) -> Iterator[Row]:
    """The row of an attempt. It is saved however the body ends; a body without a verdict fails."""
    row = Row(name, what, ground)
    try:
        yield row
        assert row.verdict != NOT_SHOWN, f"{name} has no verdict"
    except BaseException as error:
        row.verdict, row.seen = NOT_SHOWN, " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST]
        raise
    finally:
        FOLDER.mkdir(parents=True, exist_ok=True)
        file = FOLDER / f"{name}-{ground}.json"
        file.write_text(json.dumps(asdict(row)), encoding="utf-8")


def forget(ground: str) -> None:
    """Delete the rows that an earlier run made on a ground."""
    for file in FOLDER.glob(f"*-{ground}.json"):
        file.unlink()


def rows() -> list[Row]:
    """All saved rows in their order: A1, A2, ... F25."""
    found = [Row(**json.loads(file.read_text(encoding="utf-8"))) for file in FOLDER.glob("*.json")]
    return sorted(found, key=_order)


def written() -> str:
    """The table as text, which is also saved as a file; empty without rows."""
    found = rows()
    if not found:
        return ""
    titles = "| attempt | what the tenant tried | where | what happened | observed |"
    lines = [
        "| " + " | ".join(_cell(text) for text in asdict(row).values() if isinstance(text, str)) + " |"
        for row in found
    ]
    text = "\n".join([titles, "|---|---|---|---|---|", *lines, ""])
    (FOLDER / TABLE).write_text(text, encoding="utf-8")
    return text


def _order(row: Row) -> tuple[str, int, str, str]:
    letter, number, rest = re.match(r"([A-Z]+)(\d*)(.*)", row.attempt).groups()  # type: ignore[union-attr]
    return letter, int(number or 0), rest, row.ground


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
