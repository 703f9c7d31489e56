"""A document in a log or a parameter: it survives, and a forged one costs little."""

from __future__ import annotations

import base64
import random
import zlib

import pytest

from steps.model import packed_document
from steps.model.contract import Exit
from steps.model.packed_document import (
    LARGEST,
    LARGEST_PACKED,
    PackedDocumentError,
    from_lines,
    pack,
    to_lines,
    unpack,
)


def noise(count: int) -> str:
    return random.Random(7).randbytes(count).hex()


@pytest.mark.parametrize("text", ["", "{}", "ä{{workflow.name}}\n", noise(50_000)])
def test_a_document_survives(text: str) -> None:
    packed = pack(text)
    assert packed.isascii()
    assert "{{" not in packed
    assert unpack(packed) == text
    log = ["{}", *to_lines(packed), "an error"]
    assert unpack(from_lines("\r\n".join(log))) == text


def test_the_last_document_of_a_log_counts() -> None:
    lines = [*to_lines(pack("old")), *to_lines(pack("new"))]
    assert unpack(from_lines("\n".join(lines))) == "new"


@pytest.mark.parametrize("text", ["x" * (LARGEST + 1), noise(LARGEST_PACKED)])
def test_a_document_that_is_too_large_is_refused_with_its_size(text: str) -> None:
    with pytest.raises(PackedDocumentError) as caught:
        pack(text)
    assert caught.value.code is Exit.UNSUPPORTED
    assert str(len(text)) in str(caught.value)


def packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not base64!",
        packed(b"not zlib"),
        packed(zlib.compress(b"x")[:-1]),
        packed(zlib.compress(b"x") + b"y"),
        packed(zlib.compress(b"\xff")),
        packed(zlib.compress(bytes(LARGEST + 1))),
        "A" * (LARGEST_PACKED + 4),
    ],
)
def test_a_forged_document_is_refused(text: str) -> None:
    with pytest.raises(PackedDocumentError) as caught:
        unpack(text)
    assert caught.value.code is Exit.CORRUPT


def test_a_bomb_is_not_unpacked() -> None:
    with pytest.raises(PackedDocumentError):
        unpack(packed(zlib.compress(bytes(64 << 20), 9)))


LINES = to_lines(pack(noise(20_000)))


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["vmferry-document"],
        LINES[:-1],
        LINES[1:],
        ["vmferry-document 0/0 A"],
        ["vmferry-document 1/999 A"],
    ],
)
def test_a_log_without_the_whole_document_is_refused(lines: list[str]) -> None:
    with pytest.raises(PackedDocumentError):
        from_lines("\n".join(lines))


def test_lines_fit_into_one_entry_of_a_container_log() -> None:
    assert max(map(len, LINES)) < 16 << 10
    assert len(to_lines("A" * LARGEST_PACKED)) == packed_document.MOST_LINES
