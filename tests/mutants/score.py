"""The score of each package, and the mutants that no test noticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

UNCHECKED = ("not checked", "check was interrupted by user")
NOTICED = ("killed", "timeout", "segfault")
_COLUMNS = ("killed", "timeout", "survived", "no tests")


@dataclass(frozen=True)
class Mutant:
    """One change of the code.

    Attributes:
        module: path of the file.
        name: mutmut's name for it.
        verdict: killed, survived, timeout, no tests, or another word of mutmut.
    """

    module: str
    name: str
    verdict: str

    @property
    def package(self) -> str:
        return self.module.rpartition("/")[0]


def checked(mutants: Iterable[Mutant]) -> list[Mutant]:
    return [mutant for mutant in mutants if mutant.verdict not in UNCHECKED]


def unnoticed(mutants: Iterable[Mutant]) -> list[Mutant]:
    """Those that a test calls, but no test fails."""
    return [mutant for mutant in checked(mutants) if mutant.verdict not in (*NOTICED, "no tests")]


def _row(name: str, counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    noticed = sum(counts.get(verdict, 0) for verdict in NOTICED)
    figures = "".join(f"{counts.get(column, 0):10d}" for column in _COLUMNS)
    return f"{name:34}{total:10d}{figures}{100 * noticed / total:9.1f} %"


def table(mutants: Iterable[Mutant]) -> str:
    """One line for each package, and one for all if there are several.

    The score is the part of the mutants that a test notices, also by a timeout.
    """
    tried = checked(mutants)
    packages: dict[str, Counter[str]] = {}
    for mutant in sorted(tried, key=lambda mutant: mutant.package):
        packages.setdefault(mutant.package, Counter())[mutant.verdict] += 1
    heading = (
        f"{'package':34}" + "".join(f"{column:>10}" for column in ("mutants", *_COLUMNS)) + f"{'score':>11}"
    )
    rows = [_row(name, counts) for name, counts in packages.items()]
    if len(rows) > 1:
        rows.append(_row("all", Counter(mutant.verdict for mutant in tried)))
    return "\n".join([heading, *rows])
