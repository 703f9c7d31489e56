"""Runs `crd-check` (tests/real/crd/go): the API server's own code checks definitions and objects."""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.real import goprogram

_SOURCES: Final = Path(__file__).parent / "go"

Json = dict[str, Any]


@functools.cache
def program() -> Path:
    """The program; it is built if needed."""
    return goprogram.build("crd-check", _SOURCES)


def judged(definitions: Path, objects: list[Json]) -> list[Json]:
    """The answer of the API server for each object: errors, pruned fields, the stored object."""
    ended = subprocess.run(
        [program(), str(definitions)], input=as_yaml(objects), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def as_yaml(objects: list[Json]) -> str:
    """JSON, which is YAML for every parser: some read a bare `on` as true."""
    return "".join(f"---\n{json.dumps(one)}\n" for one in objects)
