"""The disk that everything is measured with, made once and kept."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from tests.disk.streamvmdk import ENTRIES, StreamVmdk

GRAIN = 1 << 16
STRETCH = 64
"""Grains of one kind in a row, as files lie on a disk."""
HOLE = 0.4
"""Part of the disk that is empty."""


def make(folder: Path, mib: int, layout: str) -> Path:
    """The VMDK of a disk with `mib` MiB allocated: words, packed files and holes in turn."""
    made = folder / f"disk-{mib}-{layout}.vmdk"
    if not made.exists():
        raw = folder / f"disk-{mib}.raw"
        if not raw.exists():
            write_raw(raw, mib)
        partial = made.with_name(made.name + ".partial")
        write = write_last if layout == "last" else write_front
        write(raw, partial)
        partial.replace(made)
    return made


def write_raw(path: Path, mib: int) -> None:
    rng = random.Random(1)
    words = [rng.randbytes(rng.randrange(2, 9)).hex() for _ in range(3000)]
    left = (mib << 20) // GRAIN
    with path.open("wb") as file:
        while left > 0:
            count = min(left, STRETCH)
            if rng.random() < HOLE:
                file.seek(GRAIN * STRETCH, 1)
                continue
            for _ in range(count):
                file.write(rng.randbytes(GRAIN) if rng.random() < 0.3 else text(rng, words))
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


if __name__ == "__main__":
    sys.stdout.write(str(make(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
