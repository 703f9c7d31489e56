"""Go programs of the tests, built when they are missing or their sources changed."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
from pathlib import Path
from typing import Final

BIN: Final = Path(__file__).parents[1] / ".cache" / "bin"


def build(name: str, sources: Path) -> Path:
    """The program `name` made of the folder `sources`; one process builds, others that need it wait."""
    BIN.mkdir(parents=True, exist_ok=True)
    binary, stamp = BIN / name, BIN / f"{name}.sources"
    with (BIN / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = digest(sources)
        if not binary.exists() or not stamp.exists() or stamp.read_text() != wanted:
            partial = BIN / f"{name}.partial"
            subprocess.run(["go", "build", "-o", str(partial), "."], cwd=sources, check=True)
            partial.replace(binary)
            stamp.write_text(wanted)
    return binary


def digest(sources: Path) -> str:
    """What the program is made of, without its tests."""
    found = hashlib.sha256()
    for path in sorted([*sources.rglob("*.go"), *sources.glob("go.*")]):
        if not path.name.endswith("_test.go"):
            found.update(f"{path.relative_to(sources)}\0".encode() + path.read_bytes())
    return found.hexdigest()
