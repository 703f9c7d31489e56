"""Every parser of foreign bytes under fuzz for a moment; for VMFERRY_FUZZ_SECONDS each where that is set.

The moment is a number of cases from a fixed seed: what it finds it finds each time. A longer run takes a new
seed for each commit, and prints it: what it says of a commit it says again, on every machine.
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
    """The commit's; by chance where no git knows it."""
    argv = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return str(random.SystemRandom().randrange(1 << 32))
    return str(int(said[:8], 16))


@pytest.mark.fuzz
@pytest.mark.parametrize("name", COVERS)
def test_nothing_foreign_does_harm(name: str) -> None:
    if SECONDS:
        result = fuzz(name, f"{SECONDS}s", seed())
        print(result.text)  # noqa: T201 - the seed and the figures belong into CI's log
    else:
        result = fuzz(name, f"{CASES.get(name, MOST)}n", "1")
    assert result.good, result.text
