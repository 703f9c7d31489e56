"""Digests of what a run was made of: whether its request and credentials are still the same. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from steps.model.kinds import GROUP
from workflows.api.spec import VirtualMachineImportSpec

TRIED: Final = f"{GROUP}/tried"
"""Annotation of a run's copy of the credentials: digest of those that its Workflow began with."""
SPEC: Final = f"{GROUP}/spec"
"""Annotation of a request: digest of the spec it was made of, as `spec_digest` has it."""
_SWITCHES: Final = {"suspend", "cancel", "dry_run", "approvals"}
"""Fields of a spec that say when, not what: changing them asks for no other import."""


def spec_digest(spec: VirtualMachineImportSpec) -> str:
    """Digest of what an import asks for; the same for specs that ask for the same."""
    asked = spec.model_dump(mode="json", exclude=_SWITCHES)
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def credentials_digest(data: Mapping[str, str]) -> str:
    """Digest of a Secret's data; the same for the same keys and values."""
    return hashlib.sha256(json.dumps(dict(data), sort_keys=True).encode()).hexdigest()
