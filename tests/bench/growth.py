"""Measures how the cost grows with a disk's size, its fill and the number of disks: three small tables."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench import programs
from tests.bench.__main__ import CACHE, make
from tests.bench.measure import Cost, cost_of, wait_for_quiet
from tests.bench.web import Web, served

SIZES = (64, 256, 1024, 2048)
FILLS = (100, 70, 38, 15)
NUMBERS = (1, 2, 4, 8)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__)
    parser.add_argument("--cache", type=Path, default=CACHE, help="keeps the test disks between runs")
    parser.add_argument("--mib", type=int, default=256, help="allocated size while another quantity grows")
    parser.add_argument("--fill", type=int, default=38, help="percent that is allocated, likewise")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quiet", type=float, default=0, metavar="SECONDS")
    return parser.parse_args()


@contextmanager
def web(cache: Path) -> Iterator[Web]:
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, served(cache, cache, Path(folder)) as found:
        yield found


def least(programs_: Sequence[programs.Argv], given: argparse.Namespace) -> list[Cost]:
    """The least cost of each, run in turn."""
    found: list[Cost] = []
    for turn in range(given.runs):
        for number, argv in enumerate(programs_):
            wait_for_quiet(given.quiet)
            with tempfile.TemporaryDirectory(dir=given.cache) as folder:
                cost = cost_of(argv, Path(folder))
            if turn:
                found[number] = cost.least(found[number])
            else:
                found.append(cost)
    return found


def line(label: str, mib: int, ours: Cost, common: Cost) -> str:
    each = f"{ours.wall:.2f} | {ours.wall / mib * 1024:.2f} | {ours.cpu:.2f} | {ours.memory >> 10}"
    ratios = f"{ours.wall / common.wall:.2f} | {ours.cpu / common.cpu:.2f}"
    return f"| {label} | {each} | {ratios} |"


def heading(label: str) -> Iterator[str]:
    yield f"| {label} | wall s | s per GiB in use | CPU s | peak MiB | wall / common | CPU / common |"
    yield "|---|---|---|---|---|---|---|"


def single(
    given: argparse.Namespace, there: Web, labels: Sequence[str], made: Sequence[tuple[int, int]]
) -> None:
    """One disk of each pair of MiB in use and percent of fill."""
    urls = [f"{there.tls}/{make(given.cache, 'last', *pair).name}" for pair in made]
    ours = [programs.export(url, "qcow2", there.ca) for url in urls]
    costs = least([*ours, *(programs.common([url], there.ca) for url in urls)], given)
    for number, (label, (mib, _)) in enumerate(zip(labels, made, strict=True)):
        say(line(label, mib, costs[number], costs[number + len(made)]))


def several(given: argparse.Namespace, there: Web, place: str) -> None:
    """This many disks at once, from `place`."""
    url = f"{there.tls}{place}/{make(given.cache, 'last', given.mib, given.fill).name}"
    ours = [
        programs.together([programs.export(url, "qcow2", there.ca, f"d{one}.out") for one in range(count)])
        for count in NUMBERS
    ]
    costs = least([*ours, *(programs.common([url] * count, there.ca) for count in NUMBERS)], given)
    for number, count in enumerate(NUMBERS):
        say(line(str(count), given.mib * count, costs[number], costs[number + len(NUMBERS)]))


def table(title: str, rows: Callable[[], None]) -> None:
    for one in heading(title):
        say(one)
    rows()
    say("")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    given = arguments()
    given.cache = given.cache.absolute()
    with web(given.cache) as there:
        sizes, fills = [(mib, given.fill) for mib in SIZES], [(given.mib, fill) for fill in FILLS]
        table("MiB in use", lambda: single(given, there, [str(mib) for mib in SIZES], sizes))
        table("% of the disk in use", lambda: single(given, there, [str(fill) for fill in FILLS], fills))
        table("disks, full speed", lambda: several(given, there, ""))
        table("disks, each stream throttled", lambda: several(given, there, "/stream"))


if __name__ == "__main__":
    main()
