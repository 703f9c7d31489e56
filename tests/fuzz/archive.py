"""Tar archives as models: ustar, GNU and pax members, with any field wrong and a correct checksum.

Offsets and forms are those of POSIX.1-2017, pax, "ustar Interchange Format", and GNU tar's tar.h.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

BLOCK: Final = 512
_NAME, _MODE, _SIZE, _SUM, _TYPE, _LINK, _MAGIC, _PREFIX = (
    slice(0, 100),
    slice(100, 108),
    slice(124, 136),
    slice(148, 156),
    slice(156, 157),
    slice(157, 257),
    slice(257, 265),
    slice(345, 500),
)
NAMES: Final = (
    b"../canary/secret",
    b"/etc/hostname",
    b"a/../../canary/secret",
    b"..",
    b".",
    b"",
    b"./machine.ovf",
    b"\xff\xfe\x1b[31m.ovf",
    b"x" * 100,
    b"machine.ovf",
    b"disk.vmdk\0.ovf",
)
KINDS: Final = (
    b"0",
    b"\0",
    b"1",
    b"2",
    b"3",
    b"4",
    b"5",
    b"6",
    b"7",
    b"D",
    b"K",
    b"L",
    b"M",
    b"S",
    b"V",
    b"g",
    b"x",
    b"Z",
)
PAX: Final = (
    (b"size", (b"0", b"-1", b"99999999999999999999", b"1e3", b"", b"12 ")),
    (b"path", NAMES),
    (b"linkpath", NAMES),
    (b"GNU.sparse.major", (b"1", b"0")),
    (b"GNU.sparse.realsize", (b"1099511627776",)),
    (b"hdrcharset", (b"BINARY",)),
    (b"comment", (b"x" * 3000,)),
)


@dataclass
class Member:
    """A file in the archive. `size` is the size in its header; `extra` are members in front of it."""

    name: bytes
    data: bytes
    kind: bytes = b"0"
    size: int | None = None
    base256: bool = False
    magic: bytes = b"ustar\x0000"
    link: bytes = b""
    extra: list[Member] = field(default_factory=list)
    raw: dict[int, bytes] = field(default_factory=dict)
    """Bytes of the header by offset, written last before the checksum."""
    checksum: bytes | None = None


def write(members: list[Member], ends: int = 2) -> bytes:
    """The archive, with `ends` empty blocks after it."""
    return b"".join(map(_member, members)) + bytes(BLOCK * ends)


def _member(member: Member) -> bytes:
    header = bytearray(BLOCK)
    size = len(member.data) if member.size is None else member.size
    name, prefix = member.name, b""
    if len(name) > 100 and b"/" in name[-101:]:
        cut = len(name) - 101 + name[-101:].index(b"/")
        prefix, name = name[:cut], name[cut + 1 :]
    _put(header, _NAME, name)
    _put(header, _PREFIX, prefix)
    _put(header, _LINK, member.link)
    _put(header, _MODE, b"0000644\0")
    _put(header, _SIZE, _number(size, base256=member.base256))
    _put(header, _TYPE, member.kind)
    _put(header, _MAGIC, member.magic)
    for at, raw in member.raw.items():
        header[at : at + len(raw)] = raw
    header[_SUM] = b" " * 8
    header[_SUM] = b"%06o\0 " % sum(header) if member.checksum is None else member.checksum[:8].ljust(8)
    return b"".join(map(_member, member.extra)) + bytes(header[:BLOCK]) + _padded(member.data)


def _put(header: bytearray, where: slice, content: bytes) -> None:
    width = where.stop - where.start
    header[where] = content[:width].ljust(width, b"\0")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def _number(size: int, *, base256: bool) -> bytes:
    if base256 or not 0 <= size < 1 << 33:
        return b"\x80" + (size % (1 << 88)).to_bytes(11, "big")
    return b"%011o\0" % size


def pax(kind: bytes, *records: tuple[bytes, bytes]) -> Member:
    """A pax header: of the next member (`x`) or of all (`g`)."""
    text = b""
    for key, value in records:
        length = len(key) + len(value) + 3
        while len(b"%d" % length) + len(key) + len(value) + 3 != length:
            length = len(b"%d" % length) + len(key) + len(value) + 3
        text += b"%d %s=%s\n" % (length, key, value)
    return Member(b"././@PaxHeader", text, kind)


def long_name(name: bytes) -> Member:
    """GNU tar's form of names with more than 100 bytes."""
    return Member(b"././@LongLink", name + b"\0", b"L", magic=b"ustar  \0")


def _size(rng: random.Random, members: list[Member], member: Member) -> None:
    size = len(member.data)
    member.size = rng.choice((0, 1, size + 1, size - 1, size + BLOCK, 1 << 33, 1 << 62, (1 << 88) - 1, -1))
    member.base256 = rng.random() < 0.5


def _kind(rng: random.Random, members: list[Member], member: Member) -> None:
    member.kind = rng.choice(KINDS)
    member.link = rng.choice(NAMES)


def _name(rng: random.Random, members: list[Member], member: Member) -> None:
    member.name = rng.choice(NAMES)


def _pax(rng: random.Random, members: list[Member], member: Member) -> None:
    key, values = rng.choice(PAX)
    # Defaults for all members are ignored, whatever they contain: no tool writes such sizes and names there.
    kind = b"g" if key in {b"comment", b"hdrcharset"} and rng.random() < 0.5 else b"x"
    header = pax(kind, (key, rng.choice(values)))
    header.data = rng.choice(
        (header.data, header.data[1:], b"9" * 30 + header.data, header.data[:-1], b"5 \n")
    )
    member.extra.append(header)


def _long(rng: random.Random, members: list[Member], member: Member) -> None:
    header = long_name(rng.choice((*NAMES, b"d/" * 3000)))
    header.size = rng.choice((None, None, 0, 1 << 40))
    member.extra.append(header)


def _field(rng: random.Random, members: list[Member], member: Member) -> None:
    """Change bytes in a field with a correct checksum; sometimes only the checksum."""
    if rng.random() < 0.3:
        member.checksum = rng.choice((b"", b"0", b"zzzzzzzz", b"7" * 8, b"\x80" * 8))
    else:
        member.raw[rng.choice((0, 100, 124, 124, 124, 136, 156, 257, 263, 345))] = rng.choice(
            (
                b"\xff" * 12,
                b"99999999999\0",
                b"-0000000001\0",
                b" 1 2\0",
                b"\0" * 12,
                b"1_0\0",
                rng.randbytes(8),
            )
        )


def _order(rng: random.Random, members: list[Member], member: Member) -> None:
    """Lose, double or move members."""
    members.remove(member)
    for _ in range(rng.choice((0, 1, 2))):
        members.insert(rng.randrange(len(members) + 1), member)


def _many(rng: random.Random, members: list[Member], member: Member) -> None:
    members += [Member(b"%d" % number, b"") for number in range(rng.choice((*[30] * 60, 20_001)))]


CHANGES: Final[tuple[Callable[[random.Random, list[Member], Member], None], ...]] = (
    _size,
    _kind,
    _name,
    _pax,
    _long,
    _field,
    _order,
    _many,
)
"""Each changes one of `members`, or their order."""
