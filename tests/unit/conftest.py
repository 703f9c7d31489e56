"""The same examples on every machine and every run, few enough that the whole suite takes seconds."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unit", max_examples=40, deadline=None, derandomize=True, database=None)
settings.load_profile("unit")
