"""What the annotations of a run's request record: digests of spec and credentials, and cleanups. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Self

from pydantic import AwareDatetime, ValidationError

from steps.model.document import Document
from steps.model.kinds import GROUP
from workflows.api.base import Model
from workflows.api.spec import VirtualMachineImportSpec

TRIED: Final = f"{GROUP}/tried"
"""Annotation of a run's copy of the credentials: digest of those that its Workflow started with."""
SPEC: Final = f"{GROUP}/spec"
"""Annotation of a request: digest of its spec, by `spec_digest`."""
CLEANUPS: Final = f"{GROUP}/cleanups"
"""Annotation of a request: the repeated cleanups of its run (`CleanupRecord`, JSON)."""
CONTROL_FIELDS: Final = {"suspend", "cancel", "dry_run", "approvals", "on_failure", "mark_source"}
"""Fields of a spec that only control the run: changing them does not change the import."""


def spec_digest(spec: VirtualMachineImportSpec) -> str:
    """Digest of a spec, without the fields that only control the run.

    Defaults are left out: a later version with more fields must not take a failed import for an edited one,
    which it would retry.
    """
    fields = spec.model_dump(mode="json", exclude=CONTROL_FIELDS, exclude_defaults=True)
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def own_digest(spec: Model) -> str:
    """Digest of the spec of another dialect; its ResourceMapping, which others edit, does not count."""
    fields = spec.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def credentials_digest(data: Mapping[str, str]) -> str:
    """Digest of a Secret's data; the same for the same keys and values."""
    return hashlib.sha256(json.dumps(dict(data), sort_keys=True).encode()).hexdigest()


class CleanupRecord(Document):
    """The repeated cleanups of a run.

    It is in the request, because the Workflow of a cleanup may be deleted at any time.
    """

    attempts: int = 0
    """How many were started."""
    first: AwareDatetime | None = None
    """When the first one was started, or when the import was deleted before that."""
    last: AwareDatetime | None = None
    """When the last one was started."""

    @classmethod
    def read(cls, text: str) -> Self:
        """The record in an annotation; an empty one if that is missing or malformed."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return cls()

    def after_another(self, now: datetime) -> Self:
        """The record after another cleanup was started."""
        return type(self)(attempts=self.attempts + 1, first=self.first or now, last=now)

    def to_text(self) -> str:
        """The value of the annotation."""
        return self.model_dump_json(by_alias=True)
