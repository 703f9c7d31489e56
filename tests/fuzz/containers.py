"""Fuzzes disks in formats that qemu-img reads, from their landing to the result of convert.

QEMU parses these bytes. The tests check that any failure is reported in one line, that no other file is
opened, and that no result needs another file.
"""

from __future__ import annotations

import json
import random
import resource
import struct
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from steps import convert
from steps.disk import qemu, virtual_size
from steps.disk.land import Source, land
from steps.model.contract import StepError
from steps.model.plan import DiskFormat
from steps.runtime.stop import Stop
from tests.fuzz import mutate, qcow2, sparse
from tests.fuzz.case import Case, Wrong
from tests.fuzz.mutate import Field

LARGEST: Final = 256 << 20
"""Maximum size in bytes of any file that is made: RLIMIT_FSIZE, for qemu-img as well."""
NAMES: Final = (
    b"../canary/secret",
    b"file:../canary/secret",
    b'json:{"driver":"raw","file":{"driver":"file","filename":"../canary/secret"}}',
    b"/etc/hostname",
    b"in.disk",
    b"nbd+unix:///?socket=../canary/secret",
    b"fat:rw:../canary",
    b"\xff\xfe\x1b[31m\n",
    b"x" * 1023,
)
_FLAT: Final = (
    b'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="%s"\nRW 64 %s "%s"%s\n'
)
_OTHERS: Final = ("vhdx", "vpc", "vdi")


class Containers:
    """qcow2 of every kind, VMDKs that are not streams, VHDX, VHD and VDI."""

    name = "containers"
    programs = frozenset({"qemu-img"})

    def __init__(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))

    def make(self, rng: random.Random) -> Case:
        make = rng.choice((_qcow2, _qcow2, _qcow2, _sparse, _sparse, _descriptor, _other, _raw))
        form, data, size, valid = make(rng)
        named = "auto" if form == "vdi" else rng.choice((form, form, "auto" if form in _OTHERS else form))
        if rng.random() < 0.1:
            named = rng.choice(("qcow2", "vmdk", "vhdx", "vpc", "auto"))
        options = {
            "format": form,
            "source": named,
            "by_hand": form == "vdi" or rng.random() < (0.7 if make is _descriptor else 0.2),
            "wanted": rng.choice(("qcow2", "raw")),
            "capacity": size if rng.random() < 0.6 else None,
            "valid": valid and (named == form or (named == "auto" and form != "raw")),
        }
        return Case(self.name, data, options)

    def run(self, case: Case, folder: Path) -> str:
        options, source, out = case.options, folder / "in.disk", folder / "out"
        source.write_bytes(case.data)
        wanted = DiskFormat(options["wanted"])
        seen = virtual_size.of(
            options["source"], lambda at, count: case.data[at : at + count], len(case.data)
        )
        if options["valid"] and seen not in (0, qemu.info(source, options["format"]).virtual_size):
            raise Wrong(f"before the import the disk has {seen} bytes, and then others")
        if options["by_hand"]:
            qemu.convert(source, options["format"], out, wanted, report=_silent, stop=Stop())
            convert.check(out, wanted, options["capacity"])
            return f"converted from {options['format']} by hand"
        landed = land(
            Source(f"file://{source}", format=options["source"]),
            out,
            format=wanted.value,
            capacity=options["capacity"],
            report=_silent,
            stop=Stop(),
        )
        made = convert.ensure_format(landed, out, wanted, options["capacity"], report=_silent, stop=Stop())
        if made.path != out:
            made.path.replace(out)
        return f"{landed.format} landed, {made.format} handed on"

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        out = folder / "out"
        wanted = "qcow2" if outcome.endswith("qcow2 handed on") else case.options["wanted"]
        if wanted == "qcow2":
            _check_independent(out)
        elif not case.options["by_hand"]:
            _check_not_mistaken(out)
        form = _read_as(case, outcome)
        try:
            same = qemu.compare(folder / "in.disk", form, out, wanted)
        except StepError:
            return "refused by qemu-img"
        if not same:
            raise Wrong("qemu-img reads another disk from the same bytes")
        return "same by qemu-img"


def _read_as(case: Case, outcome: str) -> str:
    """The format in which the bytes were read: the declared one, or the one that `auto` found."""
    options, landed = case.options, outcome.partition(" ")[0]
    if options["by_hand"]:
        return str(options["format"])
    if options["source"] != "auto":
        return str(options["source"])
    # A raw disk lands in the wanted format at once.
    raw = landed == options["wanted"] and not case.data.startswith(b"QFI\xfb")
    return "raw" if raw else landed


