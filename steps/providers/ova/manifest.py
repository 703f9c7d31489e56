"""The manifest: a line for each file, `SHA256(disk.vmdk)= 9f86…` (DSP0243, 6.3), in every spelling in use.

An existing manifest that cannot be read is an error: the files would be unchecked.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from steps.disk.faults import corruption_fault
from steps.disk.source import DIGEST_DIGITS, Digest
from steps.model.contract import Exit, StepError
from steps.providers.ova.names import NameIndex, checked_name

MAX_BYTES: Final = 4 << 20
_LINE: Final = re.compile(r"(?P<how>[A-Za-z0-9_/.-]+)\s*\((?P<file>.+)\)\s*=\s*(?P<value>[0-9A-Fa-f]+)")
"""By OpenSSL and ovftool, and by the `--tag` of coreutils."""
_SUM_LINE: Final = re.compile(r"(?P<value>[0-9A-Fa-f]{32,128}) [ *](?P<file>.+)")
"""By sha256sum and its like: the number of digits tells the algorithm."""
_ALGORITHM_BY_DIGITS: Final = {32: "md5", 40: "sha1", 56: "sha224", 64: "sha256", 96: "sha384", 128: "sha512"}
_SPELLINGS: Final = {
    **{f"sha2{bits}": f"sha{bits}" for bits in (224, 256, 384, 512)},  # OpenSSL 3: SHA2-256
    **{f"sha3{bits}": f"sha3_{bits}" for bits in (224, 256, 384, 512)},
    **{f"sha{two}512{bits}": f"sha512_{bits}" for two in ("", "2") for bits in (224, 256)},  # SHA2-512/256
    "blake2b512": "blake2b",
    "blake2s256": "blake2s",
}
"""Names of algorithms without `-`, `_` and `/`, where hashlib has another one."""
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks: PowerShell writes UTF-16 by default."""


@dataclass(frozen=True)
class OvfManifest:
    """The digests of the package's files, by their names in the manifest."""

    name: str
    digests: Mapping[str, Digest]
    """The strongest of each file."""
    unknown: Mapping[str, str]
    """Files with digests only by unsupported algorithms, and the name of one."""

    def digest(self, file: str) -> Digest | None:
        """The file's digest; None if it is not listed.

        Raises:
            StepError: UNSUPPORTED, if it is listed with an unsupported algorithm; AMBIGUOUS.
        """
        if file in self.digests:
            return self.digests[file]
        listed = self._index.find(file, self.name)
        if listed is None or listed in self.digests:
            return self.digests[listed] if listed else None
        raise StepError(
            Exit.UNSUPPORTED,
            f"{file} cannot be checked",
            f"the manifest {self.name} has its digest by {self.unknown[listed]}, which is not supported",
            "create the manifest with SHA256",
        )

    @cached_property
    def files(self) -> frozenset[str]:
        """All files that it lists."""
        return frozenset(self.digests) | frozenset(self.unknown)

    @cached_property
    def _index(self) -> NameIndex:
        return NameIndex([*self.digests, *self.unknown])

    def relative_to(self, descriptor: str) -> OvfManifest:
        """The manifest without the folder of the package, if all its names begin with one.

        `sha256sum FOLDER/*` writes such names. The standard wants them relative to the descriptor.
        """
        folder = next(iter(self.files)).partition("/")[0] + "/"
        if self._index.find(descriptor, self.name) is not None or not all(
            name.startswith(folder) for name in self.files
        ):
            return self
        if self._index.find(folder + descriptor, self.name) is None:
            return self
        digests = {name.removeprefix(folder): digest for name, digest in self.digests.items()}
        unknown = {name.removeprefix(folder): written for name, written in self.unknown.items()}
        return OvfManifest(self.name, digests, unknown)


def read(text: bytes, name: str) -> OvfManifest:
    """Read a manifest; `name` is for errors.

    Raises:
        StepError: CORRUPT, for an invalid line, or an empty manifest.
    """
    digests_by_file: defaultdict[str, dict[str, str]] = defaultdict(dict)
    unknown: dict[str, str] = {}
    for number, line in enumerate(_decoded(text, name).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        file, written_name, value = _parse_line(number, line.strip(), name)
        algorithm = _hashlib_name(written_name)
        if algorithm is None:
            unknown.setdefault(file, written_name)
            continue
        if (
            len(value) != DIGEST_DIGITS[algorithm]
            or digests_by_file[file].setdefault(algorithm, value) != value
        ):
            raise _unreadable(name, f"a digest of {file} is malformed, or differs from an earlier one")
    if not digests_by_file and not unknown:
        raise _unreadable(name, "it is empty")
    digests = {file: _strongest_digest(file, values) for file, values in digests_by_file.items()}
    return OvfManifest(
        name, digests, {file: written_name for file, written_name in unknown.items() if file not in digests}
    )


def _decoded(content: bytes, name: str) -> str:
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if content.startswith(mark)), "")
    if not encoding and b"\0" in content[:2]:
        encoding = "utf-16-be" if content.startswith(b"\0") else "utf-16-le"
    try:
        return content.decode(encoding) if encoding else content.decode(errors="surrogateescape")
    except UnicodeDecodeError as error:
        raise _unreadable(name, f"it is not text: {error.reason} at byte {error.start}") from None


def _parse_line(number: int, line: str, name: str) -> tuple[str, str, str]:
    """File, algorithm as written, and digest of a line."""
    match = _LINE.fullmatch(line) or _SUM_LINE.fullmatch(line)
    if match is None:
        raise _unreadable(name, f"its line {number} has an unknown form")
    parts = match.groupdict()
    value = parts["value"].lower()
    written_name = parts.get("how") or _ALGORITHM_BY_DIGITS.get(len(value), f"{len(value)} digits")
    return checked_name(parts["file"].strip(), name), written_name, value


def _hashlib_name(written_name: str) -> str | None:
    """The name of an algorithm in hashlib; None for an unsupported one."""
    normalized = re.sub(r"[-_/]", "", written_name.lower())
    algorithm = _SPELLINGS.get(normalized, normalized)
    return algorithm if algorithm in DIGEST_DIGITS else None


def _strongest_digest(file: str, values: Mapping[str, str]) -> Digest:
    algorithm = next(candidate for candidate in DIGEST_DIGITS if candidate in values)
    return Digest(algorithm, values[algorithm], file)


def _unreadable(name: str, why: str) -> StepError:
    return corruption_fault(
        f"the manifest {name} cannot be read", why, "get a new copy of the package from where it was made"
    )


def check(text: bytes, digest: Digest) -> None:
    """Compare a small file with its digest.

    Raises:
        StepError: CORRUPT.
    """
    actual = hashlib.new(digest.algorithm, text, usedforsecurity=False).hexdigest()
    if actual != digest.value:
        raise corruption_fault(
            f"{digest.name} does not match its manifest",
            f"its {digest.algorithm} is {actual}, not {digest.value}",
            "get a new copy of the package from where it was made",
        )
