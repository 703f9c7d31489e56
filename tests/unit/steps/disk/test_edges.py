"""Rare paths: no libdeflate, a silent server, a wrong answer, storage that fails."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from steps.disk import codec
from tests.unit.steps.disk.conftest import SECTOR
from tests.unit.steps.disk.streamvmdk import stream_vmdk

DISK = random.Random(9).randbytes((6 << 20) + SECTOR)
VMDK = bytes(stream_vmdk(DISK).data)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The codec as it works without libdeflate; the one in use does not change."""
    monkeypatch.setitem(sys.modules, "deflate", None)
    spec = importlib.util.spec_from_file_location("plain_codec", codec.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_standard_library_replaces_libdeflate(plain: ModuleType) -> None:
    assert plain.NAME == "zlib"
    packed = zlib.compress(DISK[:5000])
    assert plain.crc32(memoryview(DISK), 7) == codec.crc32(memoryview(DISK), 7)
    assert plain.inflate(memoryview(packed), 5000) == codec.inflate(memoryview(packed), 5000) == DISK[:5000]


@pytest.mark.parametrize("module", ["libdeflate", "zlib"])
@pytest.mark.parametrize(
    ("damage", "limit"),
    [
        (lambda packed: packed[:-1], 5000),
        (lambda packed: packed[:-1] + bytes([packed[-1] ^ 1]), 5000),
        (lambda packed: b"\0" + packed[1:], 5000),
        (lambda packed: packed, 4999),
    ],
    ids=["cut", "checksum", "header", "too much"],
)
def test_both_codecs_detect_damage(
    plain: ModuleType, module: str, damage: Callable[[bytes], bytes], limit: int
) -> None:
    used = codec if module == "libdeflate" else plain
    with pytest.raises(used.DamagedError):
        used.inflate(memoryview(damage(zlib.compress(DISK[:5000]))), limit)


def test_a_disk_lands_without_libdeflate(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(VMDK)
    code = (
        "import sys; sys.modules['deflate'] = None;"
        "from steps.disk import codec; from tests.real.disk import child;"
        "assert codec.NAME == 'zlib'; child.main(*sys.argv[1:])"
    )
    argv = [sys.executable, "-c", code, f"file://{tmp_path}/in", str(tmp_path / "out"), "raw", "-1"]
    subprocess.run(argv, check=True, capture_output=True)
    assert (tmp_path / "out").read_bytes() == DISK
