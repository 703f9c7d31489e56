"""Measures the downtime of imports in the lab with the real Argo and KubeVirt: `make bench-downtime`.

Each import takes a VM with one disk from a simulated vCenter, over a network of `--rate`. The figures are
seconds, and bytes relative to the used bytes of the disk:

* network: what the host has sent to the lab's node;
* written: what the storage below the lab has written, with the noise of everything else on the machine.

The limit is what one pass over the disk takes at least: over that network, or into that storage.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TextIO

from steps.model.kinds import WORKFLOW
from tests.bench.downtime.timeline import Downtime, downtime
from tests.bench.measure import Failed
from tests.real import scenario
from tests.real.argo.ground import HOST, OPTIONS, RELEASE, Ground, has_argo, installed, prepared
from tests.real.argo.place import RUNNING, Imported
from tests.real.cluster.lab import ROOT, SCRIPTS, Lab
from tests.real.guest import datadisk
from tests.real.simulator import Simulator
from tests.real.virt.storage import csi_class

WAYS: Final = ("pull", "land")
TARGETS: Final = ("kubevirt", "harvester")
MIB: Final = 1 << 20
IMPORT_SECONDS: Final = 3600.0
UP_SECONDS: Final = 2400.0
DEVICE: Final = f"{os.environ.get('LAB_NAME', 'lab')}-host"
"""The host's network device to the lab's node (tests/real/lab/settings.sh)."""
PROBE_MIB: Final = 1024
_SECTOR: Final = 512
_WRITTEN: Final = 6
"""The field of /sys/dev/block/…/stat with the sectors written (Documentation/block/stat.rst)."""


@dataclass(frozen=True)
class Measured:
    """One import. Times in seconds."""

    target: str
    way: str
    used_mib: int
    downtime: Downtime
    network: float
    """Bytes sent to the node, relative to the used bytes."""
    written: float
    """Bytes written below the lab, relative to the used bytes."""
    limit: float


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.downtime", description=__doc__)
    parser.add_argument("--target", choices=TARGETS, default="kubevirt")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--mib", nargs="+", type=int, default=[4, 2048], help="used MiB of the disks")
    parser.add_argument("--rate", type=int, default=1000, help="of the network in Mbit/s; 0 for no limit")
    parser.add_argument("--runs", type=int, default=1, help="the run with the shortest downtime counts")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    return parser.parse_args()


@contextlib.contextmanager
def lab_of(target: str) -> Iterator[tuple[Ground, str]]:
    """The running lab with the chart, and the storage class of the disks; empty for the default class."""
    if target == "harvester":
        with prepared(*OPTIONS) as ground:
            yield ground, ""
        return
    found = Lab.start("--kubevirt", seconds=UP_SECONDS)
    subprocess.run([ROOT / "tests" / "real" / "cluster" / "images"], check=True, stdout=sys.stderr)
    with csi_class(found) as name:
        yield installed(found.place), name


@contextlib.contextmanager
def limited_network(mbit: int) -> Iterator[None]:
    """Limit what the host sends to the node: the bytes of the source."""
    if not mbit:
        yield
        return
    rule = ("root", "tbf", "rate", f"{mbit}mbit", "burst", "256kb", "latency", "50ms")
    tc = shutil.which("tc") or "/usr/sbin/tc"
    subprocess.run([tc, "qdisc", "replace", "dev", DEVICE, *rule], check=True)
    try:
        yield
    finally:
        subprocess.run([tc, "qdisc", "del", "dev", DEVICE, "root"], check=False)


class Counters:
    """Bytes sent to the node, and bytes written to the storage that holds `folder`."""

    def __init__(self, folder: Path) -> None:
        number = folder.stat().st_dev
        self._block = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat")
        self._network = Path(f"/sys/class/net/{DEVICE}/statistics/tx_bytes")

    def read(self) -> tuple[int, int]:
        os.sync()
        return int(self._network.read_text()), int(self._block.read_text().split()[_WRITTEN]) * _SECTOR


def write_rate(folder: Path) -> float:
    """Bytes per second of one program that writes past the page cache."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        began = time.monotonic()
        argv = ["dd", "if=/dev/zero", f"of={file.name}", "bs=2M", f"count={PROBE_MIB // 2}", "oflag=direct"]
        subprocess.run([*argv, "conv=fsync"], check=True, capture_output=True)
        return PROBE_MIB * MIB / (time.monotonic() - began)


def spec_of(given: argparse.Namespace, way: str, storage_class: str) -> dict[str, Any]:
    """The fields of the import that choose the way of its disk."""
    if given.target == "harvester" and way == "land":
        return {"diskMapping": [{"sourceDisk": "disk-0", "as": "volume"}]}
    return {"storageClass": storage_class} if storage_class else {}


