"""Runs `strict-decode`: what KubeVirt's types and webhooks say to a manifest."""

from __future__ import annotations

import fcntl
import functools
import os
import subprocess
from pathlib import Path
from typing import Final

_SOURCES: Final = Path(__file__).parent
_BINARY: Final = _SOURCES.parents[1] / ".cache" / "bin" / "strict-decode"


@functools.cache
def program() -> Path:
    """The program, built when it is missing or older than its sources; one process builds, others wait."""
    _BINARY.parent.mkdir(parents=True, exist_ok=True)
    with _BINARY.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _fresh():
            made = _BINARY.with_suffix(f".{os.getpid()}")
            subprocess.run(["go", "-C", str(_SOURCES), "build", "-o", str(made), "."], check=True)
            made.replace(_BINARY)
    return _BINARY


def _fresh() -> bool:
    sources = [*_SOURCES.glob("*.go"), _SOURCES / "go.mod", _SOURCES / "go.sum"]
    built = _BINARY.stat().st_mtime if _BINARY.exists() else 0.0
    return all(source.stat().st_mtime <= built for source in sources)


def faults(text: str) -> list[str]:
    """Everything KubeVirt would refuse in these documents, as FIELD: WHAT."""
    ended = subprocess.run([program()], input=text, capture_output=True, text=True, check=False)
    assert ended.returncode in {0, 1}, ended.stderr
    lines = ended.stdout.splitlines()
    assert bool(lines) is (ended.returncode == 1)
    return [line.partition(": ")[2] for line in lines]
