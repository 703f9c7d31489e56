"""What is known of a VM's power at its source: a moment in its history, and what the import did to it. Pure.

Disks that were copied after a moment are up to date as long as the VM was not started since. The moment is a
place in the source's own log and in its own time: the clocks of the source and of the import may differ.
"""

from __future__ import annotations

from typing import Final, Literal

from steps.model.contract import Exit, StepError
from steps.model.document import Document

POWER: Final = "power.json"
"""File name of the document `PowerRecord`."""
STALE_REMEDY: Final = (
    "nothing that was copied is used; to copy it again, start a new run from preflight: annotate the import "
    "with migration.harvesterhci.io/retry=true, or run `vmferry retry`"
)
"""What a person does about stale copies."""
NOT_IN_TIME: Final = "the guest did not shut down within "
"""Beginning of a message; seconds follow."""


class PowerMark(Document):
    """A moment in the history of a VM at its source. Each provider writes and reads its own."""

    time: str = ""
    """The moment in the source's time (RFC 3339, UTC); empty if the source has no clock."""
    server: str = ""
    """Identifies the source's installation: the log of another one proves nothing."""
    position: str = ""
    """The newest entry of the source's log, or what identifies the content of an archive.

    Empty if the account can see no entry: then nothing can be proved later.
    """
    position_time: str = ""
    """When that entry was written (RFC 3339, UTC)."""
    scope: Literal["", "vm", "server"] = ""
    """Whose log the entry was found in."""


class PowerRecord(Document):
    """The result of `poweroff`: what was copied later belongs to this moment."""

    version: Literal["1"] = "1"
    mark: PowerMark
    """Taken when the VM was off, before the first export."""


def no_record(why: str) -> StepError:
    """The error (STALE) if a run has no record of its shutdown: nothing is proved."""
    what = "it cannot be proved that the VM was not started since its disks were copied"
    return StepError(Exit.STALE, what, why, STALE_REMEDY)
