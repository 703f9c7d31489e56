"""The origin of an import: its source, the source's status and credentials; or why the import waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from pydantic import ValidationError

from controller.operator.options import Options
from steps.model.document import first_error
from steps.model.kinds import OPENSTACK_SOURCE, OVA_SOURCE, SECRET, VMWARE_SOURCE, Kind, Object
from steps.model.plan import SourceKind
from steps.providers import installed, not_installed
from steps.runtime.cluster import Cluster
from workflows.api.resources import KINDS, OvaSource, Source, VirtualMachineImport
from workflows.api.status import SourceStatus

READY: Final = "clusterReady"
KIND_UNKNOWN: Final = "SourceKindUnknown"
"""The only reason of an Origin for which waiting does not help: the import must be changed."""
SOURCES: Final[Mapping[str, Kind]] = {
    kind.kind.lower(): kind for kind in (VMWARE_SOURCE, OPENSTACK_SOURCE, OVA_SOURCE)
}


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


def resolve_source(cluster: Cluster, options: Options, import_: VirtualMachineImport) -> ResolvedSource:
    """The source of an import, with its credentials.

    A missing object is a reason to wait, because a manifest may contain the objects in any order.
    An unknown kind (`KIND_UNKNOWN`) is a reason to refuse.
    """
    reference = import_.spec.source_cluster
    kind = SOURCES.get(reference.kind.lower())
    if kind is None:
        message = f"spec.sourceCluster.kind {reference.kind!r} is not a kind of source"
        if not reference.kind:
            message = "spec.sourceCluster.kind is empty"
        return ResolvedSource(reason=KIND_UNKNOWN, message=f"{message}; write one of {_KINDS}")
    namespace = reference.namespace or import_.metadata.namespace
    if not _is_watched(namespace, options):
        message = f"{kind.kind} {namespace}/{reference.name} is outside the namespaces of this installation"
        return ResolvedSource(reason="SourceNotFound", message=f"{message} ({', '.join(options.namespaces)})")
    resource = cluster.get(kind, reference.name, namespace) if reference.name else None
    if resource is None:
        name = f"{kind.kind} {namespace}/{reference.name}"
        return ResolvedSource(
            reason="SourceNotFound", message=f"{name} does not exist; create it, then the import continues"
        )
    return _with_readiness(cluster, kind, resource)


_KINDS: Final = ", ".join(kind.kind for kind in SOURCES.values())


def _with_readiness(cluster: Cluster, kind: Kind, resource: Object) -> ResolvedSource:
    status, metadata = SourceStatus.read(resource.get("status")), resource["metadata"]
    where = f"{kind.kind} {metadata['namespace']}/{metadata['name']}"
    try:
        source = parse_source(resource)
    except ValidationError as error:
        return ResolvedSource(
            status=status, reason="SourceNotReady", message=f"{where}: {first_error(error)}"
        )
    if not installed(SourceKind(kind.kind)):
        message = not_installed(SourceKind(kind.kind))
        return ResolvedSource(source=source, status=status, reason="ProviderNotInstalled", message=message)
    if status.status != READY or status.observed_generation != metadata.get("generation", 0):
        detail = f": {status.message}" if status.message and status.status != READY else ""
        message = f"The source cluster is not ready yet ({where}{detail})"
        return ResolvedSource(source=source, status=status, reason="SourceNotReady", message=message)
    secret, missing = read_secret(cluster, source)
    if secret is None:
        return ResolvedSource(source=source, status=status, reason="SecretNotFound", message=missing)
    return ResolvedSource(source=source, status=status, credentials=secret)


def parse_source(resource: Object) -> Source:
    """A source as a model. Raises ValidationError."""
    model = KINDS[resource["kind"]]
    return cast("Source", model.model_validate(resource, by_alias=True, by_name=False))


def read_secret(cluster: Cluster, source: Source) -> tuple[Mapping[str, str] | None, str]:
    """Data of the source's Secret, base64; None and a sentence when it does not exist."""
    reference = source.spec.credentials
    if reference is None or not reference.name:
        if isinstance(source, OvaSource):
            return {}, ""
        return None, f"{source.kind} {source.metadata.name} has no Secret name in spec.credentials"
    namespace = reference.namespace or source.metadata.namespace
    secret = cluster.get(SECRET, reference.name, namespace)
    if secret is None:
        return (
            None,
            f"Secret {namespace}/{reference.name} of {source.kind} {source.metadata.name} does not exist",
        )
    return secret.get("data") or {}, ""


def _is_watched(namespace: str, options: Options) -> bool:
    return not options.namespaces or namespace in options.namespaces
