"""How a VM is marked at its source after a success, so that nobody starts it by accident. Pure."""

from __future__ import annotations

import enum
from typing import Annotated, Final

from pydantic import Field

from steps.model.document import Document

LONGEST_TAG: Final = 60
"""Characters of a server tag (nova/objects/tag.py, MAX_TAG_LENGTH); other sources allow more."""
LONGEST_SUFFIX: Final = 40
"""Characters: half of the shortest name, that of a VM of vSphere."""


class SourceMark(Document):
    """What is changed at the source. All parts are off by default."""

    tag: Annotated[str, Field(max_length=LONGEST_TAG)] = ""
    """Of vSphere as CATEGORY:NAME, or NAME if only one category has it."""
    name_suffix: Annotated[str, Field(max_length=LONGEST_SUFFIX)] = ""
    disconnect_nics: bool = False

    @property
    def is_wanted(self) -> bool:
        """Whether anything is to be changed."""
        return bool(self.tag or self.name_suffix or self.disconnect_nics)

    def renamed(self, name: str, longest: int) -> str:
        """The name of a marked VM, of at most `longest` characters: its own name is cut, not the suffix."""
        return f"{name[: longest - len(self.name_suffix)]}{self.name_suffix}"


class MarkState(enum.StrEnum):
    """What came of it."""

    NOTHING = "nothing"
    """Nothing was to be done."""
    MARKED = "marked"
    FAILED = "failed"
    """A part is missing; it is tried again."""
    REMOVED = "removed"
    """An undo has taken it off."""
