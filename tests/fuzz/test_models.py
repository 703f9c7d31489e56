"""Other readers read the archives and envelopes of the models as intended, and most changed ones, too."""

from __future__ import annotations

import contextlib
import io
import random
import subprocess
import tarfile
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.fuzz import archive, envelope
from tests.fuzz.archive import Member

MEMBERS = [
    Member(b"machine.ovf", b"<x/>"),
    Member(b"d" * 60 + b"/" + b"e" * 90, b"yy", base256=True),
    Member(b"short", b"z" * 600, extra=[archive.pax(b"x", (b"path", b"p" * 300))]),
    Member(b"short", b"q", magic=b"ustar  \0", extra=[archive.long_name(b"l" * 200)]),
]
NAMES = ["machine.ovf", "d" * 60 + "/" + "e" * 90, "p" * 300, "l" * 200]


def test_an_archive_is_read_correctly_by_two_readers(tmp_path: Path) -> None:
    data = archive.write(MEMBERS)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [(member.name, member.size) for member in tar] == list(zip(NAMES, (4, 2, 600, 1), strict=True))
    (tmp_path / "a.tar").write_bytes(data)
    listed = subprocess.run(["tar", "tf", tmp_path / "a.tar"], check=True, capture_output=True, text=True)
    assert listed.stdout.splitlines() == NAMES


def test_most_changed_archives_are_still_readable() -> None:
    read = 0
    for number in range(500):
        rng = random.Random(number)
        members = [Member(b"machine.ovf", b"<x/>"), Member(b"disk.vmdk", b"y" * 1000)]
        rng.choice(archive.CHANGES)(rng, members, rng.choice(members))
        with (
            contextlib.suppress(tarfile.TarError, OverflowError, ValueError),
            tarfile.open(fileobj=io.BytesIO(archive.write(members))) as tar,
        ):
            read += bool(tar.next())
    assert 300 < read < 500


def test_an_envelope_and_most_changed_ones_are_well_formed() -> None:
    root = ET.fromstring(envelope.write(envelope.machine()))  # noqa: S314 - made here
    assert len([element for element in root.iter() if element.tag.endswith("}Item")]) == 5
    read = 0
    for number in range(500):
        rng = random.Random(number)
        machine = envelope.machine()
        rng.choice(envelope.CHANGES)(rng, machine)
        with contextlib.suppress(ET.ParseError, ValueError, LookupError):
            read += ET.fromstring(envelope.write(machine)) is not None  # noqa: S314
    assert 400 < read < 500
