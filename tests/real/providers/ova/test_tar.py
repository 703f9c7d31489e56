"""Members of tars as Python's tarfile and GNU tar write them, and malicious tars."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.unit.steps.providers.ova.test_tar import content, members


@pytest.mark.parametrize("layout", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_every_format_of_gnu_tar_is_read(tmp_path: Path, layout: str) -> None:
    (tmp_path / "m.ovf").write_bytes(b"o" * 100)
    (tmp_path / "d.vmdk").write_bytes(b"d" * 70000)
    argv = ["tar", f"--format={layout}", "-cf", "t", "--", "./m.ovf", "d.vmdk"]
    subprocess.run(argv, check=True, cwd=tmp_path)
    found = members(tmp_path / "t")
    assert list(found) == ["m.ovf", "d.vmdk"]
    assert content(tmp_path / "t", found["d.vmdk"]) == b"d" * 70000
