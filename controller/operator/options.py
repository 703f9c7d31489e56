"""What the controller's process is told: one JSON document that the chart renders from its values."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field

from steps.model.document import Document
from steps.model.plan import TargetKind
from workflows.author.installation import Installation
from workflows.settings import Settings
from workflows.stages import Limit

PATH: Final = Path("/etc/vmferry/controller.json")
PATH_ENV: Final = "VMFERRY_OPTIONS"


class References(enum.StrEnum):
    """Whether an import may name a source of another namespace."""

    ALLOW = "allow"
    SAME_NAMESPACE = "same-namespace"


class Format(enum.StrEnum):
    """In which format disks are landed and served."""

    AUTO = "auto"
    """raw for Longhorn's backing images, which machines read for the whole of their lives; else qcow2."""
    QCOW2 = "qcow2"
    RAW = "raw"


class Limits(Document):
    """Per source, for those of which the limits' ConfigMap has no keys yet."""

    machines: Annotated[int, Field(ge=1)] = 2
    streams: Annotated[int, Field(ge=1)] = 4


class Options(Document):
    """Settings of the controller; the chart's values of the same names."""

    namespace: str = "vmferry"
    """The release namespace."""
    namespaces: tuple[str, ...] = ()
    """Where imports, sources and Secrets may live; empty: anywhere."""
    settings: Settings = Settings(target=TargetKind.HARVESTER)
    format: Format = Format.AUTO
    cross_namespace_references: References = References.ALLOW
    deletion_timeout_seconds: float = 600
    """How long an import that is deleted waits for its Workflow to end."""
    recheck_seconds: float = 300
    """How often everything is looked at without an event."""
    verify_seconds: float = 60
    """How long a source may take to answer."""
    workflow_link: str = ""
    """Address of a Workflow for people, with {namespace} and {name}."""
    limits: Limits = Limits()

    @classmethod
    def read(cls) -> Self:
        """The document at `PATH`, or where `VMFERRY_OPTIONS` says. Raises StepError (INVALID)."""
        return cls.load(Path(os.environ.get(PATH_ENV, str(PATH))))

    @property
    def installation(self) -> Installation:
        """What Workflows are made with; the template has all else."""
        return Installation(namespace=self.namespace)

    @property
    def defaults(self) -> dict[Limit, int]:
        return {Limit.MACHINES: self.limits.machines, Limit.STREAMS: self.limits.streams}

    def link(self, workflow: str) -> str:
        """Where a person can watch a Workflow; empty when nobody said where Argo's server is."""
        return self.workflow_link.replace("{namespace}", self.namespace).replace("{name}", workflow)
