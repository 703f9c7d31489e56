"""One input of a parser, as saved in a file, and the interface of every fuzzed parser."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self


@dataclass(frozen=True)
class Case:
    """`data` are the foreign bytes; `options`, plain JSON, are how they are passed to the parser."""

    parser: str
    data: bytes
    options: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write a line of JSON, then the bytes unchanged."""
        head = json.dumps({"parser": self.parser, "options": self.options})
        path.write_bytes(head.encode() + b"\n" + self.data)

    @classmethod
    def load(cls, path: Path) -> Self:
        head, _, data = path.read_bytes().partition(b"\n")
        return cls(data=data, **json.loads(head))


class Wrong(AssertionError):  # noqa: N818 - says what the answer is
    """A parser accepted a result that differs from its input."""


class Parser(Protocol):
    """A parser of foreign bytes, with the mutators that know its structure."""

    name: str
    programs: frozenset[str]
    """Programs that it may run."""

    def make(self, rng: random.Random) -> Case:
        """A valid input, mutated or not."""

    def run(self, case: Case, folder: Path) -> str:
        """Pass the case to the parser, which may touch only `folder`; returns a word for the outcome.

        Raises:
            StepError: it was refused, which is also correct.
        """

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        """Compare the accepted result with a second opinion; returns a word for that, or "" without one.

        Raises:
            Wrong: the two contradict each other.
        """
