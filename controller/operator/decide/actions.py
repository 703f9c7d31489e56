"""The actions of the controller on an import: plain values, so that a decision can be read and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from steps.model.hook_verdict import HookVerdict
from steps.model.kinds import Kind
from steps.model.plan import Gate, Plan
from workflows.api.import_hook import ImportHook
from workflows.api.status import ImportStatus
from workflows.hooks import HookDocument


@dataclass(frozen=True)
class AddFinalizer:
    """Add our finalizer to the import: from now on there may be something to release."""


@dataclass(frozen=True)
class RemoveFinalizer:
    """Remove our finalizer from the import."""


@dataclass(frozen=True)
class UpdateStatus:
    """Write the status if it has changed, with Events and log lines for what has changed."""

    status: ImportStatus


@dataclass(frozen=True)
class SubmitWorkflow:
    """Create a Workflow and everything that it needs. The status must name it already."""

    plan: Plan
    attempt: int
    spec: str
    """Digest of the spec that is carried out."""
    credentials: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class SyncCredentials:
    """Update the run's copy of the credentials."""

    plan: Plan
    credentials: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class StopWorkflow:
    """Stop a Workflow early; its exit handler releases what it holds at the source."""

    workflow: str
    cancelled: bool = False
    """Whether `spec.cancel` asks for it: taking that back asks for a retry."""
    parked: bool = False
    """Whether it is stopped because it was suspended for too long: resuming it asks for a retry."""


@dataclass(frozen=True)
class SuspendWorkflow:
    """Suspend a Workflow, so that no further step starts, or resume one that was suspended so."""

    workflow: str
    suspended: bool
    earlier_seconds: int = 0
    """How long the Workflow was suspended before."""


@dataclass(frozen=True)
class ApproveGate:
    """Open a gate: the change to the Workflow that `argo resume` makes."""

    workflow: str
    nodes: tuple[str, ...]
    gate: Gate
    author: str
    """Who asked for it, as far as the API server knows."""
    remaining_gates: str
    """What of the annotation's value was not used."""


@dataclass(frozen=True)
class NameClaims:
    """Say what the pods with all disks mount, and let the Workflow continue."""

    workflow: str
    nodes: tuple[str, ...]
    words: str
    """As in `workflows.mounts`."""


@dataclass(frozen=True)
class StartHook:
    """Run a hook that a pod of the Workflow waits for, in a Pod or a Workflow of its own."""

    hook: ImportHook
    name: str
    """Of the Pod or Workflow, and of the ConfigMap with the document."""
    workflow: str
    waiter: str
    """The uid of the pod that waits."""
    document: HookDocument


@dataclass(frozen=True)
class AnswerHooks:
    """Say to pods that wait for hooks how these have ended, by annotations of their Workflow."""

    workflow: str
    verdicts: Mapping[str, HookVerdict | None]
    """By the uid of the pod; None: the pod has ended, and its annotation is removed."""


@dataclass(frozen=True)
class EndHook:
    """End a hook that took too long, or that nobody waits for any more: delete its Pod or Workflow."""

    kind: Kind
    name: str


@dataclass(frozen=True)
class RemoveAnnotation:
    """Remove an annotation from the import: what it asks for is done, or cannot be done."""

    annotation: str


@dataclass(frozen=True)
class DeleteSecrets:
    """Delete the Secrets of a run that is over for good."""

    run: str


@dataclass(frozen=True)
class DeleteCredentials:
    """Delete the copy of the credentials of a run that needs them no more, or may not use them any more."""

    run: str


@dataclass(frozen=True)
class DeleteWorkflows:
    """Delete Workflows of earlier attempts or cleanups. What they have made belongs to the run and stays."""

    workflows: tuple[str, ...]


@dataclass(frozen=True)
class DeleteRuns:
    """Delete what runs have in the release namespace, Workflows included."""

    runs: tuple[str, ...]


@dataclass(frozen=True)
class RunCleanup:
    """Run the exit handler alone: none has run, or the source still holds something."""

    plan: Plan
    attempt: int
    credentials: Mapping[str, str] = field(repr=False)
    keeps_off: bool = False
    """Only release: no VM is stopped or started, as the import has succeeded, or may have."""
    has_succeeded: bool = False
    """The import has succeeded: a mark of the VM that is missing is set."""


@dataclass(frozen=True)
class KeepForCleanup:
    """Label the request of a deleted import, so that it stays until its source is clean."""

    run: str


@dataclass(frozen=True)
class RunUndo:
    """Run the exit handler alone: it stops the VM at the target, then starts the VM at the source."""

    plan: Plan
    attempt: int
    credentials: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class SyncRequest:
    """Update a field of the run's request that the exit handler reads, while the run continues."""

    plan: Plan
    spec: str
    """Digest of the spec that is carried out."""


@dataclass(frozen=True)
class DryRun:
    """Make a dry run: run preflight in a pod, and keep the plan where a person can read it."""

    plan: Plan
    credentials: Mapping[str, str] = field(repr=False)
    is_requested: bool = False
    """Whether the retry annotation asks for it; it is removed when the dry run has ended."""


@dataclass(frozen=True)
class EmitEvent:
    """Emit an Event that no change of the status implies."""

    reason: str
    message: str
    warning: bool = False


RunAction = (
    SubmitWorkflow
    | SyncCredentials
    | SyncRequest
    | DeleteSecrets
    | DeleteCredentials
    | DeleteRuns
    | DeleteWorkflows
    | RunCleanup
    | KeepForCleanup
    | RunUndo
    | DryRun
)
WorkflowAction = StopWorkflow | SuspendWorkflow | ApproveGate | NameClaims
HookAction = StartHook | AnswerHooks | EndHook
Action = (
    AddFinalizer
    | RemoveFinalizer
    | UpdateStatus
    | RunAction
    | WorkflowAction
    | HookAction
    | RemoveAnnotation
    | EmitEvent
)
