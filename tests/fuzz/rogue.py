"""A parser that does everything that a parser must not do, to prove that it is detected."""

from __future__ import annotations

import os
import random
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from steps.model.contract import Exit, StepError
from tests.fuzz.case import Case, Wrong


def _run(argv: list[str]) -> None:
    subprocess.run(argv, check=False, capture_output=True)


class WordyError(StepError):
    """An error with a message of any length."""

    def __str__(self) -> str:
        return "word " * 2000


def _refuses_at_length() -> None:
    raise WordyError(Exit.CORRUPT, "word")


ACTS: Final[dict[str, Callable[[], object]]] = {
    "crash": lambda: dict[str, str]()["key"],
    "reads": lambda: Path("/etc/hostname").read_text(),
    "writes": lambda: Path("../escaped").write_text("x"),
    "renames": lambda: Path("here").rename("../escaped"),
    "runs": lambda: _run(["true"]),
    "canary": lambda: _run(["cat", "../canary/secret"]),
    "connects": lambda: socket.create_connection(("127.0.0.1", 9), 1),
    "memory": lambda: bytearray(1 << 30),
    "at length": _refuses_at_length,
    "wrong": lambda: None,
    "refuses": lambda: None,
    "dies": os.abort,
}


class Rogue:
    """Does what the case names, in its folder."""

    name = "rogue"
    programs = frozenset({"cat"})

    def make(self, rng: random.Random) -> Case:
        return Case(f"{__name__}:Rogue", b"", {"act": rng.choice([*ACTS][:-1])})

    def run(self, case: Case, folder: Path) -> str:
        act = case.options["act"]
        if act == "refuses":
            raise StepError(Exit.CORRUPT, "no good", "it is bad")
        ACTS[act]()
        return "accepted"

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        if case.options["act"] == "wrong":
            raise Wrong("it is another disk")
        return ""
