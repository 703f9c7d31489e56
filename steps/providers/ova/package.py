"""A package: a tar, or a descriptor with its files next to it. Maps names to bytes and sources."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote, unquote, urljoin, urlsplit

from steps.disk.faults import corruption_fault
from steps.disk.source import Source
from steps.model.contract import Exit, StepError
from steps.providers import Access
from steps.providers.ova import names, source_file
from steps.providers.ova.address import Address, origin
from steps.providers.ova.bare import BarePackage
from steps.providers.ova.files import (
    BYTE_ORDER_MARKS,
    identified_source,
    is_web_page,
    missing_file,
    normalized_head,
)
from steps.providers.ova.markup import MAX_BYTES
from steps.providers.ova.names import checked_name
from steps.providers.ova.reader import FileReader
from steps.providers.ova.source_file import HttpSettings, SourceFile
from steps.providers.ova.tar import Member, Tar

_REMEMBERED: Final = 64
"""Files whose place and first bytes are kept: a disk may be split into thousands of files."""
_NEXT_URL: Final = (Exit.NOT_FOUND, Exit.DENIED, Exit.INVALID)
"""Answers after which another possible URL of a file is requested."""


class Package(Protocol):
    """The place of a VM's files."""

    display_url: str
    """The URL for errors, without secrets."""
    supports_range: bool
    """Whether a file can be read without reading all those before it."""

    @property
    def version(self) -> str:
        """Differs with the content, as far as the servers report it."""

    def descriptor(self) -> tuple[str, bytes]:
        """Name and content of the descriptor. Raises StepError."""

    def names(self, *, full_scan: bool) -> list[str] | None:
        """The names of all files; None if they cannot be listed, or are not near without `full_scan`."""

    def has(self, name: str) -> bool | None:
        """Whether there is such a file; None if searching for it would take too long."""

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where that is not known, or would take too long to find out."""

    def read(self, name: str, limit: int, *, full_scan: bool = True) -> bytes | None:
        """The content of a small file; None if it is missing, or not near without `full_scan`."""

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
    if access.plan.disks:
        yield BarePackage(access)
        return
    address = Address.parse(access.plan.endpoint)
    settings = HttpSettings.read(access.plan, access.credentials, address, access.stop)
    file = source_file.locate(_find_descriptor(address), settings)
    if _is_xml(file.head):
        yield FolderPackage(Address(file.url), file, settings, given=address)
        return
    with contextlib.closing(FileReader(file, access.stop)) as reader:
        yield TarPackage(reader)


def _find_descriptor(address: Address) -> Address:
    """The only descriptor in a local folder; else the given address."""
    folder = address.path
    if folder is None or not folder.is_dir():
        return address
    descriptors = sorted(path for path in folder.iterdir() if _is_descriptor(path.name))
    if len(descriptors) == 1:
        return Address.parse(str(descriptors[0].absolute()))
    if descriptors:
        raise _several_descriptors(str(folder), [path.name for path in descriptors], "name the .ovf file")
    raise StepError(Exit.NOT_FOUND, f"{folder} is not a package", "it has no .ovf file")


def _is_descriptor(name: str) -> bool:
    return names.has_suffix(name, ".ovf")


def _several_descriptors(where: str, names: Iterable[str], remedy: str) -> StepError:
    return StepError(
        Exit.AMBIGUOUS, f"{where} is not one package", f".ovf files in it: {', '.join(names)}", remedy
    )


def _is_xml(head: bytes) -> bool:
    """Whether a file is XML and no web page, such as a form to log in with."""
    if head.startswith(BYTE_ORDER_MARKS[1:]):
        return True
    return normalized_head(head).startswith(b"<") and not is_web_page(head)


class TarPackage:
    """A tar; the descriptor should be first in it (DSP0243, 6.4), but may be elsewhere.

    Names are relative to the descriptor, as references are (DSP0243, 7.1). If it lies in a folder, files
    outside of that folder have the names that they have in the tar.
    """

    def __init__(self, reader: FileReader) -> None:
        self.display_url = reader.file.display_url
        self.version = reader.file.version
        self.supports_range = reader.file.supports_range
        self._tar = Tar(reader)
        self._folder: str | None = None
        """The descriptor's folder, with a slash at its end; None before it was searched for."""

    def descriptor(self) -> tuple[str, bytes]:
        """As in the protocol; if searching is cheap, there must be no second one, and no file twice."""
        member = self._descriptor_member()
        if member is None:
            raise StepError(
                Exit.INVALID,
                f"{self.display_url} is not an OVA",
                "it has no .ovf file",
                "pack it again with an .ovf file",
            )
        if self.supports_range:
            descriptors = [name for name in self._tar.names() if _is_descriptor(name)]
            if len(descriptors) > 1:
                raise _several_descriptors(
                    self.display_url,
                    descriptors,
                    "pack it again with one .ovf file, or use the URL of an .ovf file",
                )
        return member.name.rpartition("/")[2], self._tar.read(member, MAX_BYTES)

    def _descriptor_member(self) -> Member | None:
        member = self._tar.find(_is_descriptor)
        folder, slash, _ = member.name.rpartition("/") if member else ("", "", "")
        self._folder = folder + slash
        return member

    def names(self, *, full_scan: bool) -> list[str] | None:
        if not (self.supports_range or full_scan):
            return None
        folder = self._descriptor_folder()
        return list(dict.fromkeys(name.removeprefix(folder) for name in self._tar.names()))

    def _descriptor_folder(self) -> str:
        if self._folder is None:
            self._descriptor_member()
        return self._folder or ""

    def has(self, name: str) -> bool | None:
        if self._find(name, full_scan=False) is not None:
            return True
        return False if self.supports_range else None

    def size(self, name: str) -> int | None:
        member = self._find(name, full_scan=False)
        return None if member is None else member.length

    def read(self, name: str, limit: int, *, full_scan: bool = True) -> bytes | None:
        member = self._find(name, full_scan=full_scan)
        return None if member is None else self._tar.read(member, limit)

    def peek(self, name: str, count: int, offset: int = 0) -> bytes:
        member = self._find(name, full_scan=False) if self.supports_range else None
        if member is None or offset >= member.length:
            return b""
        return self._tar.reader.read(member.offset + offset, min(count, member.length - offset))

    def source(self, name: str) -> Source:
        member = self._find(name, full_scan=True)
        if member is None:
            raise missing_file(name, self.display_url)
        return identified_source(self._tar.reader.file, member.offset, member.length, name)

    def _find(self, name: str, *, full_scan: bool) -> Member | None:
        """The file next to the descriptor, else the one that has this name in the tar."""
        folder = self._descriptor_folder()
        member = self._find_in_tar(folder + checked_reference(name), full_scan=full_scan) if folder else None
        return member or self._find_in_tar(checked_reference(name), full_scan=full_scan)

    def _find_in_tar(self, name: str, *, full_scan: bool) -> Member | None:
        member = self._tar.find_spelling(name, full_scan=full_scan)
        if member is None or member.name == name or not (self.supports_range or full_scan):
            return member
        exact = self._tar.name_index().find(name, self.display_url)  # an exact match takes precedence
        return None if exact is None else self._tar.member(exact)


