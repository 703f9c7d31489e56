"""Answers that no ovirt-imageio gives: one clear message, no fault of our own, no transfer left."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from tests.unit.steps.providers.ovirt.conftest import MakeAccess, access, fake, tls
from tests.unit.steps.providers.ovirt.documents import DISKS, SIZE
from tests.unit.steps.providers.ovirt.fake import BLOCK, Fake, Hook, Reply
from tests.unit.steps.providers.ovirt.test_provider import described, exported

__all__ = ["access", "fake", "tls"]

PARTS: Final = ("options", "map", "range")
EXTENT: Final[dict[str, Any]] = {"start": 0, "length": SIZE, "zero": False, "hole": False}


def of_text(*texts: bytes) -> list[Reply]:
    return [Reply(200, text) for text in texts]


ANSWERS: Final = (
    *of_text(b"", b"null", b"[]", b"{}", b"5", b'"x"', b"true", b"<html>", b"\xff\xfe{}", b"\0" * 100),
    *of_text(b"[" * 100_000, b"1" * 5000, b'{"a":' * 50_000, b"[null]", b"[[]]", b'["\\u202e\\u0000"]'),
    *of_text(b'{"features": 5}', b'{"features": [[]]}', b'{"max_readers": "8"}', b'{"max_readers": -1}'),
    *of_text(b'{"features": ["extents"], "max_readers": 1e999}', b'{"features": {"\\u001b[2J": 1}}'),
    *(
        Reply(200, json.dumps([change]).encode())
        for change in (
            {**EXTENT, "length": SIZE - 512},
            {**EXTENT, "length": 10**30},
            {**EXTENT, "start": -1},
            {**EXTENT, "zero": None},
            {"start": 0, "length": SIZE},
        )
    ),
    Reply(200, gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}),
    Reply(200, b"{}", cut=0),
    Reply(200, b'{"features": ["extents"]}', cut=5),
    Reply(200, b"x" * 100, headers={"Content-Length": "10"}),
    Reply(206, b"x" * BLOCK, headers={"Content-Range": f"bytes 512-{BLOCK + 511}/{SIZE}"}),
    Reply(206, b"x" * BLOCK, headers={"Content-Range": "bytes 0-x/y"}),
    Reply(206, b"x" * BLOCK),
    Reply(206, b"", headers={"Content-Range": f"bytes 0-0/{SIZE * 2}"}),
    *(Reply(status, b"<html>no</html>") for status in (204, 302, 400, 401, 403, 404, 416, 500, 502, 503)),
)


def part_of(method: str, path: str) -> str:
    """Which answer of the daemon a call asks for; "" for a call of the engine."""
    if not path.startswith("/images/"):
        return ""
    if method == "OPTIONS":
        return "options"
    return "map" if path.endswith("/extents") else "range"


def instead(part: str, answer: Reply) -> Hook:
    """Gives one answer to all calls of a part."""
    return lambda method, path: answer if part_of(method, path) == part else None


def test_there_are_more_than_a_hundred() -> None:
    assert len(ANSWERS) * len(PARTS) > 100


@pytest.mark.parametrize("part", PARTS)
def test_no_answer_of_imageio_makes_a_fault_of_our_own(
    fake: Fake, access: MakeAccess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr("steps.disk.ranges.RESUME_PAUSES", ())
    fake.vms[0]["status"] = "down"
    machine = described(access)
    for number, answer in enumerate(ANSWERS):
        fake.hook = instead(part, answer)
        out = tmp_path / str(number)
        error = refused(access, machine, out)
        fake.hook = lambda method, path: None
        assert fake.live() == [], number
        if error is None:  # the answer changes nothing, such as features that are not known
            assert out.read_bytes() == fake.content[DISKS[0]], number
            continue
        assert error.code is not Exit.INTERNAL, number
        assert str(error).isprintable(), number
        assert len(str(error)) < 1000, number
        with suppress(FileNotFoundError):
            out.unlink()


def refused(access: MakeAccess, machine: Machine, out: Path) -> StepError | None:
    """The error of an export; None if it succeeds."""
    try:
        exported(access, machine, out)
    except StepError as error:
        return error
    return None


def test_an_endless_map_means_that_the_whole_disk_is_read(
    fake: Fake, access: MakeAccess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steps.providers.ovirt.export.MOST_MAP_BYTES", 1 << 16)
    fake.vms[0]["status"] = "down"
    machine = described(access)
    endless = Reply(200, b"[" + b" " * (1 << 20) + b"]")
    fake.hook = lambda method, path: endless if part_of(method, path) == "map" else None
    exported(access, machine, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == fake.content[DISKS[0]]
    assert fake.sent == SIZE
