"""The credentials of a source: which Secret may be used for it, and which of its keys.

The controller may read more Secrets than the person who creates a source. So a Secret is used only if it is
in the namespace of the source, or if the Secret itself consents (`CONSENT`). In the release namespace it must
also have our label, because the copies of everybody's credentials are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from controller.operator.observe import fields
from steps.model.contract import Exit, StepError
from steps.model.kinds import GROUP, SECRET, Object
from steps.model.names import LABEL_RUN
from steps.runtime.cluster import Cluster
from workflows.api.sources import Source

CONSENT: Final = f"{GROUP}/used-by"
"""Annotation of a Secret: the sources of other namespaces that may use it, as NAMESPACE/KIND/NAME with commas
between them."""
LABEL_CREDENTIALS: Final = f"{GROUP}/credentials"
"""Label of a Secret in the release namespace that holds credentials of a source; its value is `true`."""
TYPES: Final = ("", "Opaque", "kubernetes.io/basic-auth")
"""A token of a service account, a registry's login or a Helm release is no credential of a source."""


@dataclass(frozen=True)
class Credentials:
    """The data of a source's Secret, or why they cannot be used."""

    data: Mapping[str, str] | None = field(default=None, repr=False)
    """Base64, only the keys that the source's provider reads."""
    version: str = ""
    """Differs after each change of the Secret."""
    reason: str = ""
    message: str = ""


def read_secret(cluster: Cluster, source: Source, release: str) -> Credentials:
    """The credentials of `source`; `release` is the release namespace.

    Raises:
        StepError: UNREACHABLE, if the API does not answer.
    """
    reference, metadata = source.spec.credentials, source.metadata
    if reference is None or not reference.name:
        if not source.spec.NEEDS_SECRET:
            return Credentials({})
        message = f"{source.kind} {metadata.name} has no Secret name in spec.credentials"
        return Credentials(reason="SecretNotFound", message=message)
    namespace = reference.namespace or metadata.namespace
    where = f"Secret {namespace}/{reference.name}"
    try:
        found = cluster.get(SECRET, reference.name, namespace)
    except StepError as error:
        if error.code is not Exit.DENIED:
            raise
        return Credentials(reason="SecretDenied", message=f"{where} cannot be read: {error}")
    return _refusal(source, namespace, release, found) or _used(source, where, found)


def _used(source: Source, where: str, found: Object | None) -> Credentials:
    if found is None:
        message = f"{where} of {source.kind} {source.metadata.name} does not exist"
        return Credentials(reason="SecretNotFound", message=message)
    if found.get("type", "") not in TYPES:
        message = f"{where} has the type {found['type']}; use one of the type Opaque"
        return Credentials(reason="SecretInvalid", message=message)
    data = found.get("data") or {}
    metadata = found["metadata"]
    version = f"{metadata.get('uid', '')}/{metadata.get('resourceVersion', '')}"
    return Credentials({key: data[key] for key in source.spec.KEYS if key in data}, version)


def _refusal(source: Source, namespace: str, release: str, found: Object | None) -> Credentials | None:
    """Why the source may not use a Secret of `namespace`. It does not reveal whether a foreign one exists."""
    reference, own = source.spec.credentials, source.metadata.namespace
    name = reference.name if reference else ""
    where = f"Secret {namespace}/{name}"
    labels, notes = fields.labels_of(found), fields.annotations_of(found)
    if namespace != own:
        identity = f"{own}/{source.kind}/{source.metadata.name}"
        consented = identity in (part.strip() for part in notes.get(CONSENT, "").split(","))
        if found is None or not consented or not _is_usable(labels, namespace, release):
            message = (
                f"{where} is in another namespace than the source, and it does not allow this use. Its owner "
                f"allows it with: kubectl annotate secret -n {namespace} {name} {CONSENT}={identity}"
            )
            return Credentials(reason="SecretNotPermitted", message=message)
    elif found is not None and not _is_usable(labels, namespace, release):
        return Credentials(reason="SecretNotPermitted", message=unusable_here(namespace, name))
    return None


def unusable_here(namespace: str, name: str) -> str:
    """The message for a Secret of the release namespace without our label."""
    return (
        f"Secret {namespace}/{name} is in the release namespace and does not have the label "
        f"{LABEL_CREDENTIALS}=true; to use it for sources: kubectl label secret -n {namespace} {name} "
        f"{LABEL_CREDENTIALS}=true"
    )


def is_usable(secret: Object, namespace: str, release: str) -> bool:
    """Whether a Secret may hold credentials of a source, by its labels."""
    return _is_usable(fields.labels_of(secret), namespace, release)


def _is_usable(labels: Mapping[str, str], namespace: str, release: str) -> bool:
    """Whether the labels allow the use: never a copy that belongs to a run."""
    return namespace != release or (labels.get(LABEL_CREDENTIALS) == "true" and LABEL_RUN not in labels)
