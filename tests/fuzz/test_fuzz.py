"""Every parser of foreign bytes under fuzz for a moment; for VMFERRY_FUZZ_SECONDS each where that is set.

The moment is a number of cases from a fixed seed: what it finds it finds each time. A longer run takes a new
seed, and prints it.
"""

from __future__ import annotations

import os
import random
from typing import Final

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.parsers import COVERS

SECONDS: Final = os.environ.get("VMFERRY_FUZZ_SECONDS")
CASES: Final = {"containers": 200}
MOST: Final = 600
"""Cases of a parser that runs no programs."""


@pytest.mark.fuzz
@pytest.mark.parametrize("name", COVERS)
def test_nothing_foreign_does_harm(name: str) -> None:
    if SECONDS:
        result = fuzz(name, f"{SECONDS}s", str(random.SystemRandom().randrange(1 << 32)))
        print(result.text)  # noqa: T201 - the seed and the figures belong into CI's log
    else:
        result = fuzz(name, f"{CASES.get(name, MOST)}n", "1")
    assert result.good, result.text
