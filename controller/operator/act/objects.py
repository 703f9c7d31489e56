"""The objects that the controller creates for a run: the request and two Secrets. Pure.

All are in the release namespace and owned by the request, so that deleting the request deletes them all.
Labels refer to the import, because it may be in another namespace, which owner references cannot cross.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from controller.operator.observe.request import SPEC, TRIED
from steps.model import names
from steps.model.kinds import CONFIG_MAP, SECRET, Kind, Object
from steps.model.plan import Plan
from steps.runtime.program import PLAN
from workflows.author.pods import TOKEN

_REPLACED: Final = ("labels", "annotations", "ownerReferences")


def request(plan: Plan, spec: str, namespace: str) -> Object:
    """The ConfigMap with the plan, mounted by every step; `spec` is the digest of its spec."""
    made = _object(CONFIG_MAP, names.request(plan.run), plan, namespace)
    made["metadata"]["annotations"] = {SPEC: spec}
    return made | {"data": {PLAN: plan.to_json()}}


def credentials(plan: Plan, data: Mapping[str, str], namespace: str, owner: Object, tried: str) -> Object:
    """The copy of the source's Secret; `data` as the API has it, base64; `tried` is the value of `TRIED`.

    Only the Secret has the digest: who cannot read a password must not be able to test guesses.
    """
    made = _object(SECRET, names.credentials(plan.run), plan, namespace, owner)
    made["metadata"]["annotations"] = {TRIED: tried}
    return made | {"type": "Opaque", "data": dict(data)}


def address(plan: Plan, token: str, namespace: str, owner: Object) -> Object:
    """The Secret with the secret token in the disks' URLs."""
    made = _object(SECRET, names.address(plan.run), plan, namespace, owner)
    return made | {"type": "Opaque", "stringData": {TOKEN.name: token}}


def replacing(found: Object, wanted: Object) -> Object:
    """The merge patch that makes `found` like `wanted`, for the version that was read."""
    metadata = {"resourceVersion": found["metadata"]["resourceVersion"]}
    metadata |= {key: wanted["metadata"][key] for key in _REPLACED if key in wanted["metadata"]}
    gone = dict.fromkeys(found.get("data") or {})  # None removes a key
    return {"metadata": metadata, "data": {**gone, **wanted["data"]}}


def owned_by(thing: Object) -> Object:
    """The owner reference to a request."""
    metadata = thing["metadata"]
    return {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


def _object(kind: Kind, name: str, plan: Plan, namespace: str, owner: Object | None = None) -> Object:
    metadata: Object = {"name": name, "namespace": namespace, "labels": names.run_labels(plan)}
    if owner is not None:
        metadata["ownerReferences"] = [owned_by(owner)]
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
