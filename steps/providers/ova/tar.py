"""The places of a tar's members, read from their headers: POSIX ustar and pax, GNU's long names and sizes.

    │ header 512 │ content, padded to 512 │ header │ content … │ 1024 zero bytes │

(IEEE Std 1003.1, pax, "ustar Interchange Format" and "pax Interchange Format"; GNU tar manual, "Basic Tar
Format".) Python's tarfile reads any sizes that a header has, and tolerates damage.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from steps.disk.faults import corruption_fault
from steps.model.contract import Exit, StepError
from steps.providers.ova import names
from steps.providers.ova.names import NameIndex, checked_name
from steps.providers.ova.reader import FileReader

BLOCK: Final = 512
MAX_SKIP_BYTES: Final = 1 << 20
"""Most bytes that are skipped to find a member if that means a download."""
_MAX_MEMBERS: Final = 20_000
"""An OVA has some files for each disk; a disk of 1 TiB in pieces of 100 MB has 10,000."""
_MAX_EXTENSION_BYTES: Final = 1 << 16
"""Bytes of a pax header or a long name: a path of 4096 bytes is long."""
_HEADER: Final = struct.Struct("100s 8s 8s 8s 12s 12s 8s c 100s 8s 32s 32s 8s 8s 155s 12x")
_REGULAR: Final = (b"0", b"\0", b"7")
_EXTENSIONS: Final = {b"x": "pax", b"L": "name", b"g": "pax defaults", b"K": "link name"}
"""Records about the next member, in any order."""
_LABEL: Final = b"V"
_REFUSED_KINDS: Final = {
    b"1": "a link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"S": "a sparse file",
    b"M": "a piece of a file of another volume",
    b"D": "a dump of a folder",
}
_Value = TypeVar("_Value", bytes, int)
_PAX: Final = re.compile(rb"(\d{1,6}) ([^=]{1,256})=")


@dataclass(frozen=True)
class Member:
    """A file in the tar: the place of its content in bytes."""

    name: str
    offset: int
    length: int


@dataclass(frozen=True)
class _Header:
    name: bytes
    size: int
    kind: bytes


class Tar:
    """The members of a tar, read on demand."""

    def __init__(self, reader: FileReader) -> None:
        self.reader = reader
        self._members: dict[str, Member] = {}
        self._by_key: dict[str, Member] = {}
        """The first member of each key of `names.match_key`."""
        self._index: NameIndex | None = None
        self._unread_members = self._walk()
        self._fault: StepError | None = None
        self._position = 0
        self._next_size = 0

    def find(self, matches: Callable[[str], bool], *, full_scan: bool = True) -> Member | None:
        """The first member whose name matches; without `full_scan`, only if nothing large has to be skipped.

        Raises:
            StepError: INVALID if this is not a tar, CORRUPT or UNSUPPORTED for one that cannot be used.
        """
        for member in self._members.values():
            if matches(member.name):
                return member
        return self._walk_to(matches, full_scan=full_scan)

    def find_spelling(self, name: str, *, full_scan: bool = True) -> Member | None:
        """As `find`, by `names.match_key`, without a walk over the known members: there may be thousands."""
        key = names.match_key(name)
        known = self._by_key.get(key)
        return known or self._walk_to(lambda other: names.match_key(other) == key, full_scan=full_scan)

    def member(self, name: str) -> Member:
        """The member of exactly that name. Raises KeyError."""
        return self._members[name]

    def _walk_to(self, matches: Callable[[str], bool], *, full_scan: bool) -> Member | None:
        """The first member that matches among those whose headers were not read yet."""
        while full_scan or self.reader.file.supports_range or self._next_size <= MAX_SKIP_BYTES:
            next_member = self._next()
            if next_member is None or matches(next_member.name):
                return next_member
        return None

    def _next(self) -> Member | None:
        """The next member. What was wrong once is so again: a walk that failed is not one at its end."""
        if self._fault is not None:
            raise self._fault
        try:
            return next(self._unread_members, None)
        except StepError as error:
            self._fault = error
            raise

    def names(self) -> list[str]:
        """All members' names, after reading every header. Raises StepError as `find`."""
        self._walk_to(lambda _: False, full_scan=True)
        return list(self._members)

    def name_index(self) -> NameIndex:
        """All members' names, as `names`."""
        if self._index is None:
            self._index = NameIndex(self.names())
        return self._index

    def read(self, member: Member, limit: int) -> bytes:
        """A member's content.

        Raises:
            StepError: CORRUPT, if it is larger than `limit`, or truncated.
        """
        if member.length > limit:
            raise corruption_fault(
                f"{member.name} in {self._name} is too large", f"{member.length} bytes, not {limit}"
            )
        return self._read_exactly(member.offset, member.length)

    @property
    def _name(self) -> str:
        return self.reader.file.display_url

    def _walk(self) -> Iterator[Member]:
        """Go from header to header; each member is recorded before it is yielded."""
        path, size = None, None
        for _ in range(_MAX_MEMBERS):
            header, start = self._header(), self._position + BLOCK
            if header is None:
                return
            if header.kind in _EXTENSIONS:
                path, size = self._read_extension(header, start, path, size)
                self._position = start + _padded(header.size)
                continue
            length = header.size if size is None else size
            name = header.name if path is None else path
            self._skip_member(start, length, header.kind)
            path = size = None
            if header.kind in _REGULAR and not name.endswith(b"/"):
                yield self._add_member(name, start, length)
        raise corruption_fault(
            f"{self._name} has more than {_MAX_MEMBERS} files", "an OVA has only a few per disk"
        )

    def _header(self) -> _Header | None:
        """The next header; None at the end of the tar."""
        block = self.reader.read(self._position, BLOCK)
        if not block.strip(b"\0") and (self._position or len(block) == BLOCK):
            if not self._position:
                raise not_a_tar(self._name, block)
            # Two zero blocks by the standard; some writers leave out one, or both.
            after = self.reader.read(self._position + BLOCK, BLOCK)
            if after.strip(b"\0") and len(after) == BLOCK and _is_checksum_valid(after):
                raise self._damage("it is empty, and files follow it")
            return None
        if len(block) < BLOCK or not _is_checksum_valid(block):
            raise self._damage("its checksum is wrong") if self._position else not_a_tar(self._name, block)
        fields = _HEADER.unpack(block)
        name, size, kind, magic, prefix = fields[0], fields[4], fields[7], fields[9], fields[14]
        name = name.partition(b"\0")[0]
        prefix = prefix.partition(b"\0")[0] if magic.startswith(b"ustar\0") else b""
        return _Header(prefix + b"/" + name if prefix else name, self._parse_number(size), kind)

    def _parse_number(self, field: bytes) -> int:
        """Octal digits, or GNU's base 256 marked by the first bit."""
        if field[0] == 0x80:
            return int.from_bytes(field[1:], "big")
        digits = field.strip(b" \0")
        if not re.fullmatch(rb"[0-7]{1,12}", digits):
            raise self._damage("its size is not a number")
        return int(digits, 8)

    def _read_extension(
        self, header: _Header, start: int, path: bytes | None, size: int | None
    ) -> tuple[bytes | None, int | None]:
        """Name and size of the next member, from a record before it."""
        if header.size > _MAX_EXTENSION_BYTES:
            raise self._damage(f"{header.size} bytes for a {_EXTENSIONS[header.kind]} record")
        content = self._read_exactly(start, header.size)
        if header.kind == b"K":
            return path, size
        if header.kind == b"L":
            return self._merge(path, content.partition(b"\0")[0], "name"), size
        values = self._pax(content)
        if any(key.startswith(b"GNU.sparse.") for key in values):
            raise self._refusal(values.get(b"path", b""), "a sparse file")
        if header.kind == b"g":
            if values.keys() & {b"path", b"size"}:
                raise self._damage("it sets one name or size for all files")
            return path, size
        if b"size" in values:
            if not re.fullmatch(rb"\d{1,18}", values[b"size"]):
                raise self._damage("its size is not a number")
            size = self._merge(size, int(values[b"size"]), "size")
        return self._merge(path, values.get(b"path"), "name"), size

    def _merge(self, earlier: _Value | None, later: _Value | None, what: str) -> _Value | None:
        """The merged records before a file: with two names, readers would choose different ones."""
        if earlier is not None and later is not None and earlier != later:
            raise self._damage(f"it sets a second {what} for the next file")
        return earlier if later is None else later

    def _pax(self, content: bytes) -> dict[bytes, bytes]:
        """Records: LENGTH KEY=VALUE and a newline, where the length counts all of it."""
        values, position = {}, 0
        while position < len(content.rstrip(b"\0")):
            match = _PAX.match(content, position)
            end = position + int(match[1]) if match else 0
            if match is None or not match.end() < end <= len(content) or content[end - 1 : end] != b"\n":
                raise self._damage("its pax record is damaged")
            values[match[2]] = content[match.end() : end - 1]
            position = end
        return values

    def _skip_member(self, start: int, length: int, kind: bytes) -> None:
        """Skip a member, which must be within the file."""
        size = self.reader.file.size
        if size is not None and start + length > size:
            raise corruption_fault(
                f"{self._name} is truncated",
                f"the file at byte {start} has {length} bytes, and the archive ends at byte {size}",
                "get a new copy from where it was made",
            )
        self._next_size = length
        self._position = start + _padded(length)
        if kind in _REFUSED_KINDS:
            raise self._refusal(b"", _REFUSED_KINDS[kind])
        if kind not in (*_REGULAR, _LABEL, b"5"):
            raise self._refusal(b"", "of an unknown kind")

    def _add_member(self, name: bytes, start: int, length: int) -> Member:
        text = checked_name(name.decode(errors="surrogateescape"), self._name)
        if text in self._members:
            raise corruption_fault(f"{self._name} has {text} twice", "it is not clear which one is meant")
        self._members[text] = member = Member(text, start, length)
        self._by_key.setdefault(names.match_key(text), member)
        return member

    def _read_exactly(self, offset: int, count: int) -> bytes:
        content = self.reader.read(offset, count)
        if len(content) < count:
            raise corruption_fault(f"{self._name} is truncated", f"it ends at byte {offset + len(content)}")
        return content

    def _damage(self, why: str) -> StepError:
        return corruption_fault(
            f"the tar header at byte {self._position} of {self._name} is damaged",
            why,
            "get a new copy of the archive from where it was made",
        )

    def _refusal(self, name: bytes, what: str) -> StepError:
        return StepError(
            Exit.UNSUPPORTED,
            f"{self._name} is refused",
            f"{name.decode(errors='replace') or 'a member'} before byte {self._position} is {what}",
            "an OVA holds plain files only: pack it again",
        )


