"""The source of a disk's bytes: an address, a window in it, and the expected content."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from steps.model.contract import Exit, StepError

SourceFormat = Literal["auto", "vmdk", "raw", "qcow2", "vpc", "vhdx"]
DiskFormat = Literal["qcow2", "raw"]


DIGEST_DIGITS: Final = {
    name: digits
    for name, digits in {
        "sha3_512": 128,
        "blake2b": 128,
        "sha512": 128,
        "sha3_384": 96,
        "sha384": 96,
        "sha3_256": 64,
        "blake2s": 64,
        "sha512_256": 64,
        "sha256": 64,
        "sha3_224": 56,
        "sha512_224": 56,
        "sha224": 56,
        "sha1": 40,
        "md5": 32,
    }.items()
    if name in hashlib.algorithms_available
}
"""Digests by hashlib's names, the strongest first, with their length in hexadecimal digits."""


@dataclass(frozen=True)
class Digest:
    """The expected digest of a file: `value` in lower-case hexadecimal digits; `name` is the file's."""

    algorithm: str
    """One of DIGITS."""
    value: str
    name: str


class FileChangedError(StepError):
    """A file is not the one any more of which a part was read. Nobody need ask for it again just now."""


@dataclass(frozen=True)
class Validators:
    """What a server says about the version of a file; `total` is the length of the window in bytes."""

    etag: str = ""
    modified: str = ""
    total: int | None = None

    def agrees_with(self, other: Validators) -> bool:
        """Whether nothing that both sides know differs."""
        pairs = (
            (self.etag, other.etag),
            (self.modified, other.modified),
            (self.total, other.total),
        )
        return all(mine == theirs for mine, theirs in pairs if mine and theirs)

    def check_unchanged(self, current: Validators, host: str) -> None:
        """Prove that a file is still the one that said this: its places and sizes were read from that.

        Where both sides have an ETag, it decides: some servers give another time each.

        Raises:
            FileChangedError: BROKEN_STREAM. Another attempt reads all of it again.
        """
        tags = self.etag.removeprefix("W/"), current.etag.removeprefix("W/")
        pairs = [tags if all(tags) else (self.modified, current.modified), (self.total, current.total)]
        changed_pair = next((pair for pair in pairs if all(pair) and pair[0] != pair[1]), None)
        if changed_pair:
            raise FileChangedError(
                Exit.BROKEN_STREAM,
                f"a file at {host} has changed while it was read",
                f"it was {changed_pair[0]}, and is {changed_pair[1]} now",
                "it is read again; leave it as it is until the import is done",
            )

    def proves_same_bytes(self, other: Validators) -> bool:
        """Whether they say that the bytes are the same ones, so that a transfer may go on in their midst.

        A weak ETag and a time of change do not (RFC 9110, 8.8.1: bytes may differ under the same ones).
        """
        return bool(self.etag) and self.etag == other.etag and not self.etag.startswith("W/")

    @property
    def if_range(self) -> str:
        """The value for If-Range: a strong ETag as a server wrote it (RFC 9110, 13.1.5 and 8.8.3)."""
        return self.etag if self.etag.startswith('"') else ""


@dataclass(frozen=True)
class Source:
    """Where the bytes of one disk come from.

    `offset` and `length` (bytes) are a window in a larger file, such as a member of an OVA's tar.
    `format` is named by every provider; "auto" looks at the first bytes and is for by-hand use only,
    because with it a guest could choose how its own disk is read. `identity` names the content (a
    disk's uuid and change version): data that landed with another identity is never reused.
    With `parts` the content is in several files, one after the other, and the window is ignored.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    offset: int = 0
    length: int | None = None
    format: SourceFormat = "auto"
    identity: str = ""
    parts: tuple[Source, ...] = ()
    compression: Literal["", "gzip"] = ""
    """Of the bytes of the window, or of all parts together."""
    most: int | None = None
    """Most bytes of the content after it is unpacked: more is an error, however long the stream is."""
    validator: str = ""
    """What the source calls this content and no other, as its digest. It stands in for a strong ETag."""
    file_validators: Validators = field(default_factory=Validators, compare=False)
    """The validators of the whole file when its offsets and sizes were read; `total` is its length."""
    digest: Digest | None = None
    """Of the bytes of the window as they are sent. With it every attempt reads them from the first byte."""
    data: tuple[tuple[int, int], ...] | None = field(default=None, repr=False, compare=False)
    """Where the window has data, as (start, end) in bytes, in order; the rest reads as zeros and is not
    requested. None: it may have data everywhere. With it, `length` is set and the server answers ranges."""
    readers: int = 1
    """Most connections at a time, for a source with `data`."""
    interrupted: Callable[[], None] = field(default=lambda: None, repr=False, compare=False)
    """Called when the stream breaks: the caller may know that the URL will never answer again, and stop
    the landing. It must not block."""

    def key(self, disk_format: str, capacity: int | None) -> str:
        """A digest of everything that determines the content of the landed file; it reveals nothing."""
        content = self.identity or self.url
        parts: tuple[object, ...] = (
            content,
            self.offset,
            self.length,
            self.format,
            disk_format,
            capacity,
            *(part.key("", None) for part in self.parts),
            *filter(None, (self.compression, None if self.identity else self.digest)),
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    @property
    def has_digest(self) -> bool:
        """Whether a digest of the bytes is known."""
        return self.digest is not None or any(part.has_digest for part in self.parts)
