"""A stream that is longer than the disk that was planned."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from steps.disk.land import Landed, Source, land
from steps.model.contract import Exit, StepError
from steps.runtime.stop import Stop

SIZE = 1 << 20


def landed(tmp_path: Path, content: bytes, **source: Any) -> Landed:
    (tmp_path / "source").write_bytes(content)
    return land(
        Source(url=(tmp_path / "source").as_uri(), format="raw", identity="disk", most=SIZE, **source),
        tmp_path / "out",
        format="raw",
        capacity=SIZE,
        report=lambda _done, _total: None,
        stop=Stop(),
    )


def test_a_stream_of_the_planned_size_lands(tmp_path: Path) -> None:
    content = b"x" * SIZE
    assert landed(tmp_path, gzip.compress(content), compression="gzip").virtual_size == SIZE
    assert (tmp_path / "out").read_bytes() == content


def test_a_small_gzip_of_endless_zeros_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError) as caught:
        landed(tmp_path, gzip.compress(bytes(16 * SIZE)), compression="gzip")
    assert caught.value.code is Exit.CORRUPT
    assert f"more than {SIZE} bytes" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("compression", ["", "gzip"])
def test_a_stream_that_is_too_short_is_refused(tmp_path: Path, compression: Any) -> None:
    content = bytes(SIZE - 512)
    with pytest.raises(StepError):
        landed(tmp_path, gzip.compress(content) if compression else content, compression=compression)
