"""The disks for all measurements, made once and kept."""

from __future__ import annotations

import gzip
import random
import shutil
import subprocess
import sys
from pathlib import Path

from tests.unit.steps.disk.streamvmdk import ENTRIES, StreamVmdk
from tests.unit.steps.providers.kubevirt.documents import CLAIMS

GRAIN = 1 << 16
STRETCH = 64
"""Grains of one kind in a row, as with files on a disk."""
PACKED = 0.3
"""Fraction of the grains that cannot be compressed, like packed files; the others are words."""
SCATTERED = 1024
"""Grains on a sparse disk: 64 MiB for any size of the disk."""
PLACED_SIZE = 2 << 30
"""Bytes of a disk with data in a few places."""
PLACES = 16
PLACED = PLACED_SIZE * 5 // 100 // PLACES // GRAIN * GRAIN * PLACES
"""Bytes in use on that disk: 5 % of it, in `PLACES` places of the same size."""


def make(folder: Path, mib: int, fill: int, layout: str = "last") -> Path:
    """The VMDK of a disk with `mib` MiB allocated, `fill` percent of its size: words, packed files and holes.

    Its raw disk is next to it, see `raw_of`.
    """
    made = folder / f"disk-{mib}-{fill}-{layout}.vmdk"
    if not made.exists():
        raw = raw_of(made)
        if not raw.exists():
            partial = raw.with_name(raw.name + ".partial")
            write_raw(partial, mib, fill / 100)
            partial.replace(raw)
        partial = made.with_name(made.name + ".partial")
        write = write_last if layout == "last" else write_front
        write(raw, partial)
        partial.replace(made)
    return made


def raw_of(made: Path) -> Path:
    return made.with_name(made.name.rsplit("-", 1)[0] + ".raw")


def make_sparse(folder: Path, gib: int) -> Path:
    """The VMDK of a disk of `gib` GiB with 64 MiB of data, scattered evenly over the disk."""
    made = folder / f"sparse-{gib}.vmdk"
    if not made.exists():
        stream = StreamVmdk(gib << 21)
        rng, step = random.Random(1), (gib << 30) // GRAIN // SCATTERED
        for number in range(0, step * SCATTERED, step):
            stream.add(number, rng.randbytes(GRAIN))
        partial = made.with_name(made.name + ".partial")
        partial.write_bytes(stream.finish())
        partial.replace(made)
    return made


def make_placed(folder: Path) -> Path:
    """A raw disk of `PLACED_SIZE` bytes with random data in `PLACES` places, and holes between them."""
    made = folder / f"placed-{PLACED_SIZE >> 20}-{PLACES}.raw"
    if not made.exists():
        partial, rng = made.with_name(made.name + ".partial"), random.Random(1)
        with partial.open("wb") as file:
            for number in range(PLACES):
                file.seek(PLACED_SIZE // PLACES * number)
                file.write(rng.randbytes(PLACED // PLACES))
            file.truncate(PLACED_SIZE)
        partial.replace(made)
    return made


def make_volume(folder: Path, mib: int, fill: int) -> Path:
    """A raw disk as that of `make`: `disk.img`, and the same as gzip, in the folder of an exported claim.

    Returns the path of `disk.img`: `volumes/CLAIM/disk.img` in a folder of its own, as in KubeVirt's links.
    """
    place = folder / f"volume-{mib}-{fill}" / "volumes" / CLAIMS[0]
    made = place / "disk.img"
    if not made.exists():
        place.mkdir(parents=True, exist_ok=True)
        partial = made.with_name(made.name + ".partial")
        write_raw(partial, mib, fill / 100)
        with partial.open("rb") as raw, gzip.open(place / "disk.img.gz", "wb", compresslevel=1) as packed:
            shutil.copyfileobj(raw, packed, 1 << 20)
        partial.replace(made)
    return made


def write_raw(path: Path, mib: int, fill: float) -> None:
    rng = random.Random(1)
    words = [rng.randbytes(rng.randrange(2, 9)).hex() for _ in range(3000)]
    left = (mib << 20) // GRAIN
    with path.open("wb") as file:
        while left > 0:
            count = min(left, STRETCH)
            if rng.random() > fill:
                file.seek(GRAIN * STRETCH, 1)
                continue
            for _ in range(count):
                file.write(rng.randbytes(GRAIN) if rng.random() < PACKED else text(rng, words))
            left -= count
        file.truncate(file.tell() + 77 * 512)


def text(rng: random.Random, words: list[str]) -> bytes:
    return " ".join(rng.choices(words, k=GRAIN // 8)).encode()[:GRAIN]


def write_front(raw: Path, made: Path) -> None:
    """Tables first, as qemu-img writes them."""
    argv = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"]
    subprocess.run([*argv, raw, made], check=True)


def write_last(raw: Path, made: Path) -> None:
    """Tables last, as vSphere sends them."""
    stream = StreamVmdk(raw.stat().st_size // 512)
    with raw.open("rb") as file:
        for number in range(-(-raw.stat().st_size // GRAIN)):
            grain = file.read(GRAIN)
            if grain.count(0) < len(grain):
                stream.add(number, grain.ljust(GRAIN, b"\0"))
            if number % ENTRIES == ENTRIES - 1:
                stream.flush(number // ENTRIES)
    made.write_bytes(stream.finish())


def make_kind(folder: Path, kind: str, *numbers: int) -> Path:
    """The disk of that kind: `sparse`, `placed`, `volume`, or the position of the tables of a VMDK."""
    match kind:
        case "sparse":
            return make_sparse(folder, numbers[0])
        case "placed":
            return make_placed(folder)
        case "volume":
            return make_volume(folder, *numbers)
        case _:
            mib, fill = numbers
            return make(folder, mib, fill, kind)


if __name__ == "__main__":
    there, wanted, *given = sys.argv[1:]
    sys.stdout.write(str(make_kind(Path(there), wanted, *map(int, given))))