def measure(ground: Ground, given: argparse.Namespace, way: str, mib: int, storage_class: str) -> Measured:
    """Import one VM. Raises Failed."""
    values = (
        {"kubevirt": {"disks": way}} if given.target == "kubevirt" else {"harvester": {"allowVolumes": True}}
    )
    ground.install(**values)
    name = f"bench-{way}-{mib}-{os.urandom(2).hex()}"
    ground.kubectl("create", "namespace", name)
    with tempfile.TemporaryDirectory(dir=ROOT / ".cache") as folder:
        here = Path(folder)
        data = datadisk.make(
            here / "data.img", size=max(256, mib + mib // 4) * MIB, payload_mib=mib, stay=True
        )
        described = scenario.inventory(
            data.path, disks=[{"file": str(data.path), "controller": "pvscsi"}], nics=[]
        )
        with Simulator.start(described, here / "vcenter", listen=f"{HOST}:0") as simulator:
            spec = spec_of(given, way, storage_class)
            documents = scenario.manifests(simulator, name, networkMapping=[], **spec)
            counters = Counters(here)
            before = counters.read()
            ground.apply(*documents)
            imported = Imported(ground, name, scenario.VM)
            imported.until(RUNNING, seconds=IMPORT_SECONDS)
            after = counters.read()
            run = imported.status.workflow
            workflow = ground.cluster.get(WORKFLOW, run.name, RELEASE) if run else None
            if workflow is None:
                raise Failed("the Workflow of the import is gone")
            off = downtime(workflow)
            limit = mib * MIB / min(write_rate(here), given.rate * 1e6 / 8 if given.rate else float("inf"))
            imported.delete()
    ground.kubectl("delete", "namespace", name, "--timeout=300s")
    network, written = ((now - then) / (mib * MIB) for now, then in zip(after, before, strict=True))
    return Measured(given.target, way, mib, off, round(network, 3), round(written, 3), round(limit, 2))


def table(found: Sequence[Measured]) -> Iterator[str]:
    yield "target     way    used MiB  downtime s  limit s  network/used  written/used"
    yield from map(summary, found)
    for one in found:
        parts = ", ".join(f"{name} {seconds:.0f}" for name, seconds in one.downtime.critical())
        yield f"{one.target} {one.way} {one.used_mib} MiB: {parts}"
    yield from slopes(found)


def summary(one: Measured) -> str:
    head = f"{one.target:10} {one.way:6} {one.used_mib:8} {one.downtime.seconds:11.0f} {one.limit:8.1f}"
    return f"{head} {one.network:13.2f} {one.written:13.2f}"


def slopes(found: Sequence[Measured]) -> Iterator[str]:
    """How much longer a VM with a larger disk is off, compared with the limit."""
    for target, way in dict.fromkeys((one.target, one.way) for one in found):
        same = sorted(
            (one for one in found if (one.target, one.way) == (target, way)), key=lambda one: one.used_mib
        )
        for small, large in pairwise(same):
            seconds = large.downtime.seconds - small.downtime.seconds
            ratio = seconds / (large.limit - small.limit)
            sizes = f"{small.used_mib} to {large.used_mib} MiB"
            yield f"{target} {way}, {sizes}: {seconds:.0f} s more, {ratio:.2f} x the limit"


def least(found: Sequence[Measured]) -> Measured:
    return min(found, key=lambda one: one.downtime.seconds)


def say(line: str, file: TextIO = sys.stdout) -> None:
    file.write(f"{line}\n")
    file.flush()


def main() -> int:
    given = arguments()
    if not has_argo():
        raise Failed(
            "the downtime is measured with the real Argo only; set LAB_ARGO (tests/real/lab/README.md)"
        )
    status = subprocess.run(
        [SCRIPTS / "kubevirt" / "build", "--status"], capture_output=True, text=True, check=False
    )
    if given.target == "kubevirt" and status.returncode:
        raise Failed(f"no KubeVirt; {status.stdout.strip()}")
    found = []
    with lab_of(given.target) as (ground, storage_class), limited_network(given.rate):
        for way in given.ways:
            for mib in given.mib:
                runs = []
                for number in range(given.runs):
                    say(f"{way}, {mib} MiB, run {number + 1} of {given.runs}", sys.stderr)
                    runs.append(measure(ground, given, way, mib, storage_class))
                    say(summary(runs[-1]), sys.stderr)
                found.append(least(runs))
    if given.output == "json":
        say(json.dumps([asdict(one) for one in found], indent=1))
    else:
        for line in table(found):
            say(line)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"error: {error}")