def _silent(done: int, total: int) -> None:
    """Ignore the progress."""


def _check_independent(path: Path) -> None:
    """By the header: no backing file (offset 8), no external data file (incompatible feature bit 2)."""
    head = path.read_bytes()[:104]
    version, backing = struct.unpack_from(">IQ", head, 4)
    features = struct.unpack_from(">Q", head, 72)[0] if version > 2 else 0
    if backing or features & 4:
        raise Wrong("what is handed on leans on another file")


Made = tuple[str, bytes, int, bool]
"""Format, bytes, size of the disk in bytes, whether it must be accepted."""


def _qcow2(rng: random.Random) -> Made:
    bits = rng.choice((9, 12, 16))
    size = rng.choice((512, rng.randrange(1, 4000) * 512, 3 << bits, 64 << bits))
    count = -(-size // (1 << bits))
    numbers = rng.sample(range(count), min(count, rng.choice((0, 1, 5))))
    image = qcow2.Image(size, bits, rng.choice((2, 3, 3)), {number: rng.randbytes(600) for number in numbers})
    changed = rng.random() < 0.5
    if changed:
        _lean(rng, image)
    data, fields = qcow2.write(image)
    return "qcow2", *_mutated(rng, data, fields, changed=changed, size=size)


def _lean(rng: random.Random, image: qcow2.Image) -> None:
    """Name another file, in any of the possible ways, or require an unknown feature."""
    name, how = rng.choice(NAMES), rng.randrange(5)
    if how == 0:
        image.backing = name
    elif how == 1:
        image.backing = name
        image.extensions.append((qcow2.BACKING_FORMAT, rng.choice((b"raw", b"qcow2", b"\xff", b"nbd"))))
    elif how == 2:
        image.extensions.append((qcow2.DATA_FILE, name))
        image.incompatible = rng.choice((4, 4, 0))
    elif how == 3:
        image.incompatible = 1 << rng.randrange(64)
    else:
        image.crypt = rng.choice((1, 2, 3))


def _sparse(rng: random.Random) -> Made:
    """A VMDK that is not a stream: not compressed, or without markers."""
    capacity = rng.choice((128, 129, 128 * 5, 3))
    text = b""
    if rng.random() < 0.5:
        text = rng.choice(
            (
                b'parentCID=12345678\nparentFileNameHint="%s"\n' % rng.choice(NAMES),
                b'RW 64 FLAT "%s" 0\n' % rng.choice(NAMES),
                b'RW 64 SPARSE "%s"\n' % rng.choice(NAMES),
            )
        )
    image = sparse.Image(
        capacity=rng.choice((capacity, capacity, 0)),
        grain=128,
        entries=512,
        tables_last=False,
        items=[],
        descriptor=sparse.DESCRIPTOR.format(capacity=capacity)
        .replace("streamOptimized", "monolithicSparse")
        .encode()
        + text,
        version=1,
        flags=3,
        compression=0,
        padding=rng.choice((0, 128)),
    )
    written = sparse.write(image)
    changed = bool(text) or not image.capacity
    return "vmdk", *_mutated(rng, written.data, written.fields, changed=changed, size=capacity * 512)


def _descriptor(rng: random.Random) -> Made:
    """Only the descriptor of a VMDK, or of one in many files."""
    kind = rng.choice((b"monolithicFlat", b"vmfs", b"twoGbMaxExtentSparse", b"monolithicSparse"))
    extent = rng.choice((b"FLAT", b"VMFS", b"SPARSE", b"VMFSSPARSE", b"SESPARSE", b"ZERO"))
    text = bytearray(_FLAT % (kind, extent, rng.choice(NAMES), rng.choice((b"", b" 0"))))
    return "vmdk", *_mutated(rng, text.ljust(1024, b"\0"), [], changed=True, size=64 * 512)


def _raw(rng: random.Random) -> Made:
    """A disk without a format. Its guest may have written the header of one: it is an ordinary disk.

    It may end within a sector, which zeros complete.
    """
    _, data, _, _ = rng.choice((_qcow2, _sparse, _descriptor, _no_header))(rng)
    data += bytes(rng.choice((0, 512, 70 << 10)))
    size = len(data) + -len(data) % 512
    if rng.random() < 0.7:
        data = data.ljust(size, b"\0")
    return "raw", data, size, bool(data)


def _no_header(rng: random.Random) -> Made:
    data = b"\0" + rng.randbytes(rng.choice((1, 1000, 70 << 10)))
    return "raw", data, len(data), True


def _other(rng: random.Random) -> Made:
    form = rng.choice(_OTHERS)
    data = bytearray(_seed(form))
    places = [at for at in range(0, min(len(data), 1 << 20), 4) if data[at : at + 4].strip(b"\0")]
    order = "<" if form != "vpc" else ">"
    fields = [Field(at, order + rng.choice("HIQ")) for at in rng.sample(places, min(len(places), 16))]
    changed = form == "vhdx" and rng.random() < 0.4
    if changed:
        _damage_tables(rng, data)
    form_, mutated, size, valid = form, *_mutated(rng, data, fields, changed=changed, size=_SEED_SIZE)
    fix = _CHECKSUMS.get(form)
    if fix and not valid and rng.random() < 0.7:
        again = bytearray(mutated)
        fix(again)
        mutated = bytes(again)
    return form_, mutated, size, valid


_SEED_SIZE: Final = 3 << 20


@cache
def _seed(form: str) -> bytes:
    """A small disk in another format, by qemu-img."""
    with tempfile.TemporaryDirectory() as name:
        raw, made = Path(name) / "raw", Path(name) / "made"
        raw.write_bytes(random.Random(form).randbytes(1000).ljust(_SEED_SIZE, b"\0"))
        options = {"vpc": "force_size=on", "vhdx": "block_size=1M"}.get(form)
        argv = ["qemu-img", "convert", "-f", "raw", "-O", form, *(["-o", options] if options else [])]
        subprocess.run([*argv, raw, made], check=True, capture_output=True)
        return made.read_bytes()


def _vpc(data: bytearray) -> None:
    """Correct the checksums of both footers and of the header between them (VHD specification 1.0)."""
    for at, place, size in ((0, 64, 512), (512, 36, 1024), (len(data) - 512, 64, 512)):
        if at >= 0 and at + size <= len(data):
            data[at + place : at + place + 4] = bytes(4)
            total = ~sum(data[at : at + size]) & 0xFFFFFFFF
            struct.pack_into(">I", data, at + place, total)


def _vhdx(data: bytearray) -> None:
    """Correct the CRC-32C of headers (4 KiB) and region tables (64 KiB) (MS-VHDX 2.2)."""
    for at, size in ((64 << 10, 4096), (128 << 10, 4096), (192 << 10, 65536), (256 << 10, 65536)):
        if at + size <= len(data):
            data[at + 4 : at + 8] = bytes(4)
            struct.pack_into("<I", data, at + 4, _crc32c(bytes(data[at : at + size])))


def _damage_tables(rng: random.Random, data: bytearray) -> None:
    """Change what the two region tables and the metadata table of a VHDX begin with, or their entries."""
    metadata = data.find(b"metadata")
    for at, head in ((192 << 10, 16), (256 << 10, 16), (metadata, 32)):
        if rng.random() < 0.7:
            place = rng.choice((at, at, at + head, at + head + 32 * rng.randrange(5)))
            data[place : place + 8] = rng.randbytes(8)


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # Castagnoli, reversed
    return byte


_CRC32C: Final = [_entry(byte) for byte in range(256)]
_CHECKSUMS: Final[dict[str, Callable[[bytearray], None]]] = {"vpc": _vpc, "vhdx": _vhdx}


def _mutated(
    rng: random.Random, data: bytearray, fields: list[Field], *, changed: bool, size: int
) -> tuple[bytes, int, bool]:
    valid = not changed
    if fields and rng.random() < 0.4:
        mutate.set_fields(rng, data, fields)
        valid = False
    if rng.random() < 0.2:
        mutate.any_bytes(rng, data)
        valid = False
    return bytes(data), size, valid


def _check_not_mistaken(path: Path) -> None:
    """Without a format, as the receivers ask."""
    argv = ["qemu-img", "info", "--output=json", str(path)]
    info = subprocess.run(argv, capture_output=True, text=True, check=False)
    if info.returncode or json.loads(info.stdout)["format"] != "raw":
        raise Wrong("a receiver takes the raw disk for another format")
