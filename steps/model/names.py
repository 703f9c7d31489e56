"""Names and labels of the objects of a run, in the release namespace and at the target. Pure.

Every function takes plain names or, for the template, Argo's `{{…}}` in their place.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from steps.model.kinds import GROUP
from steps.model.plan import Plan

LABEL_UID: Final = f"{GROUP}/import-uid"
LABEL_NAME: Final = f"{GROUP}/import-name"
LABEL_NAMESPACE: Final = f"{GROUP}/import-namespace"
LABEL_RUN: Final = f"{GROUP}/run"
LABEL_STAGE: Final = f"{GROUP}/stage"
LABEL_DISK: Final = f"{GROUP}/disk"
LABEL_SCRATCH: Final = f"{GROUP}/scratch"
"""Pods that mount a scratch claim. Deleted on success, as a finished pod keeps its claim in use: by Argo's
podGC, like all pods, except those that finished before a retry, as Argo watches pods labelled
completed=false only (workflow/controller/pod/controller.go; seen). `delete-scratch` has to delete these, by
`LABEL_RUN`."""
LABEL_VM: Final = f"{GROUP}/vm"
LABEL_VM_NAMESPACE: Final = f"{GROUP}/vm-namespace"
"""On the ConfigMap with the result of preflight: name and namespace of the VM that the run creates."""
LABEL_NOTES: Final = f"{GROUP}/notes"
"""On the claim with the records of a landing: the id of its disk."""
LABEL_SOURCE: Final = f"{GROUP}/source"
"""The source's name, on a Workflow: a column for Argo's list, which cuts titles (docs/how-to/install.md)."""
LABEL_LIMITS: Final = f"{GROUP}/limits"
"""The key of the limits of a Workflow's source: as long as the Workflow may run, its keys stay."""
LABEL_API: Final = f"{GROUP}/import-api"
"""The API group of the import, if it is not ours: the uid alone does not say where to look for it."""
LABEL_HOOK: Final = f"{GROUP}/hook-of"
"""On the Pod or Workflow of a hook: the run. They lack `LABEL_RUN`, as they are no steps of it."""
LABEL_POINT: Final = f"{GROUP}/point"
"""On a pod that waits for a hook: the point, such as `before-poweroff`."""
LABEL_IMPORTED: Final = f"{GROUP}/imported"
"""On what an import leaves at the target: `true`."""
LABEL_LEFTOVERS: Final = f"{GROUP}/leftovers"
"""On the request of a deleted import whose source still holds something, or may: `true`."""
PORT: Final = 8080
"""Where `serve` listens, and its Service."""
_LABEL_VALUE: Final = 63


def labels(plan: Plan) -> dict[str, str]:
    """The labels of everything that belongs to an import, in any namespace."""
    of = plan.import_
    return import_labels(of.api_version, of.namespace, of.name, of.uid)


def import_labels(api_version: str, namespace: str, name: str, uid: str) -> dict[str, str]:
    """The labels that name an import."""
    group = api_version.partition("/")[0]
    return {
        LABEL_UID: label_value(uid),
        LABEL_NAME: label_value(name),
        LABEL_NAMESPACE: namespace,
        **({LABEL_API: group} if group != GROUP else {}),
    }


def run_labels(plan: Plan) -> dict[str, str]:
    """The labels of everything that belongs to one run of an import."""
    return {**labels(plan), LABEL_RUN: plan.run}


def volume_labels(plan: Plan, disk: str) -> dict[str, str]:
    """The labels that assign a volume at the target to a disk of a run."""
    return {**run_labels(plan), LABEL_DISK: disk}


def request(run: str) -> str:
    """ConfigMap: the request. It owns all other objects of the run, so that deleting it leaves nothing."""
    return f"{run}-request"


def planned(run: str) -> str:
    """ConfigMap: the result of a dry run."""
    return f"{run}-plan"


def machine(run: str) -> str:
    """ConfigMap: the result of preflight (written by the pod of `admit`)."""
    return f"{run}-machine"


def volumes(workflow: str) -> str:
    """ConfigMap: the names that `admit` has chosen for the volumes.

    One for each Workflow of a run, as it never changes: a kubelet may hand a new pod a ConfigMap as it knew
    it before.
    """
    return f"{workflow}-volumes"


def boot(run: str) -> str:
    """ConfigMap: the screenshot and the console of the boot check (written by the pod of `check`)."""
    return f"{run}-boot"


def owner(run: str) -> str:
    """Lease in the namespace of the VM, if that is not the import's: it owns what the run makes there."""
    return f"{run}-owner"


def credentials(run: str) -> str:
    """Secret: the source's credentials, copied for this run."""
    return f"{run}-source"


def address(run: str) -> str:
    """Secret: the secret part of the URLs of the disks' descriptions, key `token`."""
    return f"{run}-address"


def claim(run: str, disk: str) -> str:
    """Claim: a disk's scratch, or the volume on which it lands."""
    return f"{run}-{disk}"


def notes(run: str, disk: str) -> str:
    """Claim: the records of a disk that lands on its volume."""
    return f"{run}-{disk}-notes"


def placement(run: str) -> str:
    """Pod: it uses all claims of a VM once, so that they are provided on one node."""
    return f"{run}-placement"


def service(run: str, disk: str) -> str:
    """Service: where a disk is served. It selects `LABEL_RUN` and `LABEL_DISK`."""
    return f"{run}-{disk}"


def origin(run: str, disk: str, namespace: str) -> str:
    """The public part of a disk's URL."""
    return f"http://{service(run, disk)}.{namespace}.svc:{PORT}"


def label_value(text: str) -> str:
    """An object's name as a label value of at most 63 characters; a longer one gets a short hash."""
    return short(text, _LABEL_VALUE)


def short(text: str, limit: int) -> str:
    """A name within `limit` characters; a longer one is cut and gets a hash of the full name."""
    text = re.sub(r"[^-._A-Za-z0-9]+", "-", text).strip("-._")
    if len(text) <= limit:
        return text
    return f"{text[: limit - 9].rstrip('-._')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
