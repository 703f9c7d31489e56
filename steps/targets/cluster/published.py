"""A disk that a cluster has fetched from `serve`, as the `image` step reports it."""

from __future__ import annotations

import enum

from steps.targets.target import Published


class Integrity(enum.StrEnum):
    """How far an image was compared with its source bytes; shown in the import's status."""

    SHA512 = "sha512"
    """The target's own digest equals that of the served bytes."""
    READ_BACK = "read-back"
    """The volume was read back and is equal to what was written to it."""
    TLS = "tls"
    """The target publishes no digest, but it fetched the disk over TLS, which notices every changed byte."""
    TRANSFER_ONLY = "transfer-only"
    """The target publishes no digest: only its size and a complete transfer can be checked."""
    NOT_COMPARED = "not-compared"
    """An existing image that was reused by its name."""


class PublishedImage(Published):
    """A disk in a cluster. `sha256` stays empty: the digest of the served bytes is SHA-512."""

    sha512: str
    integrity: Integrity
    volume: str
    """Name of the claim that `build` attaches; empty in a run that an earlier version began."""
