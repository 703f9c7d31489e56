"""The origin of an import: its source, the source's status and credentials; or why the import waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import ValidationError

from controller.operator.observe.grant import is_granted, refusal
from controller.operator.observe.secret import read_secret
from controller.operator.options import Options
from steps.model.contract import Exit
from steps.model.document import first_error
from steps.model.kinds import SOURCES, Kind, Object
from steps.model.naming import shown
from steps.model.sources import SourceKind
from steps.runtime.cluster import Cluster
from workflows import texts
from workflows.api.annotations import RETRY
from workflows.api.conditions import find
from workflows.api.resources import VirtualMachineImport
from workflows.api.sources import RESOURCES, Source
from workflows.api.status import ConditionStatus, SourceStatus
from workflows.plan import reference_reasons

READY: Final = "clusterReady"
CLUSTER_ERROR: Final = "ClusterError"
"""Type of a source's condition, as in vm-import-controller: True while it is not ready."""
SOURCE_NOT_FOUND: Final = "SourceNotFound"
SOURCE_NOT_READY: Final = "SourceNotReady"
KIND_UNKNOWN: Final = "SourceKindUnknown"
REFERENCE_INVALID: Final = "SourceReferenceInvalid"
NOT_PERMITTED: Final = "SourceNotPermitted"
WITHDRAWN: Final = (SOURCE_NOT_FOUND, NOT_PERMITTED, "SecretNotFound", "SecretNotPermitted")
"""Reasons for which the credentials are not there any more, or may not be used any more."""
TRY_NOW: Final = f"To try now, annotate the source with {RETRY}=true"
"""What a person does to repeat a check at once."""
REFUSED: Final = (KIND_UNKNOWN, REFERENCE_INVALID)
"""Reasons of an Origin for which waiting does not help: the import must be changed."""
KINDS: Final[Mapping[str, Kind]] = {kind.lower(): SOURCES[kind] for kind in SourceKind}
"""The kinds of source by their names in lower case."""


@dataclass(frozen=True)
class ResolvedSource:
    """An import's source as it was found."""

    source: Source | None = None
    status: SourceStatus = field(default_factory=SourceStatus)
    credentials: Mapping[str, str] | None = field(default=None, repr=False)
    """Data of the Secret, base64."""
    reason: str = ""
    """The reason to wait; empty when there is nothing to wait for."""
    message: str = ""
    is_due: bool = False
    """Whether the source must be checked again now. Secrets are not watched, so no event starts that."""

    @property
    def unreachable_since(self) -> str:
        """Since when the source does not answer the controller (a condition's time); empty if it does."""
        error = find(self.status.conditions, CLUSTER_ERROR)
        is_away = error is not None and error.status == ConditionStatus.TRUE
        if self.reason != SOURCE_NOT_READY or error is None or not is_away:
            return ""
        return error.last_transition_time if error.reason == Exit.UNREACHABLE.word else ""


def resolve_source(cluster: Cluster, options: Options, import_: VirtualMachineImport) -> ResolvedSource:
    """The source of an import, with its credentials.

    A missing object is a reason to wait, because a manifest may contain the objects in any order.
    An unknown kind (`KIND_UNKNOWN`) is a reason to refuse.
    """
    reference = import_.spec.source_cluster
    if reasons := tuple(reference_reasons(reference)):
        return ResolvedSource(reason=REFERENCE_INVALID, message=texts.message(reasons))
    kind = KINDS.get(reference.kind.lower())
    if kind is None:
        message = f"spec.sourceCluster.kind {shown(reference.kind)} is not a kind of source"
        if not reference.kind:
            message = "spec.sourceCluster.kind is empty"
        return ResolvedSource(reason=KIND_UNKNOWN, message=f"{message}; write one of {', '.join(SourceKind)}")
    namespace = reference.namespace or import_.metadata.namespace
    if not _is_watched(namespace, options):
        message = f"{kind.kind} {namespace}/{reference.name} is outside the namespaces of this installation"
        return ResolvedSource(reason=SOURCE_NOT_FOUND, message=f"{message} ({', '.join(options.namespaces)})")
    resource = cluster.get(kind, reference.name, namespace) if reference.name else None
    namespaces = import_.metadata.namespace, namespace
    if not is_granted(cluster, options, kind, resource, namespaces):
        return ResolvedSource(reason=NOT_PERMITTED, message=refusal(kind, reference.name, namespaces))
    if resource is None:
        name = f"{kind.kind} {namespace}/{reference.name}"
        return ResolvedSource(
            reason=SOURCE_NOT_FOUND, message=f"{name} does not exist; create it, then the import continues"
        )
    return _with_readiness(cluster, options, kind, resource)


def _with_readiness(cluster: Cluster, options: Options, kind: Kind, resource: Object) -> ResolvedSource:
    status, metadata = SourceStatus.read(resource.get("status")), resource["metadata"]
    where = f"{kind.kind} {metadata['namespace']}/{metadata['name']}"
    try:
        source = parse_source(resource)
    except ValidationError as error:
        return ResolvedSource(
            status=status, reason=SOURCE_NOT_READY, message=f"{where}: {first_error(error)}"
        )
    secret = read_secret(cluster, source, options.namespace)
    if secret.reason in WITHDRAWN:  # also of a source that is not ready: it is not ready because of that
        return ResolvedSource(source=source, status=status, reason=secret.reason, message=secret.message)
    if status.status != READY or status.observed_generation != metadata.get("generation", 0):
        detail = f": {status.message}" if status.message and status.status != READY else ""
        message = f"The source cluster is not ready yet ({where}{detail})"
        return ResolvedSource(source=source, status=status, reason=SOURCE_NOT_READY, message=message)
    verified = status.verification.credentials  # empty with an older CRD, which does not store it
    if secret.data is not None and verified not in ("", secret.version):
        # Each import would log in with them, and so lock the account if they are wrong.
        message = f"The credentials of {where} have changed; the import continues when they are checked"
        return ResolvedSource(
            source=source, status=status, reason=SOURCE_NOT_READY, message=message, is_due=True
        )
    return ResolvedSource(
        source=source,
        status=status,
        credentials=secret.data,
        reason=secret.reason,
        message=secret.message,
    )


def parse_source(resource: Object) -> Source:
    """A source as a model. Raises ValidationError."""
    return RESOURCES[resource["kind"]].model_validate(resource, by_alias=True, by_name=False)


def _is_watched(namespace: str, options: Options) -> bool:
    return not options.namespaces or namespace in options.namespaces
