"""Fuzzes the decoder of stream-optimized VMDKs: `steps.disk.vmdk`, `vmdk_decoder`, `tables`, `detect`."""

from __future__ import annotations

import contextlib
import os
import random
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from steps.disk import pump, qemu
from steps.disk.land import Source, land
from steps.model.contract import StepError
from steps.runtime.stop import Stop
from tests.fuzz import mutate, reference, sparse
from tests.fuzz.case import Case, Wrong
from tests.fuzz.sparse import Grain, Image, Marker

_FILLS: Final = (0.0, 0.2, 0.6, 1.0)
_DESCRIPTORS: Final = (
    b"parentCID=0badcafe\n",
    b'parentCID=ffffffff\nparentFileNameHint="../canary/parent.vmdk"\n',
    b'RW 64 FLAT "../canary/flat.vmdk" 0\n',
    b'RW 64 SPARSE "one.vmdk"\nRW 64 SPARSE "../canary/two.vmdk"\n',
    b'RW 64 ZERO\nRW 64 VMFS "../canary/flat.vmdk"\n',
    b"# Disk DescriptorFile\n\xff\xfe\x00\x1b[31m\n",
    b"",
    b"parentCID=\n",
    b"\n" * (1 << 20),
    b"RW " * 1000 + b"parentCID = " + b" " * 5000,
)
_FOREIGN: Final = (
    b"# Disk DescriptorFile\nversion=1\n",
    b"QFI\xfb",
    b"QFI\xfb\0\0\0\3".ljust(24, b"\0") + b"\0\0\0\0\x7f\0\0\0",
    b"vhdxfile",
    b"conectix",
    b"",
)
_BOMB: Final = zlib.compress(bytes(1 << 28), 9)
"""256 MiB of zeros in 256 KiB."""
_QEMU_EVERY: Final = 16
"""One of this number of accepted images is also compared by qemu-img."""


class Vmdk:
    """Any stream-optimized VMDK, and data that resembles one."""

    name = "vmdk"
    programs: frozenset[str] = frozenset()

    def make(self, rng: random.Random) -> Case:
        image = _image(rng)
        changes = rng.choice((0, 0, 1, 1, 2))
        for _ in range(changes):
            rng.choice(_CHANGES)(rng, image)
        written = sparse.write(image)
        good = bytes(written.data)
        if rng.random() < 0.4:
            mutate.set_fields(rng, written.data, written.fields)
        if rng.random() < 0.25:
            mutate.any_bytes(rng, written.data)
        if rng.random() < 0.03:
            written.data[:] = rng.choice(_FOREIGN) + written.data[: rng.choice((0, 3, 600))]
        options = {
            "format": rng.choice(("raw", "qcow2")),
            "source": rng.choice((*["vmdk"] * 8, *["auto"] * 3, "qcow2")),
            "chunk": rng.choice((512, 1000, 4096, 1 << 13, 1 << 20)),
            "qemu": rng.randrange(_QEMU_EVERY) == 0,
        }
        if rng.random() < 0.2:  # an earlier attempt received a damaged byte
            options |= {"source": "vmdk", "first": rng.randrange(len(good))}
            return Case(self.name, good, options | {"valid": not changes})
        return Case(self.name, bytes(written.data), options)

    def run(self, case: Case, folder: Path) -> str:
        pump.CHUNK = case.options["chunk"]  # type: ignore[misc]
        source = folder / "in.vmdk"
        first = case.options.get("first")
        if first is not None:
            _attempt(source, case, first)
        source.write_bytes(case.data)
        os.utime(source, ns=(0, 0))  # the same file as before, according to the metadata that a server sends
        if first is not None:
            with contextlib.suppress(StepError):  # the saved data may be the damaged part: then it is dropped
                _land(source, case)
        landed = _land(source, case)
        return f"accepted as {landed}" + (", after a failure" if first is not None else "")

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        if not outcome.startswith(("accepted as raw", "accepted as qcow2")):
            return ""  # it landed unchanged for convert, which the other parser covers
        try:
            expected = reference.content(case.data)
        except reference.Unreadable:
            return "not read by the reference"
        form, out = case.options["format"], folder / "out"
        raw = folder / "expected.raw"
        raw.write_bytes(expected)
        if form == "raw" and out.read_bytes() != expected:
            raise Wrong("the landed disk does not match its tables")
        if form == "qcow2" and case.options["qemu"]:
            qemu.check(out, "qcow2")
            if not qemu.compare(out, "qcow2", raw, "raw"):
                raise Wrong("the landed disk does not match its tables")
        return _by_qemu(folder, out, form) if case.options["qemu"] else "same by the reference"


