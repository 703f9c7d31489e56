"""For every unit test: a read that failed is repeated without a pause."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stamina

from steps.runtime.retry import ATTEMPTS


@pytest.fixture(autouse=True, scope="session")
def no_pauses() -> Iterator[None]:
    with stamina.set_testing(True, attempts=ATTEMPTS):
        yield
