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
CONTROL_FIELDS: Final = {"suspend", "cancel", "dry_run", "approvals", "on_failure"}
"""Fields of a spec that only control the run: changing them does not change the import."""


def spec_digest(spec: VirtualMachineImportSpec) -> str:
    """Digest of a spec, without the fields that only control the run.

    Defaults are left out: a later version with more fields must not take a failed import for an edited one,
    which it would retry.
    """
    fields = spec.model_dump(mode="json", exclude=CONTROL_FIELDS, exclude_defaults=True)
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def credentials_digest(data: Mapping[str, str]) -> str:
    """Digest of a Secret's data; the same for the same keys and values."""
    return hashlib.sha256(json.dumps(dict(data), sort_keys=True).encode()).hexdigest()
