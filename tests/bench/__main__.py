"""Measure the data path: each row the least of N runs, runs of all rows in turn."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import Cost, cost_of
from tests.bench.web import served
from tests.e2e import harness

COMMON = "download, qemu-img to raw"
CACHE = Path(__file__).parents[2] / ".cache" / "bench"
EXPORT = """\
import runpy, sys
if sys.argv.pop(1) == "zlib":
    sys.modules["isal"] = None
sys.path.insert(0, sys.argv.pop(1))
sys.argv[0] = "export"
runpy.run_module("steps.export", run_name="__main__")
"""
INFLATE = """\
import sys, zlib
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from steps.disk.codec import inflate
from steps.disk.vmdk import RECORD
data = memoryview(Path(sys.argv[2]).read_bytes())
at = 65536
while at < len(data):
    number, size = RECORD.unpack_from(data, at)
    if size:
        inflate(data[at + 12 : at + 12 + size], 65536)
        at += 12 + size + -(12 + size) % 512
    else:
        at += 512 * (1 + number)
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--cache", type=Path, default=CACHE, help="keeps the test disks between runs")
    parser.add_argument("--scratch", type=Path, help="where the disks land; default: a folder in the cache")
    parser.add_argument("--mib", type=int, default=1024, help="allocated size of the disk")
    parser.add_argument("--layout", choices=["first", "last"], default="last", help="where the tables stand")
    parser.add_argument("--rate", type=int, default=0, help="bytes per second of the source; 0: no limit")
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args()


def programs(url: str, ca: Path, disk: Path, manifests: Path) -> Iterator[tuple[str, list[str]]]:
    """Every row's name and argv. Whoever writes a disk brings it to the device, so that all do the same.

    The last row is everything: `vmferry run` from a simulated vCenter, from login to checksums and manifest.
    """
    curl = ["curl", "-sf", "--cacert", str(ca), "-o"]
    yield "curl to nowhere", [*curl, "/dev/null", url]
    common = f"{shlex.join([*curl, 'd.vmdk', url])} && qemu-img convert -f vmdk -O raw d.vmdk d.raw"
    yield COMMON, ["sh", "-c", f"{common} && sync -d d.raw"]
    repository = str(Path(__file__).parents[2])
    if "last" in disk.name:
        yield "inflate, one core", [sys.executable, "-c", INFLATE, repository, str(disk)]
    for wanted in ("qcow2", "raw"):
        for codec in ("isal", "zlib"):
            argv = [sys.executable, "-c", EXPORT, codec, repository, "--url", url, "--ca", str(ca)]
            yield f"one pass, {wanted}, {codec}", [*argv, "--format", wanted, "--out", "d.out"]
    whole = [sys.executable, "-m", "controller.cli", "run", "-f", str(manifests), "--into", "imported"]
    yield "whole import, qcow2", whole


@contextlib.contextmanager
def vcenter(disk: Path, folder: Path) -> Iterator[Path]:
    """Manifests that import `disk` from a simulated vCenter, in which it is a machine that is off."""
    raw = disk.with_name(disk.name.rsplit("-", 1)[0] + ".raw")
    described = {"file": str(raw), "vmdk": str(disk), "capacity": raw.stat().st_size}
    with harness.vcenter(folder, harness.machine("bench", described)) as simulator:
        yield harness.manifests(simulator, folder / "manifests.yaml", "bench")


def run(argv: list[str], scratch: Path) -> tuple[Cost, int]:
    """One measurement, and the bytes of disk that what it left takes."""
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        cost = cost_of(argv, Path(name))
        return cost, sum(path.stat().st_blocks * 512 for path in Path(name).rglob("*"))


def make(folder: Path, mib: int, layout: str) -> Path:
    """The test disk, made in another process: a child's peak memory is at least its parent's."""
    argv = [sys.executable, "-m", "tests.bench.disks", str(folder), str(mib), layout]
    return Path(subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> None:
    given = arguments()
    given.cache.mkdir(parents=True, exist_ok=True)
    disk = make(given.cache.absolute(), given.mib, given.layout)
    scratch = given.scratch or given.cache
    say(f"{given.mib} MiB allocated, VMDK of {disk.stat().st_size >> 20} MiB, tables {given.layout}")
    best: dict[str, tuple[Cost, int]] = {}
    folder = Path(tempfile.mkdtemp())
    try:
        with served(given.cache.absolute(), folder, given.rate) as url, vcenter(disk, folder) as manifests:
            for _ in range(given.runs):
                for name, argv in programs(f"{url}/{disk.name}", folder / "cert.pem", disk, manifests):
                    cost, left = run(argv, scratch)
                    best[name] = (cost.least(best[name][0]) if name in best else cost, left)
    finally:
        shutil.rmtree(folder)
    table(best, given.mib << 20)


def table(best: dict[str, tuple[Cost, int]], allocated: int) -> None:
    common, limit = best[COMMON][0], best["curl to nowhere"][0]
    heading = "wall s  /common    /curl  CPU s  /common  peak MiB  written/alloc  left/alloc"
    say(f"{'least of all runs':28} {heading}")
    for name, (cost, left) in best.items():
        wall, cpu = cost.wall / common.wall, cost.cpu / common.cpu
        times = f"{cost.wall:6.2f} {wall:8.2f} {cost.wall / limit.wall:8.2f} {cost.cpu:6.2f} {cpu:8.2f}"
        space = f"{cost.written / allocated:14.2f} {left / allocated:11.2f}"
        say(f"{name:28} {times} {cost.memory >> 10:9} {space}")


if __name__ == "__main__":
    main()
