"""What a Workflow has left at the source of its VM. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from steps.model import leftovers as output
from workflows.stages import RELEASE_SOURCE, STAGES, Scope
from workflows.status.observed import Observed
from workflows.status.phase import has_begun

SOURCE_LEFTOVERS: Final = "SourceLeftovers"
"""Type of an import's condition: True while its source holds something, Unknown while it cannot be asked."""
_HOLDING: Final = frozenset(
    stage.name for stage in STAGES if stage.credentials and not stage.check and stage.scope is not Scope.EXIT
)
"""Stages that change the source or hold something there."""


def leftovers(seen: Observed | None) -> tuple[str, ...] | None:
    """What the exit handler could not release at the source; None if it is not known.

    It is unknown while the exit handler has not succeeded, if the source did not answer it, and in a Workflow
    of an older template.
    """
    if seen is None or not seen.succeeded(RELEASE_SOURCE):
        return None
    return output.from_text(seen.output(RELEASE_SOURCE, None, output.OUTPUT))


def cleaned_at(seen: Observed | None) -> datetime | None:
    """When the exit handler asked the source; None if it has not, or has not ended."""
    leaf = seen.leaf(RELEASE_SOURCE) if seen is not None else None
    return leaf.finished if leaf is not None else None


def may_have_left(seen: Observed) -> bool:
    """Whether a step has begun that may leave something; only the checks leave nothing but a session.

    A source must not be asked again after it has refused the credentials: it may lock the account.
    """
    return seen.unreadable or any(leaf.stage in _HOLDING and has_begun(leaf) for leaf in seen.leaves)
