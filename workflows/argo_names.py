"""Names that only Argo's side of a run needs: templates, Workflows, accounts, keys of the limits. Pure.

Names and labels of all other objects are in `steps.model.names`.
"""

from __future__ import annotations

from typing import Final

from steps.model.names import short
from steps.model.plan import SourceKind, SourcePlan
from workflows.stages import Identity, Limit

LIMITS: Final = "vmferry-limits"
"""The ConfigMap of the limits: keys by `limit_key`."""
DEFAULT: Final = "default"
"""In place of a source's key: the limits of sources that have none of their own yet."""
_CONFIG_KEY: Final = 253


def template_name(kind: SourceKind) -> str:
    """The WorkflowTemplate for sources of a kind; they differ in the provider's image only."""
    return f"vmferry-{provider(kind)}"


def provider(kind: SourceKind) -> str:
    """A kind's extra in pyproject.toml and target in images/Containerfile: `VmwareSource` is `vmware`."""
    return kind.removesuffix("Source").lower()


def service_account(identity: Identity) -> str:
    return f"vmferry-{identity}"


def workflow_name(run: str, attempt: int) -> str:
    """The first Workflow is named as the run; later ones over the same request are numbered."""
    return f"{run}-r{attempt}" if attempt else run


def attempt_of(workflow: str) -> int:
    """The number of the Workflow over its request; 0 for the first."""
    _, mark, number = workflow.rpartition("-r")
    return int(number) if mark and number.isdigit() else 0


def give_back(run: str) -> str:
    """The Workflow that runs a run's cleanup and nothing else."""
    return f"{run}-back"


def source_key(source: SourcePlan) -> str:
    """A source in the limits' ConfigMap: sources of one name but another kind or namespace differ."""
    return short(f"{source.kind.lower()}.{source.namespace}.{source.name}", _CONFIG_KEY - 16)


def limit_key(source: str, limit: Limit) -> str:
    """A limit's key there."""
    return f"{source}.{limit}"
