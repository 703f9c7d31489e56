"""The ImportMapping that an import names; or why the import waits for it.

It is read only for the plan of a new run. A run has its rows in its request, so that nothing that happens to
the mapping later reaches it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from controller.operator.observe.grant import is_granted, refusal
from controller.operator.options import Options
from steps.model.contract import Exit, StepError
from steps.model.document import first_error
from steps.model.kinds import IMPORT_MAPPING
from steps.runtime.cluster import Cluster
from workflows.api.mapping import ImportMapping
from workflows.api.resources import VirtualMachineImport

MAPPING_NOT_FOUND: Final = "MappingNotFound"
MAPPING_NOT_PERMITTED: Final = "MappingNotPermitted"
"""Reasons of the condition Succeeded of an import that waits."""


@dataclass(frozen=True)
class ResolvedMapping:
    """An import's mapping as it was found; nothing for an import without one."""

    mapping: ImportMapping | None = None
    reason: str = ""
    """The reason to wait; empty when there is nothing to wait for."""
    message: str = ""
    fault: str = ""
    """The error in a mapping that cannot be read: somebody must correct it."""


def resolve_mapping(cluster: Cluster, options: Options, import_: VirtualMachineImport) -> ResolvedMapping:
    """The mapping of an import whose reference is valid (`workflows.plan.mapping_reasons`).

    A missing one is a reason to wait, because a manifest may contain the objects in any order.

    Raises:
        StepError: where the API does not answer.
    """
    reference = import_.spec.import_mapping
    if reference is None or not reference.name:
        return ResolvedMapping()
    own = import_.metadata.namespace
    namespace = reference.namespace or own
    title = f"{IMPORT_MAPPING.kind} {namespace}/{reference.name}"
    if options.namespaces and namespace not in options.namespaces:
        listed = ", ".join(options.namespaces)
        message = (
            f"{title} is outside the namespaces of this installation ({listed}); use one of those namespaces"
        )
        return ResolvedMapping(reason=MAPPING_NOT_FOUND, message=message)
    try:
        found = cluster.get(IMPORT_MAPPING, reference.name, namespace)
    except StepError as error:
        if error.code is not Exit.NOT_FOUND:  # the cluster has the CRDs of an older version
            raise
        found = None
    if not is_granted(cluster, options, IMPORT_MAPPING, found, (own, namespace)):
        message = refusal(IMPORT_MAPPING, reference.name, (own, namespace))
        return ResolvedMapping(reason=MAPPING_NOT_PERMITTED, message=message)
    if found is None:
        message = (
            f"{title} does not exist; create it, then the import continues, or remove spec.importMapping"
        )
        return ResolvedMapping(reason=MAPPING_NOT_FOUND, message=message)
    try:
        mapping = ImportMapping.model_validate(
            {**found, "spec": found.get("spec") or {}}, by_alias=True, by_name=False
        )
    except ValidationError as error:
        return ResolvedMapping(fault=f"{title}: {first_error(error)}; correct the mapping")
    return ResolvedMapping(mapping)
