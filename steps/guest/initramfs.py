"""Which kernel modules an initramfs contains. Its bytes are the guest's: every size is bounded.

An initramfs is a sequence of cpio archives in the "newc" format; each may be compressed as a whole (kernel
Documentation/driver-api/early-userspace/buffer-format.rst). Only the names of its files count here.
"""

from __future__ import annotations

import bz2
import contextlib
import lzma
import re
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

MOST_BYTES: Final = 4 << 30
"""Bytes of all archives in an initramfs, unpacked; the largest ones of distributions have 400 MB."""
MOST_FILES: Final = 200_000
LONGEST_NAME: Final = 4096
"""PATH_MAX."""
Read = Callable[[int], bytes]
"""Reads at most so many bytes; none at the end."""
_CHUNK: Final = 1 << 20
_PACKED: Final = 64 << 10
_MEMORY: Final = 256 << 20
"""Most memory for a decompressor; `xz -9` needs 65 MiB."""
_HEADER: Final = 110
"""The magic, and 13 numbers of 8 hexadecimal digits."""
_SIZE: Final = slice(54, 62)
_NAME_SIZE: Final = slice(94, 102)
_CPIO: Final = (b"070701", b"070702")
_DIGITS: Final = re.compile(rb"[0-9A-Fa-f]{8}")
_TRAILER: Final = "TRAILER!!!"
_PROGRAMS: Final = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x02\x21\x4c\x18": "lz4",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x89LZO": "lzop",
}
"""Formats that the standard library cannot read, with the program that can."""


class UnreadableError(Exception):
    """The file is no initramfs, is damaged, or exceeds a bound."""


def modules(path: Path) -> set[str]:
    """The names of the kernel modules in an initramfs, with `_` for `-`.

    Raises:
        UnreadableError: with the reason, for a person.
    """
    with path.open("rb") as file:
        try:
            return {name for name in map(_module, _names(_Source(file.read), can_be_packed=True)) if name}
        except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError, MemoryError) as error:
            raise UnreadableError(f"it is damaged: {error}") from None


def _module(name: str) -> str:
    """The module of a file `kernel/…/virtio-blk.ko.xz`: `virtio_blk`; "" for another file."""
    file = name.rpartition("/")[2]
    stem, dot, rest = file.partition(".ko")
    return stem.replace("-", "_") if dot and rest in {"", ".gz", ".xz", ".zst"} else ""


class _Source:
    """Bytes to read in order, whatever they are packed in; counts what it returns."""

    def __init__(self, read: Read) -> None:
        self._more = read
        self._ahead = b""
        self.position = 0

    def read(self, count: int) -> bytes:
        """`count` bytes, fewer at the end."""
        found = self._ahead[:count]
        self._ahead = self._ahead[count:]
        while len(found) < count and (more := self._more(min(count - len(found), _CHUNK))):
            found += more
        self.position += len(found)
        if self.position > MOST_BYTES:
            raise UnreadableError(f"it has more than {MOST_BYTES >> 30} GiB unpacked")
        return found

    def peek(self, count: int) -> bytes:
        found = self.read(count)
        self._ahead = found + self._ahead
        self.position -= len(found)
        return found

    def skip(self, count: int) -> None:
        while count > 0:
            some = len(self.read(min(count, _CHUNK)))
            if not some:
                raise UnreadableError("it is cut short")
            count -= some

    def skip_zeros(self) -> None:
        """Skip the padding between two archives."""
        while (block := self.peek(512)) and not any(block):
            self.skip(len(block))
        self.skip(len(block) - len(block.lstrip(b"\0")))


def _names(source: _Source, *, can_be_packed: bool) -> Iterator[str]:
    """The names in all archives. The kernel unpacks nothing that is packed twice, and a bomb would be."""
    count = 0
    while True:
        source.skip_zeros()
        magic = source.peek(6)
        if not magic:
            return
        if magic not in _CPIO and not can_be_packed:
            raise UnreadableError("it is packed twice, or damaged")
        names = _archive(source) if magic in _CPIO else _packed(source, magic)
        for name in names:
            count += 1
            if count > MOST_FILES:
                raise UnreadableError(f"it has more than {MOST_FILES} files")
            yield name
        if magic not in _CPIO:
            return  # the kernel unpacks nothing behind it that a distribution puts there


