"""Measures the data path: the figure of every goal, the least of N runs, all programs in turn."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from tests.bench import disks, report
from tests.bench.crowd import crowd
from tests.bench.measure import Failed, wait_for_quiet
from tests.bench.probes import Bench, Costs, Probe
from tests.bench.report import NOTED, Figure
from tests.bench.rows import Row, rows
from tests.bench.sources import sources
from tests.bench.web import served
from tests.real.e2e import harness

CACHE = Path(__file__).parents[2] / ".cache" / "bench"
GROUPS = (
    "limit",
    "gigabit",
    "wall",
    "cpu",
    "scratch",
    "onward",
    "disks",
    "memory",
    "broken",
    "import",
    "inventory",
    "sources",
)
AGAIN = 3
"""How often a figure that is worse than noted is measured again."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--cache", type=Path, default=CACHE, help="keeps the test disks between runs")
    parser.add_argument("--scratch", type=Path, help="where the disks land; default: a folder in the cache")
    parser.add_argument("--mib", type=int, default=1024, help="allocated size of the disk")
    parser.add_argument("--import-mib", type=int, default=4096, help="allocated size of the VM's disks")
    parser.add_argument("--vms", type=int, default=5000, help="VMs of the inventory")
    parser.add_argument("--fill", type=int, default=38, help="percent of the disk that is allocated")
    parser.add_argument("--layout", choices=["first", "last"], default="last", help="position of the tables")
    parser.add_argument("--rows", nargs="+", choices=GROUPS, default=GROUPS, help="only these figures")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--quiet", type=float, default=0, metavar="SECONDS", help="maximum wait for an idle host"
    )
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    parser.add_argument(
        "--note", type=Path, nargs="?", const=NOTED, metavar="JSON", help="put the figures there, too"
    )
    parser.add_argument(
        "--show", type=Path, nargs="?", const=NOTED, metavar="JSON", help="show what was noted as Markdown"
    )
    parser.add_argument(
        "--check", type=Path, nargs="?", const=NOTED, metavar="JSON", help="fail when worse than noted there"
    )
    return parser.parse_args()


def make(folder: Path, *what: object) -> Path:
    """Make a test disk in another process: a child's peak memory is at least its parent's."""
    argv = [sys.executable, "-m", "tests.bench.disks", str(folder), *map(str, what)]
    return Path(subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout)


