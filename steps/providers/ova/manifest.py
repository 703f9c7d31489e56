"""The manifest: a line for each file, `SHA256(disk.vmdk)= 9f86…` (DSP0243, 6.3)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from steps.disk.faults import corrupt
from steps.disk.source import Digest
from steps.providers.ova.names import checked

MOST_BYTES: Final = 4 << 20
_LINE: Final = re.compile(r"([A-Za-z0-9-]+)\s*\((.+)\)\s*=\s*([0-9A-Fa-f]+)")
_ALGORITHMS: Final[dict[str, tuple[Literal["sha1", "sha256", "sha512"], int]]] = {
    "sha1": ("sha1", 40),
    "sha256": ("sha256", 64),
    "sha512": ("sha512", 128),
}
"""By the name without hyphens: ours, and the number of hexadecimal digits."""


@dataclass(frozen=True)
class Manifest:
    """What the package's files should be, by name."""

    name: str
    digests: Mapping[str, Digest]
    unknown: frozenset[str] = frozenset()
    """Files whose algorithm is none that says anything."""


def read(text: bytes, name: str) -> Manifest:
    """Read a manifest; `name` is for errors.

    Raises:
        StepError: CORRUPT, for a line that is none: what it stood for would go unchecked.
    """
    digests: dict[str, Digest] = {}
    unknown = set()
    for line in filter(None, (line.strip() for line in text.decode(errors="replace").splitlines())):
        match = _LINE.fullmatch(line)
        if match is None:
            raise corrupt(f"the manifest {name} cannot be read", f"it has the line {line[:200]!r}")
        file, value = checked(match[2].strip(), name), match[3].lower()
        algorithm, digits = _ALGORITHMS.get(match[1].lower().replace("-", ""), (None, 0))
        if algorithm is None:
            unknown.add(file)
            continue
        if len(value) != digits or digests.get(file, _none).value not in ("", value):
            raise corrupt(
                f"the manifest {name} cannot be read", f"a digest of {file} is none, or another one"
            )
        digests[file] = Digest(algorithm, value, file)
    return Manifest(name, digests, frozenset(unknown - set(digests)))


_none: Final = Digest("sha256", "", "")


def check(text: bytes, digest: Digest) -> None:
    """Compare a small file with its digest.

    Raises:
        StepError: CORRUPT.
    """
    found = hashlib.new(digest.algorithm, text, usedforsecurity=False).hexdigest()
    if found != digest.value:
        raise corrupt(
            f"{digest.name} is not what its manifest says",
            f"its {digest.algorithm} is {found}, not {digest.value}",
            "get the package again from where it was made",
        )
