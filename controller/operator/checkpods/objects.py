"""The pod of a check and its Secret. Pure.

The pod has no service account token and no rights. It is restricted as every pod of vmferry is. The Secret
has the plan and the keys that the provider reads; its owner is the pod, so that deleting the pod leaves
nothing.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

from controller.operator.checkpods.check import Check, Owner
from controller.operator.checkpods.slots import Wish
from controller.operator.options import Options
from steps.model.contract import CREDENTIALS, OUTPUTS, REQUEST
from steps.model.kinds import GROUP, POD, SECRET, Object, kind_of
from steps.model.names import LABEL_STAGE
from steps.runtime.deadline import SECONDS_ENV
from steps.runtime.program import PLAN
from workflows.author import pods

LABEL_CHECK: Final = f"{GROUP}/check"
"""Every check pod has this label with the value `true`."""
STAGE: Final = "verify"
"""Value of the stage's label, for network policies."""
OWNER: Final = f"{GROUP}/check-of"
"""Annotation: the source or import that is checked, as KIND/NAMESPACE/NAME."""
UID: Final = f"{GROUP}/check-of-uid"
VERSION: Final = f"{GROUP}/check-version"
ACCOUNT: Final = f"{GROUP}/check-account"
FAILED: Final = f"{GROUP}/check-after-failure"
"""Annotations: the fields of `Check`, for a controller that did not create the pod."""
SERVICE_ACCOUNT: Final = "vmferry-check"
CONTAINER: Final = "main"
START_ALLOWANCE: Final = 120
"""Seconds of a pod's life in addition to those of its program: for its image, and to end."""
GRACE_SECONDS: Final = 5


def name_of(owner: Owner) -> str:
    """The name of an owner's check pod and Secret. An owner has only this one, so the name is also a lock."""
    return f"vmferry-check-{hashlib.sha256(str(owner).encode()).hexdigest()[:20]}"


def pod(check: Check, options: Options, release: Object | None) -> Object:
    """The pod. `release` is an object of this installation; the pod is deleted with it."""
    settings = options.checks
    environment: list[dict[str, Any]] = [
        *map(dict, settings.environment),
        # The guard exempts the API server for steps that call it. A check does not.
        {"name": "KUBERNETES_SERVICE_HOST", "value": ""},
        {"name": SECONDS_ENV, "value": f"{check.seconds:g}"},
    ]
    container = {
        "name": CONTAINER,
        "image": settings.images[check.source.provider],
        "imagePullPolicy": settings.pull_policy,
        "command": ["python", "-m", check.program],
        # There is no claim for scratch, and only /tmp is writable.
        "args": ["--scratch", str(OUTPUTS), *check.arguments],
        "env": environment,
        "resources": settings.resources,
        "securityContext": _plain(pods.restricted()),
        # Never lines of the log: they may contain foreign text.
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "request", "mountPath": str(REQUEST), "readOnly": True},
            {"name": "source", "mountPath": str(CREDENTIALS), "readOnly": True},
            {"name": "tmp", "mountPath": str(OUTPUTS)},
        ],
    }
    metadata = _metadata(check, options)
    if release is not None:
        metadata["ownerReferences"] = [_reference(release)]
    if check.pods.network:
        metadata["annotations"][pods.NETWORKS] = check.pods.network
    return {
        "apiVersion": POD.api_version,
        "kind": POD.kind,
        "metadata": metadata,
        "spec": {
            **pods.placement(check.pods),
            "restartPolicy": "Never",
            "activeDeadlineSeconds": int(check.seconds) + START_ALLOWANCE,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "serviceAccountName": SERVICE_ACCOUNT,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": _plain(pods.pod_security(options.installation.user)),
            "imagePullSecrets": [{"name": name} for name in settings.pull_secrets],
            "containers": [container],
            "volumes": [
                _secret_volume("request", check, [PLAN]),
                _secret_volume("source", check, sorted(check.credentials)),
                {"name": "tmp", "emptyDir": {"sizeLimit": options.installation.tmp_size}},
            ],
        },
    }


def secret(check: Check, options: Options, owner: Object) -> Object:
    """The Secret of the pod `owner`."""
    metadata = _metadata(check, options)
    metadata["ownerReferences"] = [_reference(owner)]
    plan = base64.b64encode(check.request.encode()).decode()
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.kind,
        "metadata": metadata,
        "type": "Opaque",
        "immutable": True,
        "data": {**check.credentials, PLAN: plan},
    }


def owner_of(found: Object) -> Owner | None:
    """Whose check a pod is; None for a pod that the controller did not create."""
    return Owner.parse(annotation(found, OWNER))


def wish_of(found: Object, owner: Owner) -> Wish:
    """How a pod counts against the limits."""
    return Wish(owner, annotation(found, ACCOUNT), annotation(found, FAILED) == "true")


def annotation(found: Object, key: str) -> str:
    return str((found["metadata"].get("annotations") or {}).get(key, ""))


def is_owned_by(found: Object, owner: Object) -> bool:
    references = found["metadata"].get("ownerReferences") or []
    return any(reference.get("uid") == owner["metadata"]["uid"] for reference in references)


def _metadata(check: Check, options: Options) -> Object:
    return {
        "name": name_of(check.owner),
        "namespace": options.namespace,
        "labels": {
            "app.kubernetes.io/name": "vmferry",
            "app.kubernetes.io/component": "check",
            LABEL_CHECK: "true",
            LABEL_STAGE: STAGE,
        },
        "annotations": {
            OWNER: str(check.owner),
            UID: check.uid,
            VERSION: check.version,
            ACCOUNT: check.account,
            FAILED: "true" if check.has_failed else "false",
        },
    }


def _secret_volume(name: str, check: Check, keys: list[str]) -> Object:
    """Some keys of the Secret as files. An empty list would mean all keys."""
    if not keys:
        return {"name": name, "emptyDir": {}}
    items = [{"key": key, "path": key} for key in keys]
    return {
        "name": name,
        "secret": {"secretName": name_of(check.owner), "defaultMode": 0o440, "items": items},
    }


def _reference(owner: Object) -> Object:
    metadata = owner["metadata"]
    return kind_of(owner).owner_reference(metadata["name"], metadata["uid"])


def _plain(model: Any) -> Object:
    """A model of Hera as the API takes it."""
    document: Object = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return document
