"""One input of a parser, as it is kept in a file, and what every parser under fuzz has to offer."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self


@dataclass(frozen=True)
class Case:
    """`data` are the foreign bytes; `options`, plain JSON, say how they are given to the parser."""

    parser: str
    data: bytes
    options: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write a line of JSON, then the bytes as they are."""
        head = json.dumps({"parser": self.parser, "options": self.options})
        path.write_bytes(head.encode() + b"\n" + self.data)

    @classmethod
    def load(cls, path: Path) -> Self:
        head, _, data = path.read_bytes().partition(b"\n")
        return cls(data=data, **json.loads(head))


class Wrong(AssertionError):  # noqa: N818 - says what the answer is
    """What a parser accepted is not what its input says."""


class Parser(Protocol):
    """A parser of foreign bytes, with the mutators that know its structure."""

    name: str
    programs: frozenset[str]
    """What it may run."""

    def make(self, rng: random.Random) -> Case:
        """A valid input, mutated or not."""

    def run(self, case: Case, folder: Path) -> str:
        """Give the case to the parser, which may touch only `folder`; a word for the outcome.

        Raises:
            StepError: it was refused, which is as good.
        """

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        """Hold what was accepted against a second opinion; a word for what that said, "" for none.

        Raises:
            Wrong: the two contradict each other.
        """
