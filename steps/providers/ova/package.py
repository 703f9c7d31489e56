"""A package: a tar, or a descriptor with its files next to it. Maps names to bytes and sources."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote, unquote, urljoin, urlsplit

from steps.disk.faults import corruption_fault
from steps.disk.source import Source
from steps.model.contract import Exit, StepError
from steps.providers import Access
from steps.providers.ova import names, place
from steps.providers.ova.address import Address, origin
from steps.providers.ova.markup import MOST_BYTES
from steps.providers.ova.names import checked
from steps.providers.ova.place import Place, Reach
from steps.providers.ova.reader import Reader
from steps.providers.ova.tar import Member, Tar

_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
"""Byte order marks of UTF-8 and UTF-16."""


class Package(Protocol):
    """The place of a VM's files."""

    shown: str
    """The URL for errors, without secrets."""
    version: str
    ranged: bool
    """Whether a file can be read without reading all those before it."""

    def descriptor(self) -> tuple[str, bytes]:
        """Name and content of the descriptor. Raises StepError."""

    def names(self, *, far: bool) -> list[str] | None:
        """The names of all files; None if they cannot be listed, or are not near without `far`."""

    def has(self, name: str) -> bool | None:
        """Whether there is such a file; None if searching for it would take too long."""

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where that is not known, or would take too long to find out."""

    def read(self, name: str, most: int, *, far: bool = True) -> bytes | None:
        """The content of a small file; None if it is missing, or not near without `far`."""

    def peek(self, name: str, count: int, offset: int = 0) -> bytes:
        """Bytes of a file; empty if searching for it would take too long."""

    def source(self, name: str) -> Source:
        """A file to be landed. Raises StepError: NOT_FOUND."""


@contextlib.contextmanager
def open_package(access: Access) -> Iterator[Package]:
    """Open the URL of a source, and detect the kind of package.

    Raises:
        StepError: the errors of a server; INVALID if it is not a package.
    """
    address = Address.parse(access.plan.endpoint)
    reach = Reach.read(access.plan, access.credentials, address, access.stop)
    at = place.find(_descriptor_in(address), reach)
    if _is_markup(at.head):
        yield Folder(Address(at.url), at, reach)
        return
    with contextlib.closing(Reader(at, access.stop)) as reader:
        yield Archive(reader)


def _descriptor_in(address: Address) -> Address:
    """The only descriptor in a local folder; else the given address."""
    folder = address.path
    if folder is None or not folder.is_dir():
        return address
    found = sorted(path for path in folder.iterdir() if _is_descriptor(path.name))
    if len(found) == 1:
        return Address.parse(str(found[0].absolute()))
    if found:
        raise _several(str(folder), [path.name for path in found], "name the .ovf file")
    raise StepError(Exit.NOT_FOUND, f"{folder} is not a package", "it has no .ovf file")


def _is_descriptor(name: str) -> bool:
    return names.is_a(name, ".ovf")


def _several(where: str, names: Iterable[str], remedy: str) -> StepError:
    return StepError(
        Exit.AMBIGUOUS, f"{where} is not one package", f".ovf files in it: {', '.join(names)}", remedy
    )


def _is_markup(head: bytes) -> bool:
    """Whether a file is XML and no web page, such as a form to log in with."""
    if head.startswith(_MARKS[1:]):
        return True
    return _start(head).startswith(b"<") and not _is_page(head)


def _is_page(head: bytes) -> bool:
    """Whether a file is a web page. Some servers send one, with status 200, for a file that is not there."""
    return _start(head).startswith((b"<!doctype html", b"<html"))


def _start(head: bytes) -> bytes:
    return head.removeprefix(_MARKS[0]).lstrip()[:64].lower()


class Archive:
    """A tar; the descriptor should be first in it (DSP0243, 6.4), but may be elsewhere."""

    def __init__(self, reader: Reader) -> None:
        self.shown = reader.place.shown
        self.version = reader.place.version
        self.ranged = reader.place.ranged
        self._tar = Tar(reader)

    def descriptor(self) -> tuple[str, bytes]:
        """As in the protocol; if searching is cheap, there must be no second one, and no file twice."""
        member = self._tar.find(_is_descriptor)
        if member is None:
            raise StepError(
                Exit.INVALID,
                f"{self.shown} is not an OVA",
                "it has no .ovf file",
                "pack it again with an .ovf file",
            )
        if self.ranged:
            found = [name for name in self._tar.names() if _is_descriptor(name)]
            if len(found) > 1:
                raise _several(
                    self.shown, found, "pack it again with one .ovf file, or use the URL of an .ovf file"
                )
        return member.name, self._tar.read(member, MOST_BYTES)

    def names(self, *, far: bool) -> list[str] | None:
        return self._tar.names() if self.ranged or far else None

    def has(self, name: str) -> bool | None:
        if self._find(name, far=False) is not None:
            return True
        return False if self.ranged else None

    def size(self, name: str) -> int | None:
        member = self._find(name, far=False)
        return None if member is None else member.length

    def read(self, name: str, most: int, *, far: bool = True) -> bytes | None:
        member = self._find(name, far=far)
        return None if member is None else self._tar.read(member, most)

    def peek(self, name: str, count: int, offset: int = 0) -> bytes:
        member = self._find(name, far=False) if self.ranged else None
        if member is None or offset >= member.length:
            return b""
        return self._tar.reader.read(member.offset + offset, min(count, member.length - offset))

    def source(self, name: str) -> Source:
        member = self._find(name, far=True)
        if member is None:
            raise missing(name, self.shown)
        return _known(self._tar.reader.place, member.offset, member.length, name)

    def _find(self, name: str, *, far: bool) -> Member | None:
        wanted = names.key(inside(name))
        member = self._tar.find(lambda other: names.key(other) == wanted, far=far)
        if member is None or member.name == name or not (self.ranged or far):
            return member
        found = names.find(name, self._tar.names(), self.shown)  # an exact match takes precedence
        return self._tar.find(lambda other: other == found)


class Folder:
    """Files next to a descriptor, on a server or in a local folder."""

    def __init__(self, address: Address, at: Place, reach: Reach) -> None:
        self.shown = at.shown
        self.version = at.version
        self.ranged = True
        self._address = address
        self._at = at
        self._reach = reach
        self._places: dict[str, Place | None] = {}

    def descriptor(self) -> tuple[str, bytes]:
        name = unquote(urlsplit(self._address.url).path.rpartition("/")[2]) or "the descriptor"
        return name, self._content(self._at, name, MOST_BYTES)

    def names(self, *, far: bool) -> list[str] | None:
        del far
        folder = self._address.path
        return None if folder is None else sorted(path.name for path in folder.parent.iterdir())

    def has(self, name: str) -> bool | None:
        return self._place(name) is not None

    def size(self, name: str) -> int | None:
        at = self._place(name)
        return None if at is None else at.size

    def read(self, name: str, most: int, *, far: bool = True) -> bytes | None:
        del far
        at = self._place(name)
        return None if at is None else self._content(at, name, most)

    def peek(self, name: str, count: int, offset: int = 0) -> bytes:
        at = self._place(name)
        if at is None or offset + count <= len(at.head):
            return b"" if at is None else at.head[offset : offset + count]
        if not at.ranged or (at.size is not None and offset >= at.size):
            return at.head[offset : offset + count]
        with contextlib.closing(Reader(at, self._reach.stop)) as reader:
            return reader.read(offset, count)

    def source(self, name: str) -> Source:
        at = self._place(name)
        if at is None:
            raise missing(name, self.shown)
        return _known(at, 0, at.size if self._address.path else None, name)

    def _content(self, at: Place, name: str, most: int) -> bytes:
        with contextlib.closing(Reader(at, self._reach.stop)) as reader:
            content = reader.read(0, most + 1)
        if len(content) > most:
            raise corruption_fault(f"{name} of {self.shown} is too large", f"it has more than {most} bytes")
        return content

    def _place(self, name: str) -> Place | None:
        """The place of a file; None if it is missing."""
        if name not in self._places:
            there = self.names(far=False)
            found = None if there is None else names.find(inside(name), there, self.shown)
            spellings = spelt(name) if found is None else (found,)
            self._places[name] = next(filter(None, map(self._look, spellings)), None)
        return self._places[name]

    def _look(self, name: str) -> Place | None:
        checked(name, self.shown)
        folder = self._address.path
        there = self._in_folder(folder.parent, name) if folder else self._relative(name)
        try:
            found = place.find(there, self._reach)
        except StepError as error:
            if error.code is Exit.NOT_FOUND:
                return None
            raise
        return None if _is_page(found.head) else found

    def _in_folder(self, folder: Path, name: str) -> Address:
        """A file in the folder: a link in it must not lead to one outside."""
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise StepError(
                Exit.UNSUPPORTED,
                f"{self.shown} names {name!r}",
                "it is a link that points outside the folder",
            )
        return Address(path.as_uri())

    def _relative(self, name: str) -> Address:
        """A file on the same server, with a URL based on the descriptor's."""
        there = urljoin(self._address.url, quote(name))
        if origin(there) != origin(self._address.url):
            raise StepError(Exit.UNSUPPORTED, f"{self.shown} names {name!r}", "it is on another server")
        return Address(there)


def _known(at: Place, offset: int, length: int | None, name: str) -> Source:
    """A window with an identity of its content: the URL may differ each time."""
    return replace(at.source(offset, length), identity=f"{at.shown} {at.version} {name}")


def inside(name: str) -> str:
    """The name of a file that the descriptor refers to. Raises StepError: UNSUPPORTED, for one elsewhere."""
    if "://" in name:
        raise StepError(
            Exit.UNSUPPORTED,
            f"the descriptor refers to a file elsewhere: {name[:200]!r}",
            "only files of the package are read",
        )
    return name


def spelt(name: str) -> tuple[str, ...]:
    """A name as written, and without %20, if files cannot be listed."""
    return tuple(dict.fromkeys((name, checked(unquote(inside(name)), "the descriptor"))))


def missing(name: str, where: str) -> StepError:
    """The error for a missing file that the descriptor refers to."""
    return StepError(
        Exit.NOT_FOUND, f"{name} is not in {where}", "the descriptor refers to it", "get the complete package"
    )
