"""Refusals by the webhooks of the stand-ins."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - not an error of ours
    """The answer to a request that is refused. `code` as in HTTP."""

    def __init__(self, message: str, code: int = 422, reason: str = "Invalid") -> None:
        super().__init__(message)
        self.status = {"status": "Failure", "message": message, "code": code, "reason": reason}


def internal(message: str) -> Refused:
    """The answer for a plain error in Harvester's code."""
    return Refused(message, 500, "InternalError")
