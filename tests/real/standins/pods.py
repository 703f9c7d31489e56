"""Pods that hold claims and do nothing else: a stand-in does a pod's work from outside the cluster.

They are scheduled, counted and refused like the real ones, and while they exist their claims stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from steps.model.kinds import POD, Object

IMAGE: Final = "lab.local/pause:1"
"""The lab's own image, which is always there."""
RESTRICTED: Final = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def holder(
    name: str,
    namespace: str,
    labels: dict[str, str],
    claims: Iterable[Object],
    owner: Object,
    user: int,
    resources: dict[str, Any] | None = None,
    scheduling: Object | None = None,
) -> Object:
    """The pod; Pod Security `restricted` accepts it. `scheduling` are fields of its spec."""
    named = {f"v{index}": claim for index, claim in enumerate(claims)}
    container = {
        "name": "compute",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        **_attached(named),
        "resources": resources or {},
        "securityContext": RESTRICTED,
    }
    volumes = [
        {"name": volume, "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
        for volume, claim in named.items()
    ]
    seccomp = {"type": "RuntimeDefault"}
    ids = {"runAsNonRoot": True, "runAsUser": user, "runAsGroup": user, "fsGroup": user}
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {**ids, "seccompProfile": seccomp},
        "containers": [container],
        "volumes": volumes,
        **(scheduling or {}),
    }
    metadata = {"name": name, "namespace": namespace, "labels": labels, "ownerReferences": [owner]}
    return {"apiVersion": POD.api_version, "kind": POD.kind, "metadata": metadata, "spec": spec}


def _attached(named: dict[str, Object]) -> Object:
    """Block volumes as devices, the others mounted."""
    block = {volume for volume, claim in named.items() if claim["spec"].get("volumeMode") == "Block"}
    return {
        "volumeDevices": [{"name": one, "devicePath": f"/dev/{one}"} for one in named if one in block],
        "volumeMounts": [{"name": one, "mountPath": f"/disks/{one}"} for one in named if one not in block],
    }
