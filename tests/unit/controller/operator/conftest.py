"""For every test of the operator: a text of credentials is parsed once."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from workflows import v2v_secret


@pytest.fixture(autouse=True, scope="session")
def each_login_parsed_once() -> Iterator[None]:
    """The tests reconcile thousands of imports with one login, and the YAML reader is slow."""
    parsed = functools.cache(v2v_secret.parse)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(v2v_secret, "parse", lambda text: dict(parsed(text)))
        yield
