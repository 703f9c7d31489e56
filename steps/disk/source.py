"""What is to be read: an address, a window in it, and what the bytes there are."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

SourceFormat = Literal["auto", "vmdk", "raw", "qcow2"]
DiskFormat = Literal["qcow2", "raw"]


@dataclass(frozen=True)
class Source:
    """Where the bytes of one disk come from.

    `offset` and `length` (bytes) are a window in a larger file, such as a member of an OVA's tar.
    `format` is named by every provider; "auto" looks at the first bytes and is for by-hand use only,
    because with it a guest could choose how its own disk is read. `identity` names the content (a
    disk's uuid and change version): what was landed of another identity is never gone on from.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    offset: int = 0
    length: int | None = None
    format: SourceFormat = "auto"
    identity: str = ""
    interrupted: Callable[[], None] = field(default=lambda: None, repr=False, compare=False)
    """Called when the stream breaks: whoever gave the URL may know that it will never answer again, and stop
    the landing. It must not wait for anything."""

    def key(self, disk_format: str, capacity: int | None) -> str:
        """A digest of everything that decides what the landed file holds; it reveals nothing."""
        content = self.identity or self.url
        parts = (content, self.offset, self.length, self.format, disk_format, capacity)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Validators:
    """What a server says about the version of a file; `total` is the length of the window in bytes."""

    etag: str = ""
    modified: str = ""
    total: int | None = None

    def agree(self, other: Validators) -> bool:
        """Whether nothing that both sides know differs."""
        pairs = (
            (self.etag, other.etag),
            (self.modified, other.modified),
            (self.total, other.total),
        )
        return all(mine == theirs for mine, theirs in pairs if mine and theirs)

    @property
    def if_range(self) -> str:
        """The value for If-Range (RFC 9110, 13.1.5: a weak ETag must not be used there)."""
        return "" if self.etag.startswith("W/") else self.etag
