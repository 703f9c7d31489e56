"""Runs `crd-check` (tests/crd/go): the API server's own code judges definitions and objects."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import subprocess
from io import StringIO
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

_SOURCES: Final = Path(__file__).parent / "go"
_BINARY: Final = _SOURCES.parents[2] / ".cache" / "bin" / "crd-check"

Json = dict[str, Any]


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


def judged(definitions: Path, objects: list[Json]) -> list[Json]:
    """For each object what the API server would say: errors, pruned fields, the object as stored."""
    ended = subprocess.run(
        [program(), str(definitions)], input=as_yaml(objects), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def as_yaml(objects: list[Json]) -> str:
    text = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.explicit_start = True
    yaml.dump_all(objects, text)
    return text.getvalue()