def _by_qemu(folder: Path, out: Path, form: str) -> str:
    try:
        same = qemu.compare(folder / "in.vmdk", "vmdk", out, form)
    except StepError:
        return "refused by qemu-img"
    if not same:
        raise Wrong("qemu-img reads another disk from the same bytes")
    return "same by qemu-img"


def _attempt(source: Path, case: Case, damaged: int) -> None:
    """An attempt that receives a damaged byte and leaves its state."""
    data = bytearray(case.data)
    data[damaged] ^= 0x55
    source.write_bytes(data)
    os.utime(source, ns=(0, 0))
    try:
        _land(source, case)
    except StepError:
        return
    for left in source.parent.glob("out*"):  # it was harmless: then there is nothing to resume
        left.unlink()


def _land(source: Path, case: Case) -> str:
    options = case.options
    return land(
        Source(f"file://{source}", format=options["source"]),
        source.with_name("out"),
        format=options["format"],
        capacity=None,
        report=lambda done, total: None,
        stop=Stop(),
    ).format


def _image(rng: random.Random) -> Image:
    """A disk of at most some dozen grains."""
    grain = rng.choice((8, 8, 16, 128, 128, 256))
    entries = rng.choice((2, 3, 64, 512))
    capacity = rng.choice((1, grain - 1, grain, rng.randrange(1, 24 * grain), grain * entries))
    capacity = min(capacity, 24 * grain)
    count, fill = -(-capacity // grain), rng.choice(_FILLS)
    numbers = [number for number in range(count) if rng.random() < fill]
    if rng.random() < 0.2:
        rng.shuffle(numbers)
    image = Image(
        capacity=capacity,
        grain=grain,
        entries=entries,
        tables_last=rng.random() < 0.5,
        items=[Grain(number, _body(rng, grain, capacity - number * grain)) for number in numbers],
        descriptor=sparse.DESCRIPTOR.format(capacity=capacity).encode(),
        padding=rng.choice((0, 0, 1, 20)),
    )
    if rng.random() < 0.3:
        image.zero_entries = frozenset(set(range(count)) - set(numbers))
    if image.tables_last:
        image.items += sparse.whole_tables(image)
    return image


def _body(rng: random.Random, grain: int, left: int) -> bytes:
    """A grain's content, compressed; the last one may be as short as the disk's end."""
    size = grain * sparse.SECTOR
    whole = (rng.randbytes(rng.choice((0, 100, size))) + rng.choice((b"", b"text" * 900)))[:size].ljust(
        size, b"\0"
    )
    short = left < grain and rng.random() < 0.5
    return sparse.compress(whole[: left * sparse.SECTOR] if short else whole, rng.choice((0, 1, 6)))


def _grains(image: Image) -> list[Grain]:
    return [item for item in image.items if isinstance(item, Grain)]


def _change_content(rng: random.Random, image: Image) -> None:
    """A grain whose compressed bytes are complete but wrong: too long, too short, of another kind."""
    grains = _grains(image)
    if not grains:
        return
    size = image.grain * sparse.SECTOR
    contents: tuple[Callable[[], bytes], ...] = (
        lambda: zlib.compress(bytes(size + 1)),
        lambda: zlib.compress(bytes(size - sparse.SECTOR)),
        lambda: _BOMB[: 2 * size],
        lambda: zlib.compress(b""),
        lambda: zlib.compress(rng.randbytes(size)),
        lambda: zlib.compress(bytes(size), wbits=-15),
        lambda: zlib.compress(bytes(size), wbits=31),
        lambda: zlib.compress(bytes(size)) + b"trailing",
        lambda: zlib.compress(bytes(size))[:-4] + b"adle",
        lambda: b"",
        lambda: rng.randbytes(40),
        lambda: _with_dictionary(bytes(size)),
    )
    rng.choice(grains).body = rng.choice(contents)()


def _with_dictionary(content: bytes) -> bytes:
    packer = zlib.compressobj(zdict=b"dictionary")
    return packer.compress(content) + packer.flush()


def _change_record(rng: random.Random, image: Image) -> None:
    """A record that declares another value for itself; its table entry is adapted or not."""
    grains = _grains(image)
    if grains:
        item = rng.choice(grains)
        item.number = rng.choice((item.number + 1, item.number - 1, rng.randrange(30), 1 << 40, item.number))
        item.number = max(0, item.number)
        item.size = rng.choice((None, None, 1, len(item.body) - 1, len(item.body) + 1, 0xFFFFFFFF))
        item.declared = rng.random() < 0.7


def _reorder(rng: random.Random, image: Image) -> None:
    """Lose, double or move records; every pointer fits."""
    items = image.items
    if items:
        at = rng.randrange(len(items))
        item = items.pop(at)
        if rng.random() < 0.6:
            items.insert(rng.randrange(len(items) + 1), item)
        if rng.random() < 0.4:
            items.insert(rng.randrange(len(items) + 1), replace(item))


def _change_marker(rng: random.Random, image: Image) -> None:
    """Change a marker's kind or size, or add one."""
    markers = [item for item in image.items if isinstance(item, Marker)]
    if markers and rng.random() < 0.7:
        item = rng.choice(markers)
        item.sectors = rng.choice((None, 0, 1, 2, 5, 1 << 31, (1 << 64) - 1))
        item.kind = rng.choice((item.kind, 0, 1, 2, 3, 4, 99))
    else:
        new = Marker(rng.choice((0, 1, 2, 3, 7)), rng.randrange(image.tables))
        image.items.insert(rng.randrange(len(image.items) + 1), new)


def _change_header(rng: random.Random, image: Image) -> None:
    """Change the header and the footer in the same way."""
    change = rng.choice(("capacity", "grain", "entries", "flags", "compression", "version"))
    if change == "capacity":
        image.capacity = rng.choice((image.capacity + 1, max(1, image.capacity - 1), image.capacity * 2, 1))
    elif change == "grain":
        image.grain = rng.choice((4, 8, 12, 128, 256, 8192))
    elif change == "entries":
        image.entries = rng.choice((1, 2, 511, 512, 513))
    elif change == "flags":
        image.flags ^= 1 << rng.choice((0, 1, 2, 16, 17, 31))
    elif change == "compression":
        image.compression = rng.choice((0, 2, 65535))
    else:
        image.version = rng.choice((0, 1, 2, 4))


def _change_descriptor(rng: random.Random, image: Image) -> None:
    text = rng.choice(_DESCRIPTORS)
    image.descriptor = rng.choice((text, image.descriptor + text, text + image.descriptor))


def _change_layout(rng: random.Random, image: Image) -> None:
    """The other layout's header over the same items."""
    image.tables_last = not image.tables_last
    image.padding = rng.choice((0, 3, 2048))


_CHANGES: Final[tuple[Callable[[random.Random, Image], None], ...]] = (
    _change_content,
    _change_record,
    _reorder,
    _change_marker,
    _change_header,
    _change_descriptor,
    _change_layout,
)
