"""Fuzzes an initramfs of a guest: archives in the "newc" format of cpio, each possibly packed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from steps.guest import initramfs
from steps.model.contract import Exit, StepError
from tests.fuzz import mutate
from tests.fuzz.case import Case, Wrong
from tests.fuzz.mutate import Field
from tests.unit.steps.guest.cpio import archive, entry

_NAMES: Final = (
    *("init", "lib/modules/6.1/kernel/drivers/block/virtio_blk.ko", "lib/modules/6.1/virtio-scsi.ko.xz"),
    *(
        "usr/lib/ahci.ko.zst",
        "a.ko.b",
        ".ko",
        "x/.ko.gz",
        "etc/passwd",
        "é.ko",
        "d" * 400 + ".ko",
        "TRAILER!!!",
    ),
)
_HOSTILE: Final = ("/etc/passwd", "../../secret", "n" * 5000, "\n", "")
_PROGRAMS: Final = tuple(
    argv for argv in (("zstd", "-qc"), ("lz4", "-qlc"), ("lz4", "-qc")) if shutil.which(argv[0])
)
_MAGIC: Final = (
    b"\x1f\x8b\x08\0",
    b"\xfd7zXZ\0",
    b"]\0\0\x80",
    b"BZh9",
    b"\x28\xb5\x2f\xfd",
    b"\x89LZO",
    b"070701",
)


def _by_program(argv: Sequence[str]) -> Callable[[bytes], bytes]:
    return lambda data: subprocess.run(argv, input=data, stdout=subprocess.PIPE, check=True).stdout


_PACKERS: Final[tuple[Callable[[bytes], bytes], ...]] = (
    gzip.compress,
    lzma.compress,
    lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    bz2.compress,
    *map(_by_program, _PROGRAMS),
)


class Initramfs:
    """One archive after the other, with any mistake, in any packing."""

    name = "initramfs"
    programs = frozenset({"zstd", "lz4", "lzop"})

    def make(self, rng: random.Random) -> Case:
        parts, wanted = [], set()
        for _ in range(rng.choice((1, 1, 2))):
            names = rng.sample(_NAMES[:-1], rng.randrange(5))
            wanted |= {name for name in map(_module, names) if name}
            parts.append(bytearray(archive(names, rng.randbytes(rng.choice((0, 3, 700))))))
        is_changed = rng.random() < 0.5
        if is_changed:
            _spoil(rng, rng.choice(parts))
        raw = [bytes(part) for part in parts]
        packs = rng.choice((0, 1, 1, 1, 2, 30) if rng.random() < 0.2 else (0, 1))
        for _ in range(packs):
            raw[-1] = rng.choice(_PACKERS[:4] if packs > 2 else _PACKERS)(raw[-1])
        padding = bytes(rng.choice((0, 512)))
        data = bytearray(padding.join(raw))
        if not is_changed and rng.random() < 0.3:
            is_changed = True
            mutate.any_bytes(rng, data)
        if not is_changed and rng.random() < 0.05:
            is_changed = True
            data[:0] = rng.choice(_MAGIC)
        known = None if is_changed or packs > 1 else sorted(wanted)
        return Case(self.name, bytes(data), {"wanted": known, "valid": known is not None})

    def run(self, case: Case, folder: Path) -> str:
        tempfile.tempdir = str(folder)
        found = _read(case, folder)
        if any("/" in name or not name for name in found):
            raise Wrong(f"no modules: {found}")
        return "modules" if found else "no modules"

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        """The names are those that were packed."""
        del outcome
        if case.options["wanted"] is None:
            return ""
        found = sorted(_read(case, folder))
        if found != case.options["wanted"]:
            raise Wrong(f"{found} instead of {case.options['wanted']}")
        return "equal"


def _read(case: Case, folder: Path) -> set[str]:
    path = folder / "initramfs"
    path.write_bytes(case.data)
    try:
        return initramfs.modules(path)
    except initramfs.UnreadableError as error:
        raise StepError(Exit.CORRUPT, "the initramfs cannot be read", str(error)[:300]) from None


def _module(name: str) -> str:
    """Another way to the name of a module."""
    file = name.rsplit("/", maxsplit=1)[-1]
    for ending in (".ko", ".ko.gz", ".ko.xz", ".ko.zst"):
        if file.endswith(ending) and ".ko" not in file[: -len(ending)]:
            return file[: -len(ending)].replace("-", "_")
    return ""


def _spoil(rng: random.Random, part: bytearray) -> None:
    """Change the header of an entry, its name, or any byte."""
    kind = rng.random()
    if kind < 0.3:
        at = rng.randrange(13) * 8 + 6
        part[at : at + 8] = rng.choice(
            (b"FFFFFFFF", b"0000000-", b"+0000001", b"0000_001", b"80000000", b"00001001")
        )
    elif kind < 0.5:
        part[:0] = entry(rng.choice(_HOSTILE))
    elif kind < 0.6:
        mutate.set_fields(rng, part, [Field(at, "<I") for at in range(0, min(len(part) - 4, 200), 4)])
    else:
        mutate.any_bytes(rng, part)