_OTHER_KINDS: Final = (
    # First bytes, what such a file is, and what to do.
    (b"\x1f\x8b", "it is compressed by gzip", "unpack it: `gunzip -c FILE > MACHINE.ova`"),
    (b"\xfd7zXZ\0", "it is compressed by xz", "unpack it: `xz -dc FILE > MACHINE.ova`"),
    (b"\x28\xb5\x2f\xfd", "it is compressed by zstd", "unpack it: `zstd -dc FILE > MACHINE.ova`"),
    (b"BZh", "it is compressed by bzip2", "unpack it: `bzip2 -dc FILE > MACHINE.ova`"),
    (b"PK\3\4", "it is a zip file", "unpack it (`unzip FILE`)"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7-Zip file", "unpack it (`7z x FILE`)"),
    (b"Rar!\x1a\7", "it is a rar file", "unpack it (`unrar x FILE`)"),
    (b"KDMV", "it is a VMDK, a disk without a VM", ""),
    (b"# Disk DescriptorFile", "it is a VMDK, a disk without a VM", ""),
    (b"QFI\xfb", "it is a qcow2 image, a disk without a VM", ""),
    (b"vhdxfile", "it is a VHDX, a disk without a VM", ""),
    (b"conectix", "it is a VHD, a disk without a VM", ""),
)
_WEB_PAGES: Final = (b"<!doctype html", b"<html")


def not_a_tar(name: str, head: bytes) -> StepError:
    """The error for a file that is not an archive."""
    remedy = "use the URL of an .ova or an .ovf file"
    for magic, why, first in _OTHER_KINDS:
        if head.startswith(magic):
            return StepError(
                Exit.INVALID, f"{name} is not an OVA", why, f"{first}, then {remedy}" if first else remedy
            )
    # Never its bytes: a message must not show what an address inside the cluster answers.
    why = "it does not begin with a tar header" if head.strip(b"\0") else "it is empty"
    if head.lstrip()[:64].lower().startswith(_WEB_PAGES):
        why = "it is a web page"
    return StepError(Exit.INVALID, f"{name} is not an OVA", why, remedy)


def _is_checksum_valid(block: bytes) -> bool:
    """The header's checksum: the sum of its bytes, its own field taken as blanks; some summed signed ones."""
    digits = block[148:156].strip(b" \0")
    if not re.fullmatch(rb"[0-7]{1,8}", digits):
        return False
    rest = block[:148] + b" " * 8 + block[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in rest)
    return int(digits, 8) in (sum(rest), signed)


def _padded(length: int) -> int:
    return -(-length // BLOCK) * BLOCK
