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

    def __new__(cls, kind: str, provider: str = "", library: str = "", power_on: str = "") -> Self:
        member = str.__new__(cls, kind)
        member._value_ = kind
        member.provider, member.library, member.power_on = provider, library, power_on
        return member

    VMWARE = "VmwareSource", "vmware", "pyVmomi", "power it on in the vSphere Client or the Host Client"
    OPENSTACK = "OpenstackSource", "openstack", "openstack", "run `openstack server start {id}`"
    OVA = "OvaSource", "ova"
    OVIRT = "OvirtSource", "ovirt", "tzlocal", "run it in the portal of oVirt"
    KUBEVIRT = "KubeVirtSource", "kubevirt", "ruamel", "start it there with `virtctl start`"

    @property
    def runs_vms(self) -> bool:
        """Whether VMs can run at the source, so that an import powers them off and needs them for itself."""
        return bool(self.power_on)
