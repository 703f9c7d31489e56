"""Puts a row of `admit` into a template: what the expressions yield for a row that nobody has changed.

Argo itself evaluates the expressions in tests/real/landing/test_argo.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from steps.model.landing import LandingDisk
from workflows import mounts
from workflows.author.pods import MOUNTS, PATH


def values(row: Mapping[str, str]) -> dict[str, str]:
    """The value of each expression over the row of a disk, by the expression with its braces."""
    return {
        MOUNTS: row["mounts"],
        PATH: row["path"],
        mounts.landing_claim(): row["claim"],
        mounts.mixed_claim(): row["claim"],
        mounts.scratch_claim(): row.get("scratch", ""),
        mounts.either("volume", "disk", "scratch"): row.get("volume", "disk"),
    }


def filled(text: str, row: LandingDisk) -> str:
    """The JSON `text` with the values of the row."""
    given = row.model_dump()
    plain = {f"{{{{inputs.parameters.{name}}}}}": value for name, value in given.items()}
    for expression, value in (values(given) | plain).items():
        text = text.replace(expression, value)
    return text
