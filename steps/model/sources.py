"""The kinds of source, one row for each. Pure.

A row holds what the steps, the Workflow and the messages need to know about a kind. The fields that a person
writes are in `workflows.api.sources`; the code is in `steps.providers`.
"""

from __future__ import annotations

import enum
from typing import Self


class SourceKind(enum.StrEnum):
    """The kinds of source, by the names of their custom resources."""

    provider: str
    """The package under `steps.providers`, the extra in pyproject.toml, the image, a file of the chart."""
    library: str
    """The Python library that the provider requires; empty if it requires none."""
    power_on: str
    """How a person starts a VM there again; `{id}` is the VM's id. Empty if VMs never run there."""
    no_hard_off: str
    """Why a VM there cannot be powered off without asking its guest; else empty, also if none runs there."""

    no_mark: str
    """Why VMs there are not marked after a success (`spec.markSource`); empty if they are."""

    def __new__(
        cls,
        kind: str,
        provider: str = "",
        library: str = "",
        power_on: str = "",
        no_hard_off: str = "",
        no_mark: str = "",
    ) -> Self:
        member = str.__new__(cls, kind)
        member._value_ = kind
        member.provider, member.library, member.power_on = provider, library, power_on
        member.no_hard_off, member.no_mark = no_hard_off, no_mark
        return member

    VMWARE = "VmwareSource", "vmware", "pyVmomi", "power it on in the vSphere Client or the Host Client"
    OPENSTACK = (
        "OpenstackSource",
        "openstack",
        "openstack",
        "run `openstack server start {id}`",
        # nova/compute/api.py, stop: its users always get clean_shutdown.
        "Nova asks the guest and ends it after os_shutdown_timeout of its image, else shutdown_timeout of "
        "nova.conf (60 s)",
    )
    OVA = "OvaSource", "ova", "", "", "", "a package has no VM that somebody could start"
    OVIRT = "OvirtSource", "ovirt", "tzlocal", "run it in the portal of oVirt"
    KUBEVIRT = (
        "KubeVirtSource",
        "kubevirt",
        "ruamel",
        "start it there with `virtctl start`",
        "",
        "KubeVirt cannot rename a VM or disconnect its NICs",
    )

    @property
    def runs_vms(self) -> bool:
        """Whether VMs can run at the source, so that an import powers them off and needs them for itself."""
        return bool(self.power_on)

    @property
    def can_force_off(self) -> bool:
        """Whether a VM can be powered off there without asking its guest."""
        return self.runs_vms and not self.no_hard_off
