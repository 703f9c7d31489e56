"""Names that a run needs only in Argo: templates, Workflows, service accounts, keys of the limits. Pure.

Names and labels of all other objects are in `steps.model.names`.
"""

from __future__ import annotations

from typing import Final

from steps.model.names import short
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from workflows.stages import Identity, Limit

LIMITS: Final = "vmferry-limits"
"""The ConfigMap of the limits: keys by `limit_key`."""
DEFAULT: Final = "default"
"""Used instead of a source's key: the limits of sources that have no key yet."""
_CONFIG_KEY: Final = 253


def template_name(kind: SourceKind) -> str:
    """The WorkflowTemplate for sources of a kind; they differ in the provider's image only."""
    return f"vmferry-{kind.provider}"


def service_account(identity: Identity) -> str:
    return f"vmferry-{identity}"


def workflow_name(run: str, attempt: int) -> str:
    """The first Workflow has the name of the run; later Workflows for the same request have a number."""
    return f"{run}-r{attempt}" if attempt else run


def attempt_of(workflow: str) -> int:
    """The number of the Workflow for its request; 0 for the first."""
    _, mark, number = workflow.rpartition("-r")
    return int(number) if mark and number.isdigit() else 0


def give_back(run: str) -> str:
    """The Workflow that runs only the cleanup of a run."""
    return f"{run}-back"


def undo(run: str) -> str:
    """The Workflow that undoes a run: it has only the exit handler."""
    return f"{run}-undo"


def source_key(source: SourcePlan) -> str:
    """The key of a source in the limits' ConfigMap. It contains kind, namespace and name."""
    return short(f"{source.kind.lower()}.{source.namespace}.{source.name}", _CONFIG_KEY - 16)


def limit_key(source: str, limit: Limit) -> str:
    """The key of a limit in that ConfigMap."""
    return f"{source}.{limit}"
