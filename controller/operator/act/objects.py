"""The objects that the controller creates for a run: the request and two Secrets. Pure.

All are in the release namespace and owned by the request, so that deleting the request deletes them all.
Labels refer to the import, because it may be in another namespace, which owner references cannot cross.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from controller.operator.observe.request import CLEANUPS, SPEC, TRIED
from steps.model import names
from steps.model.kinds import CONFIG_MAP, SECRET, Kind, Object
from steps.model.plan import Plan
from steps.runtime.program import PLAN
from workflows.author.pods import TOKEN

_REPLACED: Final = ("labels", "annotations", "ownerReferences")


def request(plan: Plan, spec: str, namespace: str) -> Object:
    """The ConfigMap with the plan, mounted by every step; `spec` is the digest of its spec."""
    config_map = _object(CONFIG_MAP, names.request(plan.run), plan, namespace)
    config_map["metadata"]["annotations"] = {SPEC: spec}
    return config_map | {"data": {PLAN: plan.to_json()}}


def credentials(
    plan: Plan, data: Mapping[str, str], namespace: str, owner: Object, tried_digest: str
) -> Object:
    """The copy of the source's Secret; `data` is base64, `tried_digest` the value of `TRIED`.

    Only the Secret has the digest: who cannot read a password must not be able to test guesses.
    """
    secret = _object(SECRET, names.credentials(plan.run), plan, namespace, owner)
    secret["metadata"]["annotations"] = {TRIED: tried_digest}
    return secret | {"type": "Opaque", "data": dict(data)}


def address(plan: Plan, token: str, namespace: str, owner: Object) -> Object:
    """The Secret with the token in the URLs of the disks' descriptions."""
    secret = _object(SECRET, names.address(plan.run), plan, namespace, owner)
    return secret | {"type": "Opaque", "stringData": {TOKEN.name: token}}


def replacement(existing: Object, wanted: Object) -> Object:
    """The merge patch that makes `existing` like `wanted`, for the version that was read.

    It also removes the record of cleanups: they were those of an earlier Workflow.
    """
    metadata = {"resourceVersion": existing["metadata"]["resourceVersion"]}
    metadata |= {key: wanted["metadata"][key] for key in _REPLACED if key in wanted["metadata"]}
    if CLEANUPS in (existing["metadata"].get("annotations") or {}):
        metadata["annotations"] = {CLEANUPS: None, **metadata.get("annotations", {})}
    removed = dict.fromkeys(existing.get("data") or {})  # None removes a key
    return {"metadata": metadata, "data": {**removed, **wanted["data"]}}


def owner_reference(owner: Object) -> Object:
    """The owner reference to a request."""
    return CONFIG_MAP.owner_reference(owner["metadata"]["name"], owner["metadata"]["uid"])


def _object(kind: Kind, name: str, plan: Plan, namespace: str, owner: Object | None = None) -> Object:
    metadata: Object = {"name": name, "namespace": namespace, "labels": names.run_labels(plan)}
    if owner is not None:
        metadata["ownerReferences"] = [owner_reference(owner)]
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
