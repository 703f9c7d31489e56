"""What a source is in the cluster: an object of our API, or a Secret that imports of another dialect name.

Both are verified in the same way (`sources.reconcile`).
"""

from __future__ import annotations

from typing import Protocol

from pydantic import ValidationError

from controller.operator import v2v_state
from controller.operator.observe.secret import Credentials
from controller.operator.observe.source import ResolvedSource, parse_source
from controller.operator.observe.v2v import source_in
from controller.operator.options import Options
from controller.operator.routing import SourceKey
from controller.operator.sources.users import SecretUsers
from steps.model.document import first_error
from steps.model.kinds import SECRET, SECRET_SOURCES, Object
from steps.runtime.cluster import Cluster
from workflows.api.sources import Source
from workflows.api.status import SourceStatus


class SourceObjects(Protocol):
    """The objects of one sort of source. Every method raises StepError where the API does not answer."""

    are_secrets: bool
    """Whether they are Secrets: then nothing is written to them, neither a status nor an Event."""

    def read(self, key: SourceKey) -> Object | None:
        """The object; None if it does not exist, or need not be verified any more."""

    def source(self, key: SourceKey, raw: Object) -> tuple[Source, Credentials | None] | str:
        """The source, and its credentials if they are in the object itself; or why there is none."""

    def status(self, key: SourceKey, raw: Object) -> SourceStatus:
        """The result of the last check."""

    def store(self, key: SourceKey, status: SourceStatus) -> None:
        """Store a result."""


class Objects:
    """The sources of our own API."""

    are_secrets = False

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def read(self, key: SourceKey) -> Object | None:
        return self._cluster.get(key.kind, key.name, key.namespace)

    def source(self, key: SourceKey, raw: Object) -> tuple[Source, Credentials | None] | str:
        try:
            return parse_source(raw), None
        except ValidationError as error:
            return first_error(error)

    def status(self, key: SourceKey, raw: Object) -> SourceStatus:
        return SourceStatus.read(raw.get("status"))

    def store(self, key: SourceKey, status: SourceStatus) -> None:
        self._cluster.patch_status(key.kind, key.name, status.to_document(), key.namespace)


class SecretObjects:
    """The Secrets of imports of `v2v.kubevirt.io`. Their results are in ConfigMaps (`v2v_state`)."""

    are_secrets = True

    def __init__(self, cluster: Cluster, options: Options, users: SecretUsers) -> None:
        self._cluster = cluster
        self._release = options.namespace
        self._users = users

    def read(self, key: SourceKey) -> Object | None:
        found = self._cluster.get(SECRET, key.name, key.namespace) if self._users.is_needed(key) else None
        if found is None:
            v2v_state.delete_source(self._cluster, self._release, *key)
            return None
        # The status of an import may show its annotations: ours on a Secret mean nothing here.
        metadata = {name: value for name, value in found["metadata"].items() if name != "annotations"}
        return {**found, "metadata": metadata}

    def source(self, key: SourceKey, raw: Object) -> tuple[Source, Credentials | None] | str:
        kind = next(kind for kind, secret in SECRET_SOURCES.items() if secret == key.kind)
        found = source_in(raw, kind)
        if isinstance(found, ResolvedSource):
            return found.message
        return found.source, Credentials(found.credentials, found.version)

    def status(self, key: SourceKey, raw: Object) -> SourceStatus:
        return v2v_state.read_source(self._cluster, self._release, *key)

    def store(self, key: SourceKey, status: SourceStatus) -> None:
        v2v_state.write_source(self._cluster, self._release, *key, status)
        self._users.wake(key)
