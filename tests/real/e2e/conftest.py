"""Fixtures that are made once for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.real.e2e import harness

MakeDisk = Callable[..., Path]


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> MakeDisk:
    """Returns a function that makes random disks by name and MiB; a name gives the same disk again."""
    folder = tmp_path_factory.mktemp("disks")

    def make(name: str, mib: float, data: float | None = None) -> Path:
        path = folder / f"{name}.img"
        if not path.exists():
            wanted = None if data is None else int(data * harness.MIB)
            harness.random_disk(path, int(mib * harness.MIB), data=wanted)
        return path

    return make
