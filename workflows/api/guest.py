"""`spec.guest` of an import: what happens with the system on the disks before they are handed on.

These fields are vmferry's own, so their schema is strict. The descriptions become those of the CRD.
"""

from __future__ import annotations

from pydantic import Field

from workflows.api.base import Flag, Model


class GuestSettings(Model):
    """What happens with the system on the disks."""

    inspect: Flag | None = Field(
        default=None,
        description="Whether vmferry looks into the disks after it has copied them: operating system, "
        "drivers, encryption, hibernation, free space, static addresses. The result is a document and "
        "concerns, and the VM gets a disk bus and a NIC model for which the system has drivers; a row of "
        "diskMapping or networkMapping has precedence. Nothing is changed on the disks, but they wait for "
        "each other. "
        "The default is true if the disks land on their volumes (then a failed inspection does not end the "
        "import), else false.",
    )