@contextlib.contextmanager
def bench(given: argparse.Namespace) -> Iterator[Bench]:
    """The disks, the web server and the sources."""
    cache = given.cache.absolute()
    cache.mkdir(parents=True, exist_ok=True)
    disk = make(cache, given.layout, given.mib, given.fill)
    small = make(cache, given.layout, max(1, given.mib // 2), given.fill)
    sparse = {gib: make(cache, "sparse", gib) for gib in (1, 64) if "memory" in given.rows}
    machines = machines_of(cache, given) if "import" in given.rows else {}
    others = disks_of_sources(cache, given) if "sources" in given.rows else None
    folder = Path(tempfile.mkdtemp())
    scratch = Path(tempfile.mkdtemp(dir=given.scratch or cache))
    scratch.chmod(0o755)
    try:
        with (
            served(cache, scratch, folder) as web,
            vcenter(folder, machines) as imports,
            crowd(folder, given.vms) if "inventory" in given.rows else contextlib.nullcontext() as many,
            sources(folder, web, *others) if others else contextlib.nullcontext() as found,
        ):
            yield Bench(web, scratch, disk, small, sparse, imports, given.mib << 20, many, found)
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(scratch)


def machines_of(cache: Path, given: argparse.Namespace) -> dict[int, list[Path]]:
    """The VMDKs of a VM with one large disk, and of one with two disks of half the size."""
    return {
        count: [make(cache, given.layout, given.import_mib // count, given.fill)] * count for count in (1, 2)
    }


def disks_of_sources(cache: Path, given: argparse.Namespace) -> tuple[Path, Path]:
    """The disk of oVirt with data in a few places, and that of KubeVirt, half the usual size."""
    return make(cache, "placed"), make(cache, "volume", max(1, given.mib // 2), given.fill)


@contextlib.contextmanager
def vcenter(folder: Path, machines: dict[int, list[Path]]) -> Iterator[dict[int, tuple[Path, list[Path]]]]:
    """Manifests that import the VMs from a simulated vCenter, in which they are off."""
    if not machines:
        yield {}
        return
    described = [
        harness.machine(f"bench-{count}", *map(described_disk, vmdks)) for count, vmdks in machines.items()
    ]
    with harness.vcenter(folder, *described) as simulator:
        yield {
            count: (harness.manifests(simulator, folder / f"{count}.yaml", f"bench-{count}"), vmdks)
            for count, vmdks in machines.items()
        }


def described_disk(vmdk: Path) -> harness.Json:
    raw = disks.raw_of(vmdk)
    return {"file": str(raw), "vmdk": str(vmdk), "capacity": raw.stat().st_size}


def measure(there: Bench, wanted: Sequence[Row], runs: int, patience: float, costs: Costs) -> None:
    """Run what the rows need, all in turn, `runs` times; `costs` gets the least of each."""
    needed = {name for row in wanted for name in row.needs}
    probes = [probe for probe in there.probes() if needed.intersection(probe.names)]
    for turn in range(runs):
        for probe in probes:
            if turn < probe.most:
                wait_for_quiet(patience)
                say(f"run {turn + 1} of {min(runs, probe.most)}: {', '.join(probe.names)}", sys.stderr)
                for name, cost in once(there, probe).items():
                    costs[name] = cost.least(costs[name]) if name in costs else cost


def once(there: Bench, probe: Probe) -> Costs:
    with tempfile.TemporaryDirectory(dir=there.scratch) as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker reads there
        return probe.run(folder)


def say(line: str, file: TextIO = sys.stdout) -> None:
    print(line, file=file, flush=True)


def check(there: Bench, wanted: list[Row], given: argparse.Namespace, costs: Costs) -> int:
    """Measure again what is worse than noted, up to three times; returns 1 if it stays worse."""
    before = report.load(given.check)
    found = report.figures(wanted, costs, given.runs)
    for turn in range(AGAIN):
        bad = {one.figure for one in report.worse(found, before)}
        if bad:
            say(f"worse than noted, measured again ({turn + 1}): {'; '.join(sorted(bad))}", sys.stderr)
            measure(there, [row for row in wanted if row.figure in bad], given.runs, given.quiet, costs)
            found = report.figures(wanted, costs, given.runs)
    for line in report.table(found):
        say(line)
    noted = {one.figure: one.measured for one in before}
    worse = report.worse(found, before)
    for one in worse:
        say(f"error: {one.figure}: {one.measured} where {noted[one.figure]} was noted")
    return 1 if worse else 0


def write_results(found: list[Figure], costs: Costs, given: argparse.Namespace, vmdk: int) -> None:
    disk = (
        f"{given.mib} MiB in use, {given.fill} % of the disk, VMDK of {vmdk >> 20} MiB, tables {given.layout}"
    )
    document = report.document(found, costs, disk)
    if given.note:
        report.note(given.note, document)
    if given.output == "json":
        say(json.dumps(document, indent=1))
        return
    say(f"{document['machine']}\n{disk}; the least of {given.runs} runs; load {os.getloadavg()[0]:.1f}")
    for line in (*report.table(found), "", *report.details(costs, given.mib << 20)):
        say(line)


def main() -> int:
    given = arguments()
    if given.show:
        for line in report.markdown(sorted(report.load(given.show), key=lambda one: GROUPS.index(one.group))):
            say(line)
        return 0
    costs: Costs = {}
    with bench(given) as there:
        source = there.disk.stat().st_size
        wanted = [row for row in rows(there.allocated, source, given.vms) if row.group in given.rows]
        measure(there, wanted, given.runs, given.quiet, costs)
        if given.check is not None:
            return check(there, wanted, given, costs)
        write_results(report.figures(wanted, costs, given.runs), costs, given, source)
        return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"error: {error}")
