"""Manifests of OVF packages as models: any spelling of a line, right or wrong (DSP0243, 6.3)."""

from __future__ import annotations

import hashlib
import random

from tests.fuzz.envelope import NAMES


def manifest(rng: random.Random, entries: dict[str, bytes]) -> bytes:
    """A manifest of files' content, in any spelling, right or wrong."""
    lines = []
    for name, content in entries.items():
        algorithm = rng.choice(("sha1", "sha256", "sha512", "SHA256", "md5", ""))
        digest = hashlib.new(algorithm.lower() or "sha1", content).hexdigest()
        digest = rng.choice((digest, digest, digest.upper(), digest[:-1], "zz", ""))
        shown = rng.choice((name, name, name, rng.choice(NAMES), name + ")"))
        lines.append(
            f"{algorithm.upper()}{rng.choice(('', ' '))}({shown}){rng.choice(('= ', ' = ', '=', ''))}{digest}"
        )
    return rng.choice(("\n", "\r\n", "\r", "\0")).join([*lines, ""]).encode(errors="surrogateescape")
