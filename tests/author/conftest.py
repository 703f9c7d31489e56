"""The same examples on every machine and every run, as in tests/unit."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("author", max_examples=40, deadline=None, derandomize=True, database=None)
settings.load_profile("author")
