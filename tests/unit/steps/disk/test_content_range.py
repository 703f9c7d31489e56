"""The header Content-Range of an answer, as any server may write it."""

from __future__ import annotations

from http.client import HTTPResponse
from types import SimpleNamespace
from typing import cast

import pytest

from steps.disk.web import parse_content_range
from steps.model.contract import Exit, StepError


def answer(text: str) -> HTTPResponse:
    return cast("HTTPResponse", SimpleNamespace(headers={"Content-Range": text} if text else {}))


@pytest.mark.parametrize(
    ("text", "size"), [("bytes 0-0/4096", 4096), ("bytes 0-9/*", None), (f"bytes 0-0/{1 << 62}", 1 << 62)]
)
def test_the_size_of_the_file_is_read(text: str, size: int | None) -> None:
    assert parse_content_range(answer(text), 0) == (0, size)


@pytest.mark.parametrize(
    "text",
    [
        *("", "bytes 1-1/5", "bytes */5", "items 0-0/1", "bytes 0-0/-1", "bytes 0-x/5", "bytes ٠-0/5"),
        *(f"bytes 0-0/{'9' * 5000}", f"bytes {'0' * 5000}-0/5", "x" * 60_000),
    ],
    ids=lambda text: text[:20],
)
def test_another_one_is_one_short_error(text: str) -> None:
    with pytest.raises(StepError) as caught:
        parse_content_range(answer(text), 0)
    assert caught.value.code is Exit.BROKEN_STREAM
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
