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
        "concerns; nothing is changed. The disks wait for each other. Only `vmferry run` can do it: the "
        "controller in a cluster refuses it. "
        "The default is false.",
    )
