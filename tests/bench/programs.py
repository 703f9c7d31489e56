"""The measured programs: the steps, the common practice, and the limits."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Final

from tests.bench.crowd import Crowd
from tests.bench.sources import VM, KubeVirt, OVirt, Planned
from tests.real import goprogram
from tests.real.ovirt.layout import PYTHON as SDK_PYTHON
from tests.real.ovirt.layout import ROOT

Argv = list[str]
PYTHON: Final = sys.executable
WITH_ZLIB: Final = """\
import runpy, sys
sys.modules["deflate"] = None
sys.argv[0] = "export"
runpy.run_module("steps.export", run_name="__main__")
"""
INFLATE: Final = """\
import sys, time
from pathlib import Path
from steps.disk.codec import inflate
from steps.disk.vmdk import RECORD
data = memoryview(Path(sys.argv[1]).read_bytes())
at, start = 65536, time.perf_counter()
while at < len(data):
    number, size = RECORD.unpack_from(data, at)
    if size:
        inflate(data[at + 12 : at + 12 + size], 65536)
        at += 12 + size + -(12 + size) % 512
    else:
        at += 512 * (1 + number)
Path("seconds").write_text(str(time.perf_counter() - start))
"""
"""It has its own clock: reading the file does not count for the limit."""
WRITE: Final = """\
import mmap, os, sys
piece = mmap.mmap(-1, 2 << 20)
piece.write(os.urandom(2 << 20))
file = os.open("d.out", os.O_CREAT | os.O_WRONLY | int(sys.argv[2]))
for _ in range(int(sys.argv[1]) // len(piece)):
    os.write(file, piece)
os.fdatasync(file)
"""


def export(url: str, wanted: str, ca: Path | None = None, out: str = "d.out", *, plain: bool = False) -> Argv:
    """One pass: the step that lands a disk, with its preferred codec or, if `plain`, with zlib."""
    program = ["-c", WITH_ZLIB] if plain else ["-m", "steps.export"]
    trust = ["--ca", str(ca)] if ca else []
    return [PYTHON, *program, "--url", url, *trust, "--format", wanted, "--out", out]


def export_planned(planned: Planned) -> Argv:
    """The step as an import runs it: it asks the source for the disk, which lands as `disk.qcow2`."""
    folders = {"request": planned.request, "credentials": planned.credentials, "scratch": ".", "outputs": "."}
    options = [f"--{name}={folder}" for name, folder in folders.items()]
    return [PYTHON, "-m", "steps.export", "--disk", "disk-0", *options]


def sdk_download(there: OVirt) -> Argv:
    """The official SDK of oVirt with the client of ovirt-imageio: a raw disk, flushed to the device."""
    program = ROOT / "tests" / "real" / "ovirt" / "sdk_client.py"
    login = [there.lab.url, str(there.lab.ca), there.lab.username]
    argv = shlex.join([str(SDK_PYTHON), str(program), *login, "download", VM, "."])
    password = shlex.quote(str(there.planned.credentials / "password"))
    return ["sh", "-ec", f"{argv} <{password}\nsync -d {VM}.raw"]


def download_raw(there: KubeVirt, ca: Path) -> Argv:
    """The common practice for an export of KubeVirt: download the raw disk, convert it, flush it."""
    return _converted(shlex.join(curl(there.url, ca, "disk.img")))


def download_gzip(there: KubeVirt, ca: Path) -> Argv:
    """The same with the gzip, which is unpacked on the way."""
    return _converted(f"{shlex.join(curl(f'{there.url}.gz', ca, '-'))} | gzip -dc >disk.img")


def _converted(download: str) -> Argv:
    convert_it = "qemu-img convert -f raw -O qcow2 disk.img disk.qcow2"
    return ["sh", "-ec", "\n".join([download, convert_it, "sync -d disk.qcow2"])]


def convert(source: Path, wanted: str) -> Argv:
    """The step for disks that cannot land in one pass."""
    argv = ["--in", str(source), "--in-format", "vmdk", "--format", wanted, "--out", "d.out"]
    return [PYTHON, "-m", "steps.convert", *argv]


def serve(file: Path, port: int) -> Argv:
    listen = ["--listen", f"127.0.0.1:{port}", "--path", "/disk"]
    return [PYTHON, "-m", "steps.serve", "--file", str(file), *listen]


def import_all(manifests: Path) -> Argv:
    """Everything: `vmferry run` from login to checksums and manifest."""
    return [PYTHON, "-m", "controller.cli.main", "run", "-f", str(manifests), "--into", "imported"]


def raw_read(there: Crowd) -> Argv:
    """One read of the properties that an inventory needs, of all VMs."""
    simulator = there.simulator
    login = ["--user", simulator.username, "--password", simulator.password]
    trust = ["--ca", str(simulator.ca), "--expect", str(there.count)]
    return [PYTHON, "-m", "tests.bench.rawread", simulator.url, *login, *trust]


def inventory(there: Crowd, *options: str) -> Argv:
    """The whole command, from login to the last line."""
    return [PYTHON, "-m", "controller.cli.main", "inventory", "-f", str(there.manifests), *options]


def inflate(disk: Path) -> Argv:
    return [PYTHON, "-c", INFLATE, str(disk)]


def write(size: int, flags: int = 0) -> Argv:
    """Write `size` bytes in order and flush them to the device."""
    return [PYTHON, "-c", WRITE, str(size), str(flags)]


def curl(url: str, ca: Path, out: str = "/dev/null") -> Argv:
    return ["curl", "-sSf", "--cacert", str(ca), "-o", out, url]


def common(urls: list[str], ca: Path) -> Argv:
    """The common practice: download all disks, convert all to raw, flush everything to the device."""
    names = [f"d{number}" for number in range(len(urls))]
    parts = [shlex.join(curl(url, ca, f"{name}.vmdk")) for url, name in zip(urls, names, strict=True)]
    parts += [f"qemu-img convert -f vmdk -O raw {name}.vmdk {name}.raw" for name in names]
    return ["sh", "-ec", "\n".join([*parts, *(f"sync -d {name}.raw" for name in names)])]


def together(programs: list[Argv]) -> Argv:
    """Run several programs at once; fails if one of them fails."""
    started = "".join(f'{shlex.join(argv)} & all="$all $!"\n' for argv in programs)
    return ["sh", "-c", f"all=\n{started}for one in $all; do wait $one || exit 1; done"]


def receive(url: str, out: str) -> Argv:
    """A stand-in for Longhorn's receiver; it writes the number of received bytes to `carried`."""
    return [str(goprogram.build("receiver", Path(__file__).with_name("receiver"))), url, out, "carried"]
