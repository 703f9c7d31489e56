"""Digests of a run's spec and credentials, to find out whether they have changed. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from steps.model.kinds import GROUP
from workflows.api.spec import VirtualMachineImportSpec

TRIED: Final = f"{GROUP}/tried"
"""Annotation of a run's copy of the credentials: digest of those that its Workflow started with."""
SPEC: Final = f"{GROUP}/spec"
"""Annotation of a request: digest of its spec, by `spec_digest`."""
_SWITCHES: Final = {"suspend", "cancel", "dry_run", "approvals"}
"""Fields of a spec that only control the run: changing them does not change the import."""


def spec_digest(spec: VirtualMachineImportSpec) -> str:
    """Digest of a spec, without the fields that only control the run."""
    asked = spec.model_dump(mode="json", exclude=_SWITCHES)
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def credentials_digest(data: Mapping[str, str]) -> str:
    """Digest of a Secret's data; the same for the same keys and values."""
    return hashlib.sha256(json.dumps(dict(data), sort_keys=True).encode()).hexdigest()
