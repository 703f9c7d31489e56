"""Runs `strict-decode`: KubeVirt's own types and webhooks check a manifest."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path
from typing import Final

from tests.real import goprogram

_SOURCES: Final = Path(__file__).parent


@functools.cache
def program() -> Path:
    """The program; it is built if needed."""
    return goprogram.build("strict-decode", _SOURCES)


def faults(text: str) -> list[str]:
    """Everything that KubeVirt would refuse in these documents, as FIELD: WHAT."""
    ended = subprocess.run([program()], input=text, capture_output=True, text=True, check=False)
    assert ended.returncode in {0, 1}, ended.stderr
    lines = ended.stdout.splitlines()
    assert bool(lines) is (ended.returncode == 1)
    return [line.partition(": ")[2] for line in lines]