def _archive(source: _Source) -> Iterator[str]:
    """The names in one archive, until its trailer."""
    while True:
        start = source.position
        header = source.read(_HEADER)
        if len(header) < _HEADER:
            raise UnreadableError("it is cut short")
        if header[:6] not in _CPIO:
            raise UnreadableError("an archive in it is damaged")
        size, length = (_number(header[place]) for place in (_SIZE, _NAME_SIZE))
        if not 0 < length <= LONGEST_NAME:
            raise UnreadableError("a name in it is too long")
        name = source.read(length).rstrip(b"\0").decode(errors="replace")
        source.skip(-(source.position - start) % 4)
        if name == _TRAILER:
            return
        source.skip(size + -size % 4)
        yield name


def _number(digits: bytes) -> int:
    """Eight hexadecimal digits; `int` alone would also take signs and underscores."""
    if not _DIGITS.fullmatch(digits):
        raise UnreadableError("a number in it is damaged")
    return int(digits, 16)


def _packed(source: _Source, magic: bytes) -> Iterator[str]:
    """The names in the archives of a compressed rest."""
    if magic.startswith(b"\x1f\x8b"):
        yield from _unpacked_names(_Source(_inflated(source)))
    elif magic.startswith(b"\xfd7zXZ\0"):
        yield from _unpacked_names(_Source(_unpacked(source, lzma.LZMADecompressor(memlimit=_MEMORY))))
    elif magic.startswith(b"]\0\0"):
        yield from _unpacked_names(
            _Source(_unpacked(source, lzma.LZMADecompressor(lzma.FORMAT_ALONE, _MEMORY)))
        )
    elif magic.startswith(b"BZh"):
        yield from _unpacked_names(_Source(_unpacked(source, bz2.BZ2Decompressor())))
    elif program := _PROGRAMS.get(magic[:4]):
        yield from _by_program(source, program)
    else:
        raise UnreadableError("its format is unknown")


def _unpacked_names(source: _Source) -> Iterator[str]:
    return _names(source, can_be_packed=False)


def _inflated(source: _Source) -> Read:
    """Reads gzip; never more than `_CHUNK` at once, so that a bomb fills no memory."""
    inflate = zlib.decompressobj(wbits=31)

    def read(count: int) -> bytes:
        while not inflate.eof:
            packed = inflate.unconsumed_tail or source.read(_PACKED)
            found = inflate.decompress(packed, min(count, _CHUNK))
            if found or not packed:
                return found
        return b""

    return read


def _unpacked(source: _Source, decompressor: lzma.LZMADecompressor | bz2.BZ2Decompressor) -> Read:
    """The same for xz, lzma and bzip2."""

    def read(count: int) -> bytes:
        while not decompressor.eof:
            packed = source.read(_PACKED) if decompressor.needs_input else b""
            if decompressor.needs_input and not packed:
                return b""
            if found := decompressor.decompress(packed, min(count, _CHUNK)):
                return found
        return b""

    return read


def _by_program(source: _Source, program: str) -> Iterator[str]:
    """Unpack by a program."""
    if shutil.which(program) is None:
        raise UnreadableError(f"the program {program} is missing; install the package {program}")
    with contextlib.ExitStack() as stack:
        packed = stack.enter_context(_copied(source))
        process = stack.enter_context(
            subprocess.Popen(
                [program, "-dc"], stdin=packed, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        )
        stack.callback(process.kill)
        assert process.stdout is not None  # noqa: S101 - it was opened as a pipe
        yield from _unpacked_names(_Source(process.stdout.read))


@contextlib.contextmanager
def _copied(source: _Source) -> Iterator[IO[bytes]]:
    """The rest of a source as a file, which another program can read."""
    with tempfile.TemporaryFile() as file:
        while chunk := source.read(_CHUNK):
            file.write(chunk)
        file.seek(0)
        yield file
