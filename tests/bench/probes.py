"""Everything that can be measured, by name. A probe runs in its own folder and returns its costs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench import programs
from tests.bench.crowd import Crowd
from tests.bench.cutter import cutter
from tests.bench.measure import Cost, Failed, cost_of
from tests.bench.sources import VM, Sources
from tests.bench.web import Web, free_port

CUTS: Final = 12
DISKS: Final = 4
Costs = dict[str, Cost]


@dataclass(frozen=True)
class Probe:
    """`names` are the costs that `run` returns; it runs at most `most` times."""

    names: tuple[str, ...]
    run: Callable[[Path], Costs]
    most: int = 99


@dataclass(frozen=True)
class Bench:
    """The means of measuring. Folders for runs are made in `scratch`."""

    web: Web
    scratch: Path
    disk: Path
    small: Path
    sparse: dict[int, Path]
    imports: dict[int, tuple[Path, list[Path]]]
    """By number of disks: the manifests of the import of a VM with that many, and its VMDKs."""
    allocated: int
    """Bytes of `disk` that are not zero."""
    crowd: Crowd | None
    """A vCenter with many VMs; None if no figure needs it."""
    sources: Sources | None
    """oVirt and KubeVirt; None if no figure needs them."""

    def probes(self) -> Iterator[Probe]:
        yield from self._limits()
        yield from self._acquiring()
        yield from self._throttled()
        yield from self._memory()
        yield Probe(("broken",), self._broken, most=2)
        yield from self._importing()
        yield from self._listing()
        if self.sources is not None:
            yield from exporting(self.sources, self.web.ca)

    def _limits(self) -> Iterator[Probe]:
        yield plain("curl", programs.curl(f"{self.web.tls}/{self.disk.name}", self.web.ca))
        yield Probe(("inflate",), self._inflate)
        yield plain("write, cached", programs.write(self.allocated))
        yield plain("write, direct", programs.write(self.allocated, os.O_DIRECT))

    def _inflate(self, folder: Path) -> Costs:
        cost = cost_of(programs.inflate(self.disk), folder)
        return {"inflate": replace(cost, wall=float((folder / "seconds").read_text()))}

    def _acquiring(self) -> Iterator[Probe]:
        url, ca = f"{self.web.tls}/{self.disk.name}", self.web.ca
        yield self._chain("common", programs.common([url], ca), "d0.raw", self._serve_plainly)
        yield self._chain("qcow2", programs.export(url, "qcow2", ca), "d.out", self._serve)
        yield plain("raw", programs.export(url, "raw", ca))
        yield plain("qcow2, zlib", programs.export(url, "qcow2", ca, plain=True))
        yield plain("raw, zlib", programs.export(url, "raw", ca, plain=True))

    def _chain(self, name: str, argv: programs.Argv, out: str, onward: Callable[[Path], Cost]) -> Probe:
        """Acquire a disk, then pass it on."""

        def run(folder: Path) -> Costs:
            acquired = cost_of(argv, folder)
            return {name: acquired, f"onward, {name}": onward(folder / out)}

        return Probe((name, f"onward, {name}"), run)

    def _serve_plainly(self, file: Path) -> Cost:
        """The raw disk from a plain web server, the one that is already running."""
        url = f"{self.web.plain}/scratch/{file.relative_to(self.scratch)}"
        return _received(url, file)

    def _serve(self, file: Path) -> Cost:
        """The disk from the step; the wall time starts with the step."""
        port, start = free_port(), time.perf_counter()
        argv = programs.serve(file, port)
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as step:
            assert step.stderr is not None
            if not any('"event": "serving"' in line for line in step.stderr):
                raise Failed("steps.serve did not serve")
            cost = _received(f"http://127.0.0.1:{port}/disk", file)
            wall, memory = time.perf_counter() - start, peak_memory(step.pid)
            step.send_signal(signal.SIGTERM)
            step.stderr.read()
        return replace(cost, wall=wall, memory=memory)

    def _throttled(self) -> Iterator[Probe]:
        url, ca = f"{self.web.tls}/gigabit/{self.disk.name}", self.web.ca
        yield plain("gigabit, curl", programs.curl(url, ca))
        yield plain("gigabit, common", programs.common([url], ca), most=2)
        yield plain("gigabit, qcow2", programs.export(url, "qcow2", ca))
        yield plain("gigabit, raw", programs.export(url, "raw", ca))
        stream = f"{self.web.tls}/stream/{self.small.name}"
        several = [programs.export(stream, "qcow2", ca, f"d{number}.out") for number in range(DISKS)]
        yield plain("stream, one", several[0])
        yield plain("stream, all", programs.together(several))
        yield plain("stream, common", programs.common([stream] * DISKS, ca), most=1)

    def _memory(self) -> Iterator[Probe]:
        for gib, disk in self.sparse.items():
            url = f"{self.web.plain}/{disk.name}"
            yield plain(f"export, qcow2, {gib} GiB", programs.export(url, "qcow2"), most=2)
            yield plain(f"export, raw, {gib} GiB", programs.export(url, "raw"), most=2)
            yield plain(f"convert, {gib} GiB", programs.convert(disk, "qcow2"), most=2)
            name = f"serve, {gib} GiB"
            yield Probe((name,), partial(self._serving, name, url), most=2)

    def _serving(self, name: str, url: str, folder: Path) -> Costs:
        """The memory used to serve a disk that landed before."""
        cost_of(programs.export(url, "qcow2"), folder)
        return {name: self._serve(folder / "d.out")}

    def _broken(self, folder: Path) -> Costs:
        """An export whose connection breaks; the cost's `carried` is the sum over all connections."""
        size = self.disk.stat().st_size
        places = random.Random(7).sample(range(size // 50, size * 49 // 50), CUTS)
        with cutter(self.web.plain, places) as way:
            cost = cost_of(programs.export(f"http://127.0.0.1:{way.port}/{self.disk.name}", "qcow2"), folder)
            if way.left:
                raise Failed(f"{way.left} connections were not cut")
            return {"broken": replace(cost, carried=way.carried)}

    def _importing(self) -> Iterator[Probe]:
        for count, (manifests, disks) in self.imports.items():
            urls = [f"{self.web.tls}/{disk.name}" for disk in disks]
            yield plain(f"import {count}, common", programs.common(urls, self.web.ca))
            yield plain(f"import {count}", programs.import_all(manifests))

    def _listing(self) -> Iterator[Probe]:
        if self.crowd is not None:
            yield plain("inventory, raw read", programs.raw_read(self.crowd))
            yield plain("inventory", programs.inventory(self.crowd, "-o", "json"))
            yield plain("inventory, table", programs.inventory(self.crowd))
            yield plain(
                "inventory, report", programs.inventory(self.crowd, "-o", "csv", "--report", "report")
            )


def exporting(there: Sources, ca: Path) -> Iterator[Probe]:
    """The export steps of oVirt and KubeVirt, and the common practice for each."""
    engine, cluster = there.ovirt, there.kubevirt

    def from_ovirt(name: str, argv: programs.Argv, landed: str, folder: Path) -> Costs:
        engine.lab.forget_calls()
        cost = replace(cost_of(argv, folder), carried=engine.sent)
        compare(folder / landed, engine.disk)
        return {name: cost}

    def from_kubevirt(name: str, wanted: str, folder: Path) -> Costs:
        cluster.cluster.formats = (wanted,)
        cost = cost_of(programs.export_planned(cluster.planned), folder)
        compare(folder / "disk.qcow2", cluster.disk)
        return {name: cost}

    ovirt_programs = {
        "oVirt": (programs.export_planned(engine.planned), "disk.qcow2"),
        "oVirt, SDK": (programs.sdk_download(engine), f"{VM}.raw"),
    }
    for name, (argv, landed) in ovirt_programs.items():
        yield Probe((name,), partial(from_ovirt, name, argv, landed), most=3)
    downloads = {"raw": programs.download_raw, "gzip": programs.download_gzip}
    for wanted, download in downloads.items():
        name = f"KubeVirt, {wanted}"
        yield plain(f"{name}, common", download(cluster, ca), most=2)
        yield Probe((name,), partial(from_kubevirt, name, wanted), most=2)


def compare(landed: Path, wanted: Path) -> None:
    """Raises Failed unless a disk that landed has the bytes of the raw disk `wanted`."""
    kind = landed.suffix.removeprefix(".")
    argv = ["qemu-img", "compare", "-f", kind, "-F", "raw", str(landed), str(wanted)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{landed.name} is not the disk: {done.stdout}{done.stderr}")


def plain(name: str, argv: Sequence[str], most: int = 99) -> Probe:
    """A program that runs once and has one cost."""
    return Probe((name,), partial(_run, name, argv), most)


def _run(name: str, argv: Sequence[str], folder: Path) -> Costs:
    return {name: cost_of(argv, folder)}


def _received(url: str, file: Path) -> Cost:
    """The cost for a receiver to download `file` from `url`; its bytes are counted and compared."""
    folder = file.parent / "received"
    folder.mkdir()
    cost = cost_of(programs.receive(url, "disk"), folder)
    subprocess.run(["cmp", file, folder / "disk"], check=True)
    return replace(cost, carried=int((folder / "carried").read_text()))


def peak_memory(pid: int) -> int:
    """KiB of a running process or of its largest child, at its peak (proc(5), VmHWM)."""
    most = 0
    for one in (str(pid), *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        lines = Path(f"/proc/{one}/status").read_text().splitlines()
        most = max(most, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")))
    return most
