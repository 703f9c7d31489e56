"""The VLAN of a NIC's network: of a distributed switch, or of a switch of the host."""

from __future__ import annotations

from typing import Any

import pytest
from pyVmomi import vim

from steps.model.contract import Exit, StepError
from steps.providers.vmware import collector, networks
from steps.providers.vmware.collector import Row
from steps.providers.vmware.networks import Networks, attachment, with_host_vlans

card: Any = vim.vm.device.VirtualVmxnet3
nic: Any = vim.vm.device.VirtualEthernetCard
dvs: Any = vim.dvs.VmwareDistributedVirtualSwitch
host: Any = vim.host
folder: Any = vim.Folder
group: Any = vim.dvs.DistributedVirtualPortgroup
setting: Any = dvs.VmwarePortConfigPolicy


def standard(name: str) -> Any:
    return card(key=4000, backing=nic.NetworkBackingInfo(deviceName=name))


def distributed(key: str) -> Any:
    port: Any = vim.dvs.PortConnection
    backing = nic.DistributedVirtualPortBackingInfo(port=port(switchUuid="50", portgroupKey=key))
    return card(key=4000, backing=backing)


span: Any = vim.NumericRange
TRUNK = dvs.TrunkVlanSpec(vlanId=[span(start=1, end=4094)], inherited=False)
SESSION: Any = None
"""Nothing is asked of it: the collector is replaced."""


@pytest.mark.parametrize(
    ("vlan", "known"),
    [
        (dvs.VlanIdSpec(vlanId=12, inherited=False), 12),
        (dvs.VlanIdSpec(vlanId=0, inherited=False), None),
        (dvs.PvlanSpec(pvlanId=101, inherited=False), 101),
        (TRUNK, None),
        (None, None),
    ],
    ids=["id", "none", "private", "trunk", "unreadable"],
)
def test_a_distributed_port_group_has_a_vlan(
    vlan: Any, known: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = {"name": "app", "key": "dvportgroup-7", "config.defaultPortConfig": setting(vlan=vlan)}
    rows = [Row(group("dvportgroup-7"), properties)]
    monkeypatch.setattr(collector, "read_below", lambda *_: rows)
    datacenter: Any = type("Datacenter", (), {"network_folder": folder("group-n1")})()
    read = networks.read(SESSION, [datacenter])
    found = attachment(distributed("dvportgroup-7"), read)
    assert (found.name, found.vlan) == ("app", known)


def a_vm(*devices: Any) -> Row:
    hardware: Any = vim.vm.VirtualHardware
    reference: Any = vim.VirtualMachine
    place: Any = vim.HostSystem
    return Row(
        reference("vm-1"), {"config.hardware": hardware(device=devices), "runtime.host": place("host-1")}
    )


def port_group(name: str, vlan: int) -> Any:
    return host.PortGroup(spec=host.PortGroup.Specification(name=name, vlanId=vlan, vswitchName="vSwitch0"))


@pytest.mark.parametrize(("number", "known"), [(0, None), (12, 12), (4094, 4094), (4095, None)])
def test_a_standard_port_group_has_the_vlan_of_its_host(
    number: int, known: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Row(None, {"config.network.portgroup": [port_group("VM Network", number)]})
    monkeypatch.setattr(collector, "read_one", lambda *_: read)
    found = attachment(
        standard("VM Network"), with_host_vlans(SESSION, Networks(), a_vm(standard("VM Network")))
    )
    assert (found.name, found.vlan) == ("VM Network", known)


@pytest.mark.parametrize("code", [Exit.DENIED, Exit.NOT_FOUND])
def test_an_account_that_may_not_read_the_host_imports_without_vlans(
    code: Exit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Row:
        raise StepError(code, "no")

    monkeypatch.setattr(collector, "read_one", refuse)
    assert with_host_vlans(SESSION, Networks(), a_vm(standard("VM Network"))).host_vlans == {}


def test_the_host_is_not_asked_for_a_vm_without_a_standard_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "read_one", lambda *_: pytest.fail("asked"))
    assert with_host_vlans(SESSION, Networks(), a_vm(distributed("k"))) == Networks()
