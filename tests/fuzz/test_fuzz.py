"""Fuzzes every parser of foreign bytes shortly, or for VMFERRY_FUZZ_SECONDS each if that is set.

The short run is a number of cases from a fixed seed, so its findings are the same each time. A longer run has
a new seed for each commit, which it prints: its findings for a commit are the same on every computer.
"""

from __future__ import annotations

import os
import random
import subprocess
from typing import Final

import pytest

from tests.fuzz.__main__ import ROOT, fuzz
from tests.fuzz.parsers import COVERS

SECONDS: Final = os.environ.get("VMFERRY_FUZZ_SECONDS")
CASES: Final = {"containers": 200}
MOST: Final = 600
"""Cases of a parser that runs no programs."""


def seed() -> str:
    """The commit's seed; random if git does not know the commit."""
    argv = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return str(random.SystemRandom().randrange(1 << 32))
    return str(int(commit[:8], 16))


@pytest.mark.fuzz
@pytest.mark.parametrize("name", COVERS)
def test_foreign_bytes_do_no_harm(name: str) -> None:
    if SECONDS:
        result = fuzz(name, f"{SECONDS}s", seed())
        print(result.text)  # noqa: T201 - the seed and the figures belong into CI's log
    else:
        result = fuzz(name, f"{CASES.get(name, MOST)}n", "1")
    assert result.good, result.text
