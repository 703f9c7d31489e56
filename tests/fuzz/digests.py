"""Manifests of OVF packages as models: any spelling of a line, right or wrong (DSP0243, 6.3)."""

from __future__ import annotations

import hashlib
import random
from typing import Final

from tests.fuzz.envelope import NAMES

_SPELLINGS: Final = (
    *((name, name) for name in ("sha1", "sha256", "sha512", "md5")),
    *(("sha256", "SHA256"), ("sha256", "SHA2-256"), ("sha256", "sha-256"), ("sha3_256", "SHA3-256")),
    *(("sha1", ""), ("sha256", "WHIRLPOOL")),
)


def manifest(rng: random.Random, entries: dict[str, bytes]) -> bytes:
    """A manifest of the files' content, in any spelling, right or wrong."""
    lines = []
    for name, content in entries.items():
        algorithm, spelt = rng.choice(_SPELLINGS)
        digest = hashlib.new(algorithm, content).hexdigest()
        digest = rng.choice((digest, digest, digest.upper(), digest[:-1], "zz", ""))
        shown = rng.choice((name, name, name, rng.choice(NAMES), name + ")"))
        lines.append(f"{spelt}{rng.choice(('', ' '))}({shown}){rng.choice(('= ', ' = ', '=', ''))}{digest}")
    if rng.random() < 0.2:
        folder = rng.choice(("", "", "build/"))
        lines = [
            f"{hashlib.sha256(content).hexdigest()} *{folder}{name}" for name, content in entries.items()
        ]
    text = rng.choice(("\n", "\r\n", "\r", "\0")).join([*lines, ""])
    mark, encoding = rng.choice((("", "utf-8"), ("", "utf-8"), ("\ufeff", "utf-8"), ("\ufeff", "utf-16-le")))
    return (mark + text).encode(encoding, errors="surrogateescape" if encoding == "utf-8" else "replace")
