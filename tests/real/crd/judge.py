"""Runs `crd-check` (tests/real/crd/go): the API server's own code checks definitions and objects."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from tests.real import goprogram

_SOURCES: Final = Path(__file__).parent / "go"

Json = dict[str, Any]
Row = tuple[str, Json, Json, str]
"""Kind, a spec that is refused, its neighbour that is accepted, words of the message."""


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


def judged_rows(
    definitions: Path, rows: Sequence[Row], an_object: Callable[[str, Json], Json]
) -> list[tuple[Json, Json]]:
    """The two answers of each row, from one start of the program."""
    given = [an_object(kind, spec) for kind, refused, accepted, _ in rows for spec in (refused, accepted)]
    found = judged(definitions, given)
    return list(zip(found[::2], found[1::2], strict=True))


def assert_judged_as(row: Row, answers: tuple[Json, Json]) -> None:
    refused, accepted = answers
    assert any(row[3] in one for one in refused["errors"]), refused["errors"]
    assert (accepted["errors"], accepted["pruned"], refused["pruned"]) == ([], [], [])


def as_yaml(objects: list[Json]) -> str:
    """JSON, which is YAML for every parser: some read a bare `on` as true."""
    return "".join(f"---\n{json.dumps(one)}\n" for one in objects)
