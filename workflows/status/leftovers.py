"""What an import has left at its source, according to its Workflow. Pure. The only reader of that result."""

from __future__ import annotations

from steps.model.leftovers import LEFT, Leftovers, from_output
from workflows.stages import RELEASE_SOURCE
from workflows.status.observed import Observed

_OUTPUT = LEFT.removesuffix(".json")


def leftovers_of(seen: Observed | None) -> Leftovers:
    """What is left at the source; unknown unless the stage `release-source` has succeeded and reported it.

    Workflows of earlier versions have no such stage, so for them it is unknown.
    """
    if seen is None or not seen.succeeded(RELEASE_SOURCE):
        return Leftovers(is_known=False)
    return from_output(seen.output(RELEASE_SOURCE, None, _OUTPUT))
