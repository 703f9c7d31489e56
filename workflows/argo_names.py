"""Names that a run needs only in Argo: templates, Workflows, service accounts, keys of the limits. Pure.

Names and labels of all other objects are in `steps.model.names`.
"""

from __future__ import annotations

from typing import Final

from steps.model.names import short
from steps.model.plan import DiskWay, SourcePlan
from steps.model.sources import SourceKind
from workflows.stages import Identity, Limit

LIMITS: Final = "vmferry-limits"
"""The ConfigMap of the limits: keys by `limit_key`."""
DEFAULT: Final = "default"
"""Used instead of a source's key: the limits of sources that have no key yet."""
_CONFIG_KEY: Final = 253


_SUFFIXES: Final = {DiskWay.PULL: "", DiskWay.LAND: "-land", DiskWay.MIXED: "-mixed"}
"""The ends of the names of WorkflowTemplates, by the way of the disks."""
_GUEST: Final = "-guest"
"""After that: the template has the stages with all disks of the VM."""


def template_name(kind: SourceKind, way: DiskWay = DiskWay.PULL, *, guest: bool = False) -> str:
    """The WorkflowTemplate for sources of a kind; those of a way differ in the provider's image only.

    `guest`: whether the import asks for a stage that works on the guest's system.
    """
    return f"vmferry-{kind.provider}{_SUFFIXES[way]}{_GUEST if guest else ''}"


def way_of(template: str) -> DiskWay:
    """The way of the disks, by the name of a WorkflowTemplate."""
    template = template.removesuffix(_GUEST)
    suffixes = ((way, suffix) for way, suffix in _SUFFIXES.items() if suffix)
    return next((way for way, suffix in suffixes if template.endswith(suffix)), DiskWay.PULL)


def service_account(identity: Identity) -> str:
    return f"vmferry-{identity}"


def workflow_name(run: str, attempt: int) -> str:
    """The first Workflow has the name of the run; later Workflows for the same request have a number."""
    return f"{run}-r{attempt}" if attempt else run


def attempt_of(workflow: str) -> int:
    """The number of the Workflow for its request; 0 for the first."""
    _, mark, number = workflow.rpartition("-r")
    return int(number) if mark and number.isdigit() else 0


def give_back(run: str, attempt: int = 0) -> str:
    """The Workflow that runs only the cleanup of a run; later ones have a number.

    Argo would take a pod of an earlier Workflow of the same name for its own (argo-workflows
    workflow/controller/workflowpod.go, podExists).
    """
    return f"{run}-back-{attempt}" if attempt else f"{run}-back"


def undo(run: str, attempt: int = 0) -> str:
    """The Workflow that undoes a run: it runs only the exit handler. Later ones have a number, as above."""
    return f"{run}-undo-{attempt}" if attempt else f"{run}-undo"


def is_give_back(workflow: str, run: str) -> bool:
    """Whether the Workflow runs only the cleanup of that run."""
    return _is_numbered(workflow, give_back(run))


def is_undo(workflow: str, run: str) -> bool:
    """Whether the Workflow undoes that run."""
    return _is_numbered(workflow, undo(run))


def _is_numbered(workflow: str, first: str) -> bool:
    name, _, number = workflow.rpartition("-")
    return workflow == first or (name == first and number.isdecimal())


def row_key(source: SourcePlan) -> str:
    """The key of a source in `limits.perSource` of the chart. It contains kind, namespace and name.

    An administrator sets limits under this key; those of `workflows.accounts.limits_key` follow it. The
    Workflows of earlier versions have it as their key, too.
    """
    return short(f"{source.kind.lower()}.{source.namespace}.{source.name}", _CONFIG_KEY - 16)


def limit_key(source: str, limit: Limit) -> str:
    """The key of a limit in that ConfigMap."""
    return f"{source}.{limit}"


CHECKED: Final = "-checked"
"""The end of the names of the DAGs for imports with a boot check."""


HOOKED: Final = "-hooked"
"""The end of the names of the DAGs for imports with hooks, after `CHECKED`."""
HOOKS: Final = "hooks"
"""The parameter of a Workflow with the points at which the import has hooks (`steps.model.plan.HookPlan`)."""


def entrypoint(*, boot_check: bool, hooks: bool = False) -> str:
    """The first DAG of an import, if it is not that of the template; else empty."""
    end = f"{CHECKED if boot_check else ''}{HOOKED if hooks else ''}"
    return f"import{end}" if end else ""


def is_boot_checked(entrypoint: str) -> bool:
    """Whether a Workflow has the stage `check`, by its entrypoint."""
    return entrypoint.removesuffix(HOOKED).endswith(CHECKED)
