"""Options of the controller's process: one JSON document that the chart renders from its values."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field

from steps import __version__
from steps.model.document import Document
from steps.model.plan import ClusterTarget, ImportLimits, OnFailure, TargetKind
from steps.model.sources import SourceKind
from workflows.author.installation import DAY, Installation
from workflows.settings import Settings
from workflows.stages import DEFAULT_LIMITS, Limit

PATH: Final = Path("/etc/vmferry/controller.json")
PATH_ENV: Final = "VMFERRY_OPTIONS"
NAME: Final = "vmferry-controller"
"""The chart's ConfigMap with this document."""


DEFAULT_IMPORT_LIMITS: Final = ImportLimits(
    max_disks=64, max_disk_capacity=64 << 40, max_scratch_per_namespace=100 << 40
)
"""docs/decisions/0024-bounds.md gives the reasons."""


class References(enum.StrEnum):
    """Whether an import may use a source of another namespace without a grant of the source's owner."""

    ALLOW = "allow"
    SAME_NAMESPACE = "same-namespace"


class InitFailure(enum.StrEnum):
    """What happens to an import of `v2v.kubevirt.io` whose source cannot be reached at first."""

    WAIT = "wait"
    """It waits until the source can be reached."""
    FINAL = "final"
    """It has failed for good, as with vm-import-operator."""


class V2vOptions(Document):
    """The dialect `v2v.kubevirt.io`."""

    enabled: bool = True
    """Whether its imports are reconciled."""
    on_failure: OnFailure = OnFailure.RESTORE_POWER
    """What happens to the VM at its source if an import fails."""
    init_failure: InitFailure = InitFailure.WAIT


class Format(enum.StrEnum):
    """The format in which disks are stored on scratch and served."""

    AUTO = "auto"
    """raw for Longhorn's backing images, which VMs read during their whole life; else qcow2."""
    QCOW2 = "qcow2"
    RAW = "raw"


class Limits(Document):
    """Limits per source, for sources without keys in the limits' ConfigMap."""

    machines: Annotated[int, Field(ge=1)] = DEFAULT_LIMITS[Limit.MACHINES]
    streams: Annotated[int, Field(ge=1)] = DEFAULT_LIMITS[Limit.STREAMS]


class CheckOptions(Document):
    """The pods that check sources and make dry runs."""

    images: Mapping[str, str] = {
        name: f"vmferry/{name}:{__version__}" for name in (*(kind.provider for kind in SourceKind), "target")
    }
    """The image of each provider, and of the target, which a dry run asks."""
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    environment: tuple[Mapping[str, Any], ...] = ()
    """Environment variables of the container, as in a pod: the proxy and the guard."""
    resources: Mapping[str, Any] = {
        "requests": {"cpu": "50m", "memory": "96Mi"},
        "limits": {"cpu": "500m", "memory": "256Mi"},
    }
    at_once: Annotated[int, Field(ge=1)] = 8
    """Pods at a time."""
    at_once_per_namespace: Annotated[int, Field(ge=1)] = 2
    """Pods at a time for sources and imports of one namespace."""
    start_seconds: Annotated[float, Field(gt=0)] = 60
    """Seconds that a pod may wait for its node and its image."""


class Options(Document):
    """Settings of the controller; the chart's values of the same names."""

    namespace: str = "vmferry"
    """The release namespace."""
    namespaces: tuple[str, ...] = ()
    """Namespaces of imports, sources and Secrets; empty: all."""
    settings: Settings = Settings(target=TargetKind.HARVESTER, limits=DEFAULT_IMPORT_LIMITS)
    target: Annotated[ClusterTarget | None, BeforeValidator(lambda text: text or None)] = None
    """The target of imports that name none; None: the one that the cluster serves."""
    format: Format = Format.AUTO
    cross_namespace_references: References = References.SAME_NAMESPACE
    shared_network_namespaces: tuple[str, ...] = ("default", "harvester-public")
    """Namespaces whose NetworkAttachmentDefinitions imports of every namespace use; `*` for all."""
    deletion_timeout_seconds: float = 600
    """Seconds that a deleted import waits for its Workflow to end."""
    suspend_timeout_seconds: float = 3600
    """Seconds that a suspended import may keep a place that other imports of its source need."""
    recheck_seconds: float = 300
    """Seconds between two reconciles without an event."""
    verify_seconds: float = 60
    """Seconds that a source may take to answer."""
    keep_failed: int = 30 * DAY
    """Seconds after which a failed Workflow is deleted; then also the scratch of its import."""
    checks: CheckOptions = CheckOptions()
    v2v: V2vOptions = V2vOptions()
    workflow_link: str = ""
    """URL of a Workflow in the Argo UI, with {namespace} and {name}."""
    limits: Limits = Limits()

    @classmethod
    def read(cls) -> Self:
        """The document at `PATH`, or where `VMFERRY_OPTIONS` says. Raises StepError (INVALID)."""
        return cls.load(Path(os.environ.get(PATH_ENV, str(PATH))))

    @property
    def planning(self) -> Settings:
        """The settings for the plan of an import in this installation."""
        return self.settings.model_copy(update={"release": self.namespace})

    @property
    def installation(self) -> Installation:
        """Settings for Workflows; the template has all others."""
        return Installation(namespace=self.namespace)

    @property
    def defaults(self) -> dict[Limit, int]:
        return {Limit.MACHINES: self.limits.machines, Limit.STREAMS: self.limits.streams}

    def link(self, workflow: str) -> str:
        """URL of a Workflow; empty when Argo's server is not configured."""
        return self.workflow_link.replace("{namespace}", self.namespace).replace("{name}", workflow)
