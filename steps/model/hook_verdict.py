"""How the step `hook` learns the end of its hook: by an annotation of its Workflow. Pure.

The step is a pod that waits; the hook itself runs elsewhere. The annotation is named after the uid of that
pod, so another attempt waits for another one.
"""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from steps.model.document import Document
from steps.model.kinds import GROUP, Object

PREFIX: Final = f"{GROUP}/hook-"
STAGE: Final = "hook"
"""The stage's label of these pods, and the name of their template."""
OUTPUT: Final = "verdict"
"""The output of the step: the message, also of a hook that has succeeded."""
POD_UID_ENV: Final = "VMFERRY_POD_UID"
"""The environment variable with the uid of the pod."""


class HookVerdict(Document):
    """The end of a hook."""

    passed: bool
    """Whether the import continues."""
    message: str


def annotation(uid: str) -> str:
    """The annotation of a Workflow for the pod with that uid."""
    return f"{PREFIX}{uid}"


def verdict_for(workflow: Object | None, uid: str) -> HookVerdict | None:
    """What a Workflow says to that pod; None if it says nothing yet, or nothing that can be read."""
    notes = ((workflow or {}).get("metadata") or {}).get("annotations") or {}
    try:
        return HookVerdict.model_validate_json(notes.get(annotation(uid), ""))
    except ValidationError:
        return None
