"""Grants between namespaces: which other namespaces the owner of an object allows to use it. Pure.

The same annotation is on a source, an ImportMapping or a namespace that VMs of other namespaces may go to.
"""

from __future__ import annotations

from typing import Any, Final

from steps.model.contract import Exit, StepError
from steps.model.kinds import GROUP

ALLOWED: Final = f"{GROUP}/allowed-namespaces"
"""Annotation: the other namespaces whose imports may use the object, separated by commas; `*` for all."""
EVERY_NAMESPACE: Final = "*"


def is_allowed(resource: Any, namespace: str) -> bool:
    """Whether the annotation of an object of the API names the namespace. Of any other value it is false."""
    metadata = resource.get("metadata") if isinstance(resource, dict) else None
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    value = annotations.get(ALLOWED) if isinstance(annotations, dict) else None
    parts = {part.strip() for part in value.split(",")} if isinstance(value, str) else set()
    return bool(parts & {namespace, EVERY_NAMESPACE})


def refused_namespace(own: str, target: str) -> StepError:
    """The error (INVALID) for imports of `own` in a namespace that does not allow their VMs.

    It does not reveal whether the namespace exists.
    """
    return StepError(
        Exit.INVALID,
        f"namespace {target} does not allow VMs of imports in {own}",
        remedy=f"its owner allows them with: kubectl annotate namespace {target} {ALLOWED}={own}",
    )
