"""The error of a release."""

from __future__ import annotations


class ReleaseError(Exception):
    """A release that cannot be made: one line that says what failed, why, and what to do."""
