"""What everything that belongs to a run is called: one rule for the author, the controller and whoever looks.

Every function takes plain names or, when the template is written, Argo's `{{…}}` in their place.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from steps.model.plan import SourceKind, SourcePlan
from workflows.api.resources import GROUP
from workflows.stages import Identity, Limit

LABEL_UID: Final = f"{GROUP}/import-uid"
LABEL_NAME: Final = f"{GROUP}/import-name"
LABEL_NAMESPACE: Final = f"{GROUP}/import-namespace"
LABEL_RUN: Final = f"{GROUP}/run"
LABEL_STAGE: Final = f"{GROUP}/stage"
LABEL_DISK: Final = f"{GROUP}/disk"
LABEL_SCRATCH: Final = f"{GROUP}/scratch"
"""Pods that mount a scratch claim. They go on success, as a finished pod keeps its claim in use: by Argo's
podGC, as all pods do, except for those that were done before a retry, as Argo watches pods labelled
completed=false only (workflow/controller/pod/controller.go; seen). `cleanup` has to delete these, by
`LABEL_RUN`."""
LABEL_SOURCE: Final = f"{GROUP}/source"
"""The source's name, on a Workflow: a column for Argo's list, which cuts titles (docs/how-to/install.md)."""
LIMITS: Final = "vmferry-limits"
"""The ConfigMap of the limits: keys by `limit_key`."""
DEFAULT: Final = "default"
"""In place of a source's key: the limits of sources that have none of their own yet."""
PORT: Final = 8080
_LABEL_VALUE: Final = 63
_CONFIG_KEY: Final = 253


def template_name(kind: SourceKind) -> str:
    """The WorkflowTemplate for sources of a kind; they differ in the provider's image only."""
    return f"vmferry-{provider(kind)}"


def provider(kind: SourceKind) -> str:
    """A kind's extra in pyproject.toml and target in images/Containerfile: `VmwareSource` is `vmware`."""
    return kind.removesuffix("Source").lower()


def service_account(identity: Identity) -> str:
    return f"vmferry-{identity}"


def workflow_name(run: str, attempt: int) -> str:
    """The first Workflow is named as the run; later ones over the same request are numbered."""
    return f"{run}-r{attempt}" if attempt else run


def attempt_of(workflow: str) -> int:
    """The number of the Workflow over its request; 0 for the first."""
    _, mark, number = workflow.rpartition("-r")
    return int(number) if mark and number.isdigit() else 0


def give_back(run: str) -> str:
    """The Workflow that runs a run's cleanup and nothing else."""
    return f"{run}-back"


def request(run: str) -> str:
    """ConfigMap: what is to be done. It owns all else of the run, so that deleting it leaves nothing."""
    return f"{run}-request"


def planned(run: str) -> str:
    """ConfigMap: what a dry run found."""
    return f"{run}-plan"


def machine(run: str) -> str:
    """ConfigMap: what preflight found (see `workflows.author.pods`)."""
    return f"{run}-machine"


def volumes(workflow: str) -> str:
    """ConfigMap: the names that `admit` has chosen for the volumes.

    One for each Workflow of a run, as it never changes: a kubelet may hand a new pod a ConfigMap as it knew
    it before.
    """
    return f"{workflow}-volumes"


def credentials(run: str) -> str:
    """Secret: the source's credentials, copied for this run."""
    return f"{run}-source"


def address(run: str) -> str:
    """Secret: the unguessable part of the disks' URLs, key `token`."""
    return f"{run}-address"


def claim(run: str, disk: str) -> str:
    """Claim: a disk's scratch."""
    return f"{run}-{disk}"


def service(run: str, disk: str) -> str:
    """Service: where a disk is served. It selects `LABEL_RUN` and `LABEL_DISK`."""
    return f"{run}-{disk}"


def origin(run: str, disk: str, namespace: str) -> str:
    """The part of a disk's URL that is no secret."""
    return f"http://{service(run, disk)}.{namespace}.svc:{PORT}"


def source_key(source: SourcePlan) -> str:
    """A source in the limits' ConfigMap: sources of one name but another kind or namespace differ."""
    return _short(f"{source.kind.lower()}.{source.namespace}.{source.name}", _CONFIG_KEY - 16)


def limit_key(source: str, limit: Limit) -> str:
    """A limit's key there."""
    return f"{source}.{limit}"


def label_value(text: str) -> str:
    """Any name of an object as the value of a label, at most 63 long; what is longer gets a short hash."""
    return _short(re.sub(r"[^-._A-Za-z0-9]+", "-", text).strip("-._"), _LABEL_VALUE)


def _short(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[: limit - 9].rstrip('-._')}-{digest}"
