"""Fuzzes compressed files, files in parts and files with digests: `steps.disk.layers`."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import random
import struct
import zlib
from pathlib import Path
from typing import Any, Final

from steps.disk import layers, pump
from steps.disk.land import Source, land
from steps.disk.source import Digest
from steps.runtime.stop import Stop
from tests.fuzz import mutate
from tests.fuzz.case import Case, Wrong
from tests.fuzz.mutate import Field

_FLAGS: Final = {2: b"", 4: b"\x06\0AB\x02\0xy", 8: b"disk.vmdk\0", 16: b"a comment\0"}
"""gzip's header flags and the data of each: FHCRC, FEXTRA, FNAME, FCOMMENT (RFC 1952, 2.3.1)."""


class Layers:
    """A raw disk in gzip members, split into parts, with right or wrong digests."""

    name = "layers"
    programs: frozenset[str] = frozenset()

    def make(self, rng: random.Random) -> Case:
        content = _content(rng)
        compressed = rng.random() < 0.75
        fields: list[Field] = []
        data = bytearray(content)
        if compressed:
            data, fields = _members(rng, content)
        good = hashlib.sha256(data).hexdigest()
        valid = True
        if fields and rng.random() < 0.4:
            mutate.set_fields(rng, data, fields)
            valid = False
        if rng.random() < 0.3:
            mutate.any_bytes(rng, data)
            valid = False
        digest = rng.choice(("", "", good, hashlib.sha256(data).hexdigest()))
        most = rng.choice((None, None, None, len(content), len(content) - 1, 0))
        options = {
            "most": most,
            "compression": "gzip" if compressed else "",
            "cuts": sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 1, 3)))),
            "digest": digest,
            "chunk": rng.choice((512, 1 << 13)),
            "read": rng.choice((61, 1 << 9, 1 << 16)),
            "valid": valid and (most is None or len(content) <= most),
        }
        return Case(self.name, bytes(data), options)

    def run(self, case: Case, folder: Path) -> str:
        options = case.options
        pump.CHUNK = options["chunk"]  # type: ignore[misc]
        layers._READ = options["read"]  # type: ignore[misc]
        more: dict[str, Any] = {"format": "raw", "compression": options["compression"]}
        if options["most"] is not None:
            more["most"] = options["most"]
        if options["digest"]:
            more["digest"] = Digest("sha256", options["digest"], "disk.gz")
        source = _written(folder, case, more)
        land(
            source,
            folder / "out",
            format="raw",
            capacity=None,
            report=lambda done, total: None,
            stop=Stop(),
        )
        return f"accepted, {options['compression'] or 'as it is'}"

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        """By Python's own gzip module, which shares only zlib with the layers; zeros complete a sector."""
        expected = case.data
        if case.options["compression"]:
            try:
                expected = gzip.decompress(case.data)
            except (OSError, EOFError, zlib.error) as error:
                raise Wrong(f"another reader refuses what was accepted: {error}") from None
        if (folder / "out").read_bytes() != expected + bytes(-len(expected) % 512):
            raise Wrong("another reader finds another content")
        most = case.options["most"]
        if most is not None and len(expected) > most:
            raise Wrong("more than the limit was accepted")
        if case.options["digest"] not in {"", hashlib.sha256(case.data).hexdigest()}:
            raise Wrong("the digest is another")
        return "same by gzip"


def _written(folder: Path, case: Case, more: dict[str, Any]) -> Source:
    """Write the case's bytes to one file, or to one more file than it has cuts."""
    edges = [0, *case.options["cuts"], len(case.data)]
    sources = []
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        path = folder / f"in.{number:09}"
        path.write_bytes(case.data[start:end])
        sources.append(Source(f"file://{path}", length=end - start))
    if len(sources) == 1:
        return Source(sources[0].url, **more)
    return Source(sources[0].url, parts=tuple(sources), **more)


def _content(rng: random.Random) -> bytes:
    size = rng.choice((512, 4096, 4096, 70000))
    return rng.choice((bytes(size), rng.randbytes(size), b"text" * (size // 4)))


def _members(rng: random.Random, content: bytes) -> tuple[bytearray, list[Field]]:
    """One or several gzip members, with or without padding, and the positions of their numbers."""
    data, fields = bytearray(), []
    count = rng.choice((1, 1, 2, 3))
    step = -(-len(content) // count)
    for at in range(0, len(content), step):
        part, start = content[at : at + step], len(data)
        header = _header(rng)
        packer = zlib.compressobj(rng.choice((0, 1, 9)), wbits=-15)
        data += header + packer.compress(part) + packer.flush()
        end = len(data)
        data += struct.pack("<II", zlib.crc32(part), len(part))
        fields += [Field(start + 2, "<B"), Field(start + 3, "<B"), Field(end, "<I"), Field(end + 4, "<I")]
        data += bytes(rng.choice((0, 0, 0, 1, 512, 70000)))
    return data, fields


def _header(rng: random.Random) -> bytes:
    flags = rng.choice((0, 0, 8, rng.randrange(2, 32) & ~1))
    extra = b"".join(more for flag, more in sorted(_FLAGS.items()) if flags & flag)
    header = struct.pack("<BBBBIBB", 31, 139, 8, flags, rng.getrandbits(32), 0, 255) + extra
    return header + (struct.pack("<H", zlib.crc32(header) & 0xFFFF) if flags & 2 else b"")
