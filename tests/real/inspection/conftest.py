"""The disks and the appliance that all tests here share; both are built once, under a lock."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from controller.local.qemu_boot import kvm_usable

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[2]
CACHE: Final = ROOT / ".cache"
PYTHON: Final = "/usr/bin/python3"
SECONDS: Final = 600
"""Most seconds for one inspection: other tests use the processors, too."""


@dataclass(frozen=True)
class Inspected:
    """The result of `vmferry inspect -o json`."""

    code: int
    document: dict[str, Any]
    out: str
    err: str

    @property
    def codes(self) -> list[str]:
        return [concern["code"] for concern in self.document["concerns"]]

    @property
    def buses(self) -> list[str]:
        return [bus["name"] for bus in self.document["diskBuses"]]


Inspect = Callable[..., Inspected]


def missing() -> str:
    """Why libguestfs cannot be used here; "" if it can."""
    have = subprocess.run([PYTHON, "-I", "-c", "import guestfs"], capture_output=True, check=False)
    if have.returncode:
        return "the binding of libguestfs is missing: run tests/prepare.sh libguestfs"
    if not any(Path("/boot").glob("vmlinuz-*")) and "LIBGUESTFS_PATH" not in os.environ:
        return "no kernel for the appliance of libguestfs in /boot: run tests/prepare.sh libguestfs"
    return ""


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The environment of all programs: one appliance, and emulation where KVM does not work."""
    if reason := missing():
        pytest.skip(reason)
    folder = CACHE / "libguestfs"
    folder.mkdir(parents=True, exist_ok=True)
    settings = {} if kvm_usable() else {"LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}
    shared = {"LIBGUESTFS_CACHEDIR": str(folder), "LIBGUESTFS_BACKEND": "direct"}
    return {**os.environ, **shared, **settings}


@pytest.fixture(scope="session")
def images(environment: dict[str, str]) -> Path:
    """The folder with the disks; built again when the programs that make them have changed."""
    if os.geteuid() != 0:
        pytest.skip("the disks have device nodes: only root can build them")
    folder = CACHE / "inspection"
    key = hashlib.sha256(
        b"".join((HERE / name).read_bytes() for name in ("images.py", "hive.py"))
    ).hexdigest()
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "inspection.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists() or (folder / "done").read_text() != key:
            argv = [PYTHON, "-m", "tests.real.inspection.images", str(folder)]
            subprocess.run(argv, cwd=ROOT, env=environment, check=True, timeout=SECONDS)
            (folder / "done").write_text(key)
    return folder


@pytest.fixture(scope="session")
def guest() -> Path:
    """The project's own guest."""
    path = CACHE / "guest" / "guest.img"
    if not path.exists():
        pytest.skip("the guest is not built: run tests/prepare.sh packages guest")
    return path


@pytest.fixture
def inspect(images: Path, environment: dict[str, str], tmp_path: Path) -> Inspect:
    """Runs `vmferry inspect` on disks of the folder, and proves that it changed none of them."""

    def call(*names: str, output: str = "json") -> Inspected:
        paths = [images / name for name in names]
        before = [digest(path) for path in paths]
        temporary = tmp_path / "tmp"
        temporary.mkdir(exist_ok=True)
        argv = [sys.executable, "-m", "controller.cli.main", "inspect", *map(str, paths), "-o", output]
        ended = subprocess.run(
            argv,
            cwd=ROOT,
            env={**environment, "TMPDIR": str(temporary)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert [digest(path) for path in paths] == before
        assert list(temporary.iterdir()) == []
        document = json.loads(ended.stdout) if ended.returncode == 0 and output == "json" else {}
        return Inspected(ended.returncode, document, ended.stdout, ended.stderr)

    return call


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
