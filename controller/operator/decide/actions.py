"""What the controller may do about an import: plain values, so that a decision can be read and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from steps.model.plan import Gate, Plan
from workflows.api.status import ImportStatus


@dataclass(frozen=True)
class Hold:
    """Put our finalizer on the import: from now on something may have to be given back."""


@dataclass(frozen=True)
class LetGo:
    """Take our finalizer off."""


@dataclass(frozen=True)
class Report:
    """Write the status, if it is another, with Events and log lines for what has changed."""

    status: ImportStatus


@dataclass(frozen=True)
class Begin:
    """Make a Workflow and all it needs. Its name must have been reported before."""

    plan: Plan
    attempt: int
    spec: str
    """Digest of the spec that is carried out."""
    credentials: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Refresh:
    """Bring the run's copy of the credentials up to date."""

    plan: Plan
    credentials: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Stop:
    """End a Workflow early; its exit handler gives back what it holds at the source."""

    workflow: str
    cancelled: bool = False
    """Whether `spec.cancel` asks for it: taking that back asks for a retry."""


@dataclass(frozen=True)
class Suspend:
    """Begin no further step of a Workflow, or go on with one that was held so."""

    workflow: str
    held: bool


@dataclass(frozen=True)
class Approve:
    """Open a gate: the change to the Workflow that `argo resume` makes."""

    workflow: str
    nodes: tuple[str, ...]
    gate: Gate
    by: str
    """Who asked for it, as far as the API server knows."""
    left: str
    """What of the annotation's value was not used."""


@dataclass(frozen=True)
class Unmark:
    """Take an annotation off the import: what it asks for is done, or cannot be."""

    annotation: str


@dataclass(frozen=True)
class Tidy:
    """Let go of the Secrets of a run that is over for good."""

    run: str


@dataclass(frozen=True)
class Discard:
    """Delete Workflows of earlier attempts that have ended; what they left belongs to the run."""

    workflows: tuple[str, ...]


@dataclass(frozen=True)
class Release:
    """Delete what runs have in the release namespace, Workflows included."""

    runs: tuple[str, ...]


@dataclass(frozen=True)
class GiveBack:
    """Run the cleanup step alone: the Workflow ended in a way that runs no exit handler, or is gone."""

    plan: Plan
    credentials: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Rehearse:
    """Carry out a dry run: look at the machine, and keep the plan where a person can read it."""

    plan: Plan
    credentials: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Say:
    """An Event that no change of the status implies."""

    reason: str
    message: str
    warning: bool = False


Begun = Begin | Refresh | Tidy | Release | Discard | GiveBack | Rehearse
Steered = Stop | Suspend | Approve
Act = Hold | LetGo | Report | Begun | Steered | Unmark | Say
