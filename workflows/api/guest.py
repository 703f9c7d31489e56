"""`spec.guest` of an import: what happens with the system on the disks before they are handed on.

These fields are vmferry's own, so their schema is strict. The descriptions become those of the CRD.
"""

from __future__ import annotations

import enum
from typing import Annotated

from pydantic import BeforeValidator, Field

from steps.model.plan import Adapt, WhenNotAdaptable
from workflows.api.base import Flag, Model, rules

_NAME = rules(
    (
        "self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$')",
        "it is not a valid name: use lower-case letters, digits, '-' and '.'",
    )
)
_ROOT = rules(
    (
        "self == '' || self.matches('^/dev/[A-Za-z0-9._/+-]{1,120}$')",
        "it is not a device: write it as `vmferry inspect` names it, such as /dev/sda2 or /dev/vg0/root",
    )
)
Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]


class WantedAgent(enum.StrEnum):
    """Whether the guest gets qemu-guest-agent."""

    FIRST_BOOT = "firstBoot"
    NONE = "none"


class LocalReference(Model):
    """An object in the namespace of the import."""

    name: Text = Field(
        default="",
        description="The name of the object, in the namespace of the import. Required.",
        json_schema_extra={"maxLength": 253, **_NAME},
    )


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
        "import), or if `adapt` is not `never`. Else it is false.",
    )
    adapt: Adapt | None = Field(
        default=None,
        description="Whether vmferry changes the guest so that it works in its new VM: drivers for virtio, "
        "no VMware tools, names of NICs, EFI boot loader. `auto` changes only what would not work otherwise, "
        "`always` also converts a guest that would boot as it is. The disks are changed only when everything "
        "has succeeded. Only `vmferry run` can do it: the controller in a cluster refuses it. "
        "The default is never.",
    )
    root: Text = Field(
        default="",
        description="Which of several systems on the disks counts: the device of its root file system, as "
        "`vmferry inspect` names it. The default is the only system.",
        json_schema_extra={"maxLength": 125, **_ROOT},
    )
    keys: LocalReference | None = Field(
        default=None,
        description="A Secret with passphrases of devices that LUKS encrypts. Its keys are names of devices "
        "without /dev/, with a dot for each slash, such as sda2, or `all`. The default is none.",
    )
    when_not_adaptable: WhenNotAdaptable | None = Field(
        default=None,
        description="What happens if the guest cannot be adapted. `fail` ends the import, `continue` hands "
        "the disks to the target as they are, with a warning. The default is fail with adapt: always, and "
        "continue with adapt: auto.",
    )
    agent: WantedAgent | None = Field(
        default=None,
        description="Whether a Linux installs qemu-guest-agent from its own repositories when it starts for "
        "the first time. The default is firstBoot for a guest that is converted, else none.",
    )
    first_boot: LocalReference | None = Field(
        default=None,
        description="A ConfigMap with scripts that the guest runs once, when it starts for the first time, "
        "in the order of their names. The default is none.",
    )