class FolderPackage:
    """Files next to a descriptor, on a server or in a local folder."""

    def __init__(
        self, address: Address, file: SourceFile, settings: HttpSettings, *, given: Address | None = None
    ) -> None:
        """`given` is the address of the descriptor before redirects."""
        self.display_url = file.display_url
        self.version = file.version
        self.supports_range = True
        self._address = address
        self._given = given or address
        self._descriptor_file = file
        self._settings = settings
        self._files: dict[str, SourceFile | None] = {}
        self._listing: names.NameIndex | None = None

    def descriptor(self) -> tuple[str, bytes]:
        name = unquote(urlsplit(self._address.url).path.rpartition("/")[2]) or "the descriptor"
        return name, self._content(self._descriptor_file, name, MAX_BYTES)

    def names(self, *, full_scan: bool) -> list[str] | None:
        del full_scan
        folder = self._address.path
        return None if folder is None else sorted(path.name for path in folder.parent.iterdir())

    def has(self, name: str) -> bool | None:
        return self._find_file(name) is not None

    def size(self, name: str) -> int | None:
        file = self._find_file(name)
        return None if file is None else file.size

    def read(self, name: str, limit: int, *, full_scan: bool = True) -> bytes | None:
        del full_scan
        file = self._find_file(name)
        return None if file is None else self._content(file, name, limit)

    def peek(self, name: str, count: int, offset: int = 0) -> bytes:
        file = self._find_file(name)
        if file is None or offset + count <= len(file.head):
            return b"" if file is None else file.head[offset : offset + count]
        if not file.supports_range or (file.size is not None and offset >= file.size):
            return file.head[offset : offset + count]
        with contextlib.closing(FileReader(file, self._settings.stop)) as reader:
            return reader.read(offset, count)

    def source(self, name: str) -> Source:
        file = self._find_file(name)
        if file is None:
            raise missing_file(name, self.display_url)
        return identified_source(file, 0, file.size if self._address.path else None, name)

    def _content(self, file: SourceFile, name: str, limit: int) -> bytes:
        with contextlib.closing(FileReader(file, self._settings.stop)) as reader:
            content = reader.read(0, limit + 1)
        if len(content) > limit:
            raise corruption_fault(
                f"{name} of {self.display_url} is too large", f"it has more than {limit} bytes"
            )
        return content

    def _find_file(self, name: str) -> SourceFile | None:
        """The place of a file; None if it is missing."""
        if name not in self._files:
            match = self._listed_name(checked_reference(name))
            candidates = spellings(name) if match is None else (match,)
            if len(self._files) >= _REMEMBERED:
                del self._files[next(iter(self._files))]
            self._files[name] = next(filter(None, map(self._locate, candidates)), None)
        return self._files[name]

    def _listed_name(self, name: str) -> str | None:
        """The spelling of a file in a local folder; None if there is none, or if files cannot be listed."""
        if self._listing is None:
            self._listing = names.NameIndex(self.names(full_scan=False) or ())
        return self._listing.find(name, self.display_url)

    def _locate(self, name: str) -> SourceFile | None:
        """A file by its exact name; None if it is missing.

        Raises:
            StepError: DENIED and other errors of a server, with the file's name.
        """
        checked_name(name, self.display_url)
        folder = self._address.path
        urls = [self._local_url(folder.parent, name)] if folder else self._remote_urls(name)
        refusals: list[StepError] = []
        is_missing = False
        for url in urls:
            try:
                file = source_file.locate(url, self._settings)
            except StepError as error:
                if error.code not in _NEXT_URL:
                    raise
                is_missing = is_missing or error.code is Exit.NOT_FOUND
                refusals.append(error)
                continue
            if not is_web_page(file.head):
                return file
            is_missing = True
        if is_missing or not refusals:
            return None
        raise self._refusal(name, refusals[0])

    def _refusal(self, name: str, error: StepError) -> StepError:
        """The error for a file that the server refuses."""
        what = f"{error.what}, for {name} next to {self.display_url}"
        if not urlsplit(self._address.url).query:
            return StepError(error.code, what, error.why, error.remedy)
        why = "it was requested with the query (?...) of the descriptor's URL, and without it"
        return StepError(error.code, what, why, "use a URL whose query is valid for all files of the package")

    def _local_url(self, folder: Path, name: str) -> Address:
        """A file in the folder: a link in it must not lead to one outside."""
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise StepError(
                Exit.UNSUPPORTED,
                f"{self.display_url} names {name!r}",
                "it is a link that points outside the folder",
            )
        return Address(path.as_uri())

    def _remote_urls(self, name: str) -> list[Address]:
        """Where a file may be: next to the descriptor, with its query and without it; before redirects too.

        A query may be a permission for all files of a folder, or belong to the descriptor alone.
        """
        urls = []
        for base in (self._address, self._given):
            url = urljoin(base.url, quote(name))
            if origin(url) != origin(base.url):
                raise StepError(
                    Exit.UNSUPPORTED, f"{self.display_url} names {name!r}", "it is on another server"
                )
            query = urlsplit(base.url).query
            urls += [f"{url}?{query}", url] if query else [url]
        return [Address(url) for url in dict.fromkeys(urls)]


def checked_reference(name: str) -> str:
    """The name of a file that the descriptor refers to. Raises StepError: UNSUPPORTED, for one elsewhere."""
    if "://" in name:
        raise StepError(
            Exit.UNSUPPORTED,
            f"the descriptor refers to a file elsewhere: {name[:200]!r}",
            "only files of the package are read",
        )
    return name


def spellings(name: str) -> tuple[str, ...]:
    """A name as written, and without %20, if files cannot be listed."""
    return tuple(dict.fromkeys((name, checked_name(unquote(checked_reference(name)), "the descriptor"))))
