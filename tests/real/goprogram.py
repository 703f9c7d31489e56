"""The Go programs of the tests; they are built if they are missing or their sources changed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

BIN: Final = Path(__file__).parents[2] / ".cache" / "bin"


def build(
    name: str,
    sources: Path,
    folder: Path = BIN,
    *,
    flags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Path:
    """The program `name`, built from the folder `sources`; one process builds, others wait.

    `flags` are those of `go build`; `environment` is added to this process's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    binary, stamp = folder / name, folder / f"{name}.sources"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_fresh(name, sources, folder):
            partial = folder / f"{name}.partial"
            argv = ["go", "build", *flags, "-o", str(partial), "."]
            subprocess.run(argv, cwd=sources, check=True, env={**os.environ, **(environment or {})})
            partial.replace(binary)
            stamp.write_text(digest(sources))
    return binary


def is_fresh(name: str, sources: Path, folder: Path = BIN) -> bool:
    """Whether the program exists and was built from these sources."""
    stamp = folder / f"{name}.sources"
    return (folder / name).exists() and stamp.exists() and stamp.read_text() == digest(sources)


def digest(sources: Path) -> str:
    """A digest of the program's sources, without its tests."""
    found = hashlib.sha256()
    for path in sorted([*sources.rglob("*.go"), *sources.glob("go.*")]):
        if not path.name.endswith("_test.go"):
            found.update(f"{path.relative_to(sources)}\0".encode() + path.read_bytes())
    return found.hexdigest()
