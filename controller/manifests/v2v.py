"""Imports of `v2v.kubevirt.io` in manifests, resolved so that they can be run."""

from __future__ import annotations

import base64
import uuid
from datetime import UTC, datetime
from typing import Any

from controller.manifests.read import Manifests
from steps.model.plan import OnFailure, Plan
from steps.model.sources import SourceKind
from workflows.api.resources import Metadata, Secret
from workflows.api.v2v import ResourceMappingSpec, V2vImport, V2vImportSpec
from workflows.plan import Invalid, plan
from workflows.settings import Settings
from workflows.v2v import (
    completed,
    mapping_of,
    mapping_refusals,
    refusals,
    rows_of,
    secret_of,
    source_from,
    source_of,
    translate,
)
from workflows.v2v_secret import KEYS, Login, SecretError, read


def job_of(import_: V2vImport, manifests: Manifests, settings: Settings) -> tuple[Plan, dict[str, bytes]]:
    """The plan of an import and the credentials of its source.

    Raises:
        Invalid: with every reason why it cannot run.
    """
    spec, namespace = import_.spec, import_.metadata.namespace
    reasons = [one.message for one in refusals(spec, datetime.now(UTC))]
    found = source_of(spec)
    if reasons or found is None:
        raise Invalid(reasons)
    shared = _shared(spec, manifests, namespace)
    wrong = [one.message for one in mapping_refusals(spec, shared)]
    if wrong:
        raise Invalid(wrong)
    place = secret_of(spec, namespace)
    login = _login(found[0], manifests.secrets.get(place), place)
    # An import outside a cluster has no uid, but its sessions and temporary objects need one.
    metadata: dict[str, Any] = {**import_.metadata.model_dump(), "uid": str(uuid.uuid4())}
    translated = translate(metadata, spec, OnFailure.RESTORE_POWER, in_cluster=False)
    source = source_from(found[0], Metadata(name=place[1], namespace=place[0]), login)
    rows = rows_of(spec, shared, namespace)
    credentials = {key: base64.b64decode(value) for key, value in login.credentials.items()}
    return completed(plan(translated, source, settings), rows, metadata), credentials


def _shared(spec: V2vImportSpec, manifests: Manifests, namespace: str) -> ResourceMappingSpec | None:
    place = mapping_of(spec, namespace)
    if place is None:
        return None
    found = manifests.mappings.get(place)
    if found is None:
        known = ", ".join("/".join(key) for key in manifests.mappings) or "none"
        raise Invalid([f"ResourceMapping {'/'.join(place)} is not given (found: {known})"])
    return found.spec


def _login(kind: SourceKind, secret: Secret | None, place: tuple[str, str]) -> Login:
    where = f"Secret {'/'.join(place)}"
    if secret is None:
        raise Invalid([f"{where} is not given"])
    data = {key: base64.b64encode(value).decode() for key, value in secret.values().items()}
    try:
        return read(kind, data)
    except SecretError as error:
        raise Invalid([f"{where}, key {KEYS[kind]}: {error}"]) from None
